"""Studies run with other settings, and the digests of what was computed."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import xarray as xr

from ale_dask.config.study import Study
from ale_dask.workflows import run

Results = dict[str, xr.Dataset]
Record = dict[str, Any]
_FOLDER = "<the folder of the study>"


def with_backend(study: Study, **changes: Any) -> Study:
    return study.model_copy(update={"backend": study.backend.model_copy(update=changes)})


def with_inference(study: Study, **changes: Any) -> Study:
    return study.model_copy(update={"inference": study.inference.model_copy(update=changes)})


def digests_of(record: dict[str, Any] | str) -> dict[str, str]:
    """Return the digests of a run record, or of its JSON, by what was permuted."""
    analyses = (json.loads(record) if isinstance(record, str) else record)["analyses"]
    found = {name: entry["digest"] for name, entry in analyses.items() if entry["digest"]}
    further = {"digest_clusters": "clusters", "digest_base_rate": "base-rate"}
    again = {f"{name}_{end}": entry.get(key) for name, entry in analyses.items() for key, end in further.items()}
    return found | {name: digest for name, digest in again.items() if digest}


def digests(study: Study, out: Path) -> dict[str, str]:
    _, record = run.run(study, out, quiet=True)
    return digests_of(record)


def chunks(out: Path) -> int:
    return len(list((out / "store.zarr").glob("*/null/*/c/*/0")))


def finished(process: subprocess.Popen[str]) -> dict[str, str]:
    text, errors = process.communicate(timeout=1200)
    assert process.returncode == 0, errors
    return digests_of(text)


def run_command(tiny: Path, out: Path, *, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start the command that runs a study for 60 iterations in a plain loop."""
    command = [sys.executable, "-m", "ale_dask.cli", "run", str(tiny / "study.toml"), "-o", str(out), "-q"]
    command += ["--no-pictures", "-b", "serial", "--json", "-i", "60"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    )


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


@cache
def _computed(settings: str, files: tuple[tuple[str, bytes], ...], write: bool) -> tuple[Path, Results, Record]:
    """Run a study whose files are these in a folder that lasts as long as this process."""
    folder = Path(tempfile.mkdtemp(prefix="finished-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, data in files:
        (folder / "study" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "study" / name).write_bytes(data)
    study = Study.model_validate_json(settings.replace(_FOLDER, str(folder / "study")))
    results, record = run.run(study, folder / "out", quiet=True)
    if write:
        run.write(results, record, folder / "out", study=study, pictures=False)
    return folder / "out", results, record


def finished_run(study: Study, out: Path, *, folder: Path, write: bool = False) -> tuple[Results, Record]:
    """Put a finished run of the study of a folder into OUT, and return its results and record.

    Studies of the same settings and files are computed once in a process; OUT is a copy. `write` adds the report.
    """
    files = tuple((str(p.relative_to(folder)), p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file())
    stored, results, record = _computed(study.model_dump_json().replace(str(folder), _FOLDER), files, write)
    shutil.copytree(stored, out)
    return results, record
