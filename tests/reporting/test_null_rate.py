"""A null whose voxels form clusters too often: told before a run, on its page and in its methods text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.commands import ale
from support.studies import write_ball

LITTLE = "the test is valid, but has little power"


def write_study(folder: Path, *, apart: float, null_cut: str = "observed") -> Path:
    """Write a study of experiments with ten foci each, up to `apart` mm from the experiment's own random place."""
    folder.mkdir()
    write_ball(folder / "ball.nii.gz")
    rng = np.random.default_rng(5)
    lines = ["// Reference=MNI"]
    for i in range(30):
        place = rng.uniform(apart - 19, 19 - apart, 3)
        lines += [f"// Study {i}, 2001", "// Subjects=15"]
        lines += ["\t".join(f"{v:.1f}" for v in place + rng.uniform(-apart, apart, 3)) for _ in range(10)] + [""]
    (folder / "foci.txt").write_text("\n".join(lines))
    study = folder / "study.toml"
    study.write_text(
        '[foci.sample]\nfiles = "foci.txt"\n[analysis.sample]\nkind = "main-effect"\nfoci = "sample"\n'
        '[inference]\nmask = "ball.nii.gz"\niterations = 20\nseed = 1\nnull = "uniform"\nvoxel_p = 0.01\n'
        f'null_cut = "{null_cut}"\n'
    )
    return study


@pytest.mark.parametrize(
    ("apart", "null_cut", "little"), [(1, "observed", True), (18, "observed", False), (1, "own", False)]
)
def test_a_null_with_little_power_says_so(tmp_path: Path, apart: float, null_cut: str, little: bool) -> None:
    study = write_study(tmp_path / "study", apart=apart, null_cut=null_cut)
    (row,) = json.loads(ale("plan", study, "--json").stdout)["analyses"]
    assert (row["null_voxel_rate"] > 0.02) == little
    assert 0.003 < row["null_voxel_rate"] < 0.9
    planned = ale("plan", study).stdout
    assert "that reach the cluster-forming value, nominally 1 %: sample " in planned
    assert (LITTLE in planned) == little
    ale("run", study, "-o", tmp_path / "out", "--no-pictures")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Voxels that reach it" in page
    for text in (page, ale("cite", tmp_path / "out").stdout):
        assert (LITTLE in text) == little
        assert ("null_cut" in text.split(LITTLE)[-1]) or not little
    assert "voxels that reached the cluster-forming ALE was: sample, " in text
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["analyses"]["sample"]["null_voxel_rate"] == row["null_voxel_rate"]
