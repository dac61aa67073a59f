"""Maps without each experiment: the integers of an analysis without it, lazily, from Python and from a run."""

from __future__ import annotations

from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
from support.commands import ale as command

import ale_dask as ale
from ale_dask.analyses.main_effect import plan_main_effect
from ale_dask.analyses.sample import Sample, sample, study_bits
from ale_dask.analyses.sensitivity.leave_one_out_maps import leave_one_out
from ale_dask.config.inference import Inference
from ale_dask.coordinates.foci import subset
from ale_dask.coordinates.masks import load_mask
from ale_dask.coordinates.readers import read_foci
from ale_dask.errors import InputError
from ale_dask.numerics.ale import ale_from_s


def refuse(*args: object, **kwargs: object) -> None:
    raise AssertionError("something was computed")


def without(chosen: Sample, i: int, *, bits: int) -> np.ndarray:
    """S of an analysis of the other experiments, planned anew."""
    keep = np.arange(len(chosen.key)) != i
    rest = sample(subset(chosen.foci, keep), mask=chosen.mask, inference=chosen.inference)
    return plan_main_effect(rest, bits=bits, name="rest").s


@pytest.mark.parametrize("within", ["max", "additive"])
def test_equals_the_analysis_without_the_experiment_bit_for_bit(tiny: Path, within: str) -> None:
    mask = load_mask(tiny / "ball.nii.gz")
    chosen = sample(read_foci(tiny / "drug.txt"), mask=mask, inference=Inference(within=within))
    bits = study_bits([chosen])
    s = plan_main_effect(chosen, bits=bits, name="all").s
    with dask.config.set(scheduler=refuse):
        maps = leave_one_out(chosen, s=s, bits=bits)
    assert maps["ale_without"].sizes == {"experiment": 8, "voxel": mask.n_voxels}
    for i in range(8):
        expected = without(chosen, i, bits=bits)
        np.testing.assert_array_equal(maps["s_without"][i], expected)
        np.testing.assert_array_equal(maps["ale_without"][i], ale_from_s(expected, bits=bits).astype(np.float32))
        assert (expected < s).any()


def test_from_a_result_and_from_a_run_alike(tiny: Path, tmp_path: Path) -> None:
    foci = read_foci(tiny / "drug.txt")
    result = ale.main_effect(foci, mask=str(tiny / "ball.nii.gz"), iterations=20, voxel_p=0.01)
    maps = ale.leave_one_out(result)
    assert set(maps["experiment_id"].values) == set(foci["experiment_id"].values)
    with pytest.raises(InputError, match="no main effect"):
        ale.leave_one_out(ale.conjunction([result, result]))

    out = tmp_path / "o"
    command("plan", tiny / "study.toml", "-o", out)
    told = command("leave-one-out", out, "drug", "--maps").stdout.split()
    stored = xr.open_zarr(out / "store.zarr", group="drug/leave_one_out", consolidated=False)
    assert told == [str(out / "store.zarr/drug/leave_one_out")]
    # The study's scale leaves room for its other sample too: other integers, rounded to 2^-(bits + 1) each.
    rounding = 9 * (2.0 ** -stored.attrs["scale_bits"] + 2.0 ** -maps.attrs["scale_bits"])
    np.testing.assert_allclose(stored["ale_without"], maps["ale_without"], rtol=1e-6, atol=rounding)
    assert stored["ale_without"].values.max() > 1e3 * rounding
    assert stored.attrs["experiment_id"] == maps["experiment_id"].values.tolist()
    assert len(command("leave-one-out", out, "--maps").stdout.split()) == 3
    command("leave-one-out", out, "nothing", "--maps", code=65)
    command("leave-one-out", out, "drug", code=65)
