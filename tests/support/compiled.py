"""Compile the kernels that the tests use, in one process: python tests/support/compiled.py

`scripts/test` does so beside its checks. Without it each process of pytest compiles the same kernels at the same time,
since numba does not wait for another process that is compiling them, too.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from studies import write_tiny

import ale_dask as ale
from ale_dask.numerics.warm import compile_kernels


def main() -> None:
    """Run a study of a second under both nulls, and everything that can be asked of it later."""
    compile_kernels()
    with tempfile.TemporaryDirectory() as name:
        folder = write_tiny(Path(name) / "tiny")
        study = ale.load_study(folder / "study.toml")
        for null, correction in (("both", "cluster-size"), ("both", "tfce")):
            changes = {"null": null, "correction": correction, "iterations": 5, "cluster_p": 0.9}
            changed = study.model_copy(update={"inference": study.inference.model_copy(update=changes)})
            out = folder / f"{null}-{correction}"
            results, _ = ale.run(changed, out, quiet=True)
            ale.power(results["drug"], simulations=2)
        out = folder / "both-cluster-size"
        ale.jackknife_of_run(out, quiet=True)
        ale.fail_safe_of_run(out, analysis="drug", most=3, series=2, iterations=2, quiet=True, null="both")


if __name__ == "__main__":
    main()
