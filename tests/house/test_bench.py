"""scripts/bench --ours: fast kernels equal float64 and scipy, and a wrong result is reported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ale_dask.analyses import contrast, main_effect

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.mark.slow
def test_maps_of_the_benchmark_equal_those_in_float64() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "bench"), "--ours"], capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "as in float64" in done.stdout


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from benchmarks import checks, plans, samples

    return checks, plans, samples


@pytest.mark.parametrize(("column", "by"), [(0, 2**12), (1, 1), (2, 2**20)])
def test_a_wrong_statistic_is_found(parts: tuple, column: int, by: int) -> None:
    checks, plans, samples = parts
    foci = samples.make("A")
    plan = plans.main_plan(foci, name="A")
    null = main_effect.block(plan, 0, 1)["null"]
    assert not checks.wrong_iterations(null, plan, foci, name="A")
    null[0, column] += by
    assert len(checks.wrong_iterations(null, plan, foci, name="A")) == 1


def test_a_wrong_relabelling_is_found(parts: tuple) -> None:
    checks, plans, samples = parts
    arms = tuple(samples.make(name) for name in "AB")
    plan = plans.contrast_plan(*arms, names=("A", "B"), voxels=None)
    made = contrast.block(plan, 0, 3)
    assert not checks.wrong_relabellings(made, plan, arms)
    at = int(np.argmax(plan.observed))
    made["exceed"][0, at] += 2
    assert len(checks.wrong_relabellings(made, plan, arms)) == 1
