"""Compile the kernels that the tests use: python tests/support/compiled.py cluster-size, or tfce

`scripts/test` does both beside its checks and the first tests. Without it each process of pytest compiles the same
kernels at the same time, since numba does not wait for another process that is compiling them, too.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from studies import write_tiny

import ale_dask as ale
from ale_dask.numerics.warm import compile_kernels


def main(correction: str) -> None:
    """Run a study of a second under both nulls with a correction, and half of what can be asked of it later."""
    with tempfile.TemporaryDirectory() as name:
        folder = write_tiny(Path(name) / "tiny")
        study = ale.load_study(folder / "study.toml")
        changes = {"null": "both", "correction": correction, "iterations": 5, "cluster_p": 0.9}
        changed = study.model_copy(update={"inference": study.inference.model_copy(update=changes)})
        results, _ = ale.run(changed, folder / "out", quiet=True)
        if correction == "tfce":
            ale.power(results["drug"], simulations=2)
            return
        compile_kernels()
        ale.power(results["drug"], simulations=2)
        ale.jackknife_of_run(folder / "out", quiet=True)
        ale.fail_safe_of_run(folder / "out", analysis="drug", most=3, series=2, iterations=2, quiet=True, null="both")


if __name__ == "__main__":
    main(sys.argv[1])
