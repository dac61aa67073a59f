"""Conjunctions of contrasts: A more than B and more than C, by the largest p."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from support.runs import with_backend
from support.studies import experiments, write_sample, write_tiny

import ale_dask as ale
from ale_dask.config.analysis import INPUTS
from ale_dask.config.study import load_study, parse_study
from ale_dask.errors import InputError
from ale_dask.reporting.tables.comparisons import joint_table
from ale_dask.workflows.run import run, write

# The conjunction stands before the contrasts that it is of.
THIRD = """[analysis.above-both]
kind = "conjunction"
of = ["drug-vs-therapy", "drug-vs-third"]
[foci.third]
files = "third.txt"
[analysis.third]
kind = "main-effect"
foci = "third"
[analysis.drug-vs-third]
kind = "contrast"
arms = ["drug", "third"]
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, dict]:
    """Return the folder of a run of three samples with the conjunction of two contrasts, its results and record."""
    folder = write_tiny(tmp_path_factory.mktemp("joint") / "tiny")
    toml = folder / "study.toml"
    text = toml.read_text().replace("iterations = 60", "iterations = 99\ncontrast_p = 0.2\ngate = 'none'")
    toml.write_text(text.replace("voxel_p = 0.01", "voxel_p = 0.05") + THIRD)
    write_sample(folder / "third.txt", experiments(5, number=7, planted=(0, -16, 0), prefix="third"))
    study = with_backend(load_study(toml), name="serial", block_size=16)
    results, record = run(study, folder / "out", quiet=True)
    write(results, record, folder / "out", study=study, pictures=True)
    return folder / "out", results, record


def test_every_map_is_the_minimum_over_the_contrasts(done: tuple[Path, dict, dict]) -> None:
    _, results, _ = done
    joint, parts = results["above-both"], [results[name] for name in ("drug-vs-therapy", "drug-vs-third")]
    for level in ("voxel_fwe", "size_fwe", "mass_fwe"):
        z = np.stack([part[f"z_contrast_{level}"].values for part in parts])
        expected = np.where((z > 0).all(axis=0), z.min(axis=0), np.where((z < 0).all(axis=0), z.max(axis=0), 0))
        np.testing.assert_array_equal(joint[f"z_joint_{level}"].values, expected)
    for side in ("greater", "less"):
        p = np.stack([part[f"p_{side}"].values for part in parts])
        np.testing.assert_array_equal(joint[f"p_max_{side}"].values, p.max(axis=0))
    shown = joint["z_joint"].values
    assert (shown > 0).any()
    p = np.where(shown > 0, joint["p_max_greater"].values, joint["p_max_less"].values)[shown != 0]
    assert (p < 0.2).all()
    again = ale.conjunction(parts, name="above-both")
    xr.testing.assert_equal(again.drop_attrs(deep=False), joint.drop_attrs(deep=False))


def test_its_files_and_words(done: tuple[Path, dict, dict]) -> None:
    out, results, record = done
    table = joint_table(results["above-both"], source=INPUTS[0], level="uncorrected")
    assert table["Direction"].iloc[0] == "drug > therapy AND drug > third"
    assert (table["p"].dropna() < 0.2).all()
    page, text = (out / "report.html").read_text(), ale.cite(out)
    assert "drug &gt; therapy AND drug &gt; third" in page
    assert "Uncorrected p &lt; 0.2 in every contrast, whole mask" in page
    assert "“above-both” of drug-vs-therapy and drug-vs-third" in text
    assert record["analyses"]["above-both"]["kind"] == "contrast-conjunction"
    again = ale.collect(out)[1]["above-both"]
    xr.testing.assert_equal(again, results["above-both"])


def test_contrasts_and_main_effects_are_not_joined(done: tuple[Path, dict, dict]) -> None:
    _, results, _ = done
    with pytest.raises(InputError, match="give contrasts alone"):
        ale.conjunction([results["drug"], results["drug-vs-third"]])
    text = (done[0].parent / "study.toml").read_text()
    assert '"drug-vs-therapy", "drug-vs-third"' in text
    with pytest.raises(InputError, match="no contrast named 'drug'"):
        parse_study(text.replace('"drug-vs-therapy", "drug-vs-third"', '"drug-vs-third", "drug"'))
