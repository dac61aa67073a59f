"""Studies run with other settings, and the digests of what was computed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from ale_dask.config.study import Study
from ale_dask.workflows import run


def with_backend(study: Study, **changes: Any) -> Study:
    return study.model_copy(update={"backend": study.backend.model_copy(update=changes)})


def with_inference(study: Study, **changes: Any) -> Study:
    return study.model_copy(update={"inference": study.inference.model_copy(update=changes)})


def digests_of(record: dict[str, Any] | str) -> dict[str, str]:
    """Return the digests of a run record, or of its JSON, by what was permuted."""
    analyses = (json.loads(record) if isinstance(record, str) else record)["analyses"]
    found = {name: entry["digest"] for name, entry in analyses.items() if entry["digest"]}
    again = {f"{name}_clusters": entry.get("digest_clusters") for name, entry in analyses.items()}
    return found | {name: digest for name, digest in again.items() if digest}


def digests(study: Study, out: Path) -> dict[str, str]:
    _, record = run.run(study, out, quiet=True)
    return digests_of(record)


def chunks(out: Path) -> int:
    return len(list((out / "store.zarr").glob("*/null/*/c/*/0")))


def finished(process: subprocess.Popen[str]) -> dict[str, str]:
    text, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return digests_of(text)


MACHINES = {
    "plain": {"ALE_DASK_PLAIN": "1"},
    "no AVX2, no FMA": {
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA",
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
    },
}
"""Environments under which kernels are compiled as for another machine. Each has its own folder of compiled kernels,
which all tests share: compiling them takes 20-60 s."""
