"""Power before there are data: that of the same sample made by hand, at a place and anywhere, and what is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.commands import ale as command
from support.effects import effect

import ale_dask as ale
from ale_dask.analyses.sensitivity import design as designs
from ale_dask.errors import InputError
from ale_dask.reporting.sensitivity.design import design_lines, design_table

SETTINGS = {"iterations": 60, "voxel_p": 0.01, "simulations": 12, "within_mm": 9.0}


def test_a_place_is_the_place_of_every_simulation(tiny: Path) -> None:
    result = effect(ale.read_foci(tiny / "drug.txt"), tiny, "drug", null="both")
    centre, edge = (ale.power(result, simulations=30, at=at) for at in ((0.0, 0.0, 0.0), (32.0, 0.0, 0.0)))
    anywhere = ale.power(result, simulations=30)
    assert not centre["power"].equals(anywhere["power"])
    assert not centre["power"].equals(edge["power"])
    # At the centre of the ball no kernel leaves the mask.
    assert centre["power"].values[-1] == 1
    assert "power_needed_least_reported" in anywhere.attrs
    assert "power_needed_least_reported" not in centre.attrs
    with pytest.raises(InputError, match="outside the mask"):
        ale.power(result, simulations=2, at=(80.0, 0.0, 0.0))


def test_design_is_the_power_of_a_made_up_sample(tiny: Path) -> None:
    mask = str(tiny / "ball.nii.gz")
    made = ale.design(experiments=6, foci=[3, 4, 5, 3, 4, 5], n=15, at=[(0.0, 0.0, 0.0)], mask=mask, **SETTINGS)
    assert made["power"].dims == ("place", "null", "reporting")
    assert made["null"].values.tolist() == ["uniform", "base-rate"]
    assert (made.attrs["foci"], made.attrs["foci_per_experiment"]) == (24, 4)
    assert (np.diff(made["power"].sel(null="uniform"), axis=-1) >= -0.2).all()
    table = design_table(made)
    for row in table.to_dict("records"):
        power = made["power"].sel(place=row["Place"], null=row["Null"]).values
        needed = int(made["needed"].sel(place=row["Place"], null=row["Null"]))
        assert row["Reporting"] == str(needed or ">6")
        assert row["Power (%)"] == round(100 * power[needed or -1], 1)
        if needed:
            assert (power[needed:] >= 0.8).all()
            assert power[needed - 1] < 0.8
    assert np.isfinite(made["base_rate"].values[1])
    again = ale.design(experiments=6, foci=[3, 4, 5, 3, 4, 5], n=15, mask=mask, **SETTINGS)
    np.testing.assert_array_equal(again["power"].values[0], made["power"].values[0])
    assert any("Eickhoff" in line and "20 experiments" in line for line in design_lines(made))


def test_foci_of_the_made_up_sample_follow_the_density(tiny: Path) -> None:
    mask = ale.load_mask(str(tiny / "ball.nii.gz"))
    weight = np.where(mask.voxel_ijk[:, 0] > 11, 3.0, 1.0)
    counts, sizes = np.full(40, 50), np.full(40, 12)
    made, even = (designs._made_up(counts, sizes, mask=mask, weight=w, seed=1) for w in (weight, None))
    share = weight[weight > 1].sum() / weight.sum()
    for foci, expected in ((made, share), (even, (weight > 1).mean())):
        right = (mask.to_grid(foci["focus_xyz"].values)[:, 0] > 11.5).mean()
        assert right == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 2000))
    fewer = designs._made_up(counts[:7], sizes[:7], mask=mask, weight=weight, seed=1)
    np.testing.assert_array_equal(fewer["focus_xyz"].values, made["focus_xyz"].values[:350])


def test_the_command_writes_table_figure_and_text(tiny: Path, tmp_path: Path) -> None:
    common = ["--experiments", 5, "--foci", 3, "--mask", tiny / "ball.nii.gz", "-i", 40, "--simulations", 5]
    said = command("design", *common, "--null", "uniform", "--at", "0,0,0", "-o", tmp_path / "out").stdout
    assert said.startswith("5 experiments of 3 foci and 18 subjects")
    assert "underpowered" in said
    table = pd.read_csv(tmp_path / "out" / "design.tsv", sep="\t")
    assert table["Place"].tolist() == ["anywhere", "0 0 0"]
    assert len(pd.read_csv(tmp_path / "out" / "design_curves.tsv", sep="\t")) == 2 * 6
    assert json.loads((tmp_path / "out" / "design.json").read_text())["experiments"] == 5
    assert "eickhoff" in (tmp_path / "out" / "design.md").read_text().lower()
    assert (tmp_path / "out" / "design.svg").read_text().count("<polyline") == 3
    assert "x,y,z" in command("design", *common, "--at", "0,0", code=65).stderr


@pytest.mark.parametrize("wrong", [{"experiments": 1}, {"foci": 0}, {"n": [3, 4]}, {"foci": 2.5}])
def test_numbers_that_make_no_study_are_refused(wrong: dict[str, object], tiny: Path) -> None:
    with pytest.raises(InputError, match="design"):
        ale.design(mask=str(tiny / "ball.nii.gz"), **(SETTINGS | wrong))
