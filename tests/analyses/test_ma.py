"""The MA maps as a chunked store, and the union as a lazy reduction over it."""

from __future__ import annotations

from pathlib import Path

import cloudpickle
import dask
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ale_dask.analyses.ma import ale_union, ma_maps, store_ma
from ale_dask.analyses.sample import Sample, sample
from ale_dask.config.inference import Inference
from ale_dask.coordinates.masks import load_mask
from ale_dask.coordinates.readers import read_foci


@pytest.fixture
def drug(tiny: Path) -> Sample:
    mask = load_mask(tiny / "ball.nii.gz")
    return sample(read_foci(tiny / "drug.txt"), mask=mask, inference=Inference())


def refuse(*args: object, **kwargs: object) -> None:
    raise AssertionError("something was computed")


def test_building_the_graph_computes_nothing(drug: Sample) -> None:
    with dask.config.set(scheduler=refuse):
        maps = ma_maps(drug)
        union = ale_union(maps, maps)
        assert maps["ma"].chunks is not None
        assert union.chunks is not None
        with pytest.raises(AssertionError, match="computed"):
            union.compute()


def test_the_graph_holds_the_foci_of_each_experiment_once(drug: Sample) -> None:
    tasks = dict(ma_maps(drug, experiments_per_chunk=3)["ma"].data.dask).values()
    carried = [cloudpickle.dumps(task) for task in tasks]
    for points in drug.points:
        assert sum(points.tobytes() in task for task in carried) == 1


def test_opening_the_store_and_building_the_union_computes_nothing(drug: Sample, tmp_path: Path) -> None:
    stored = store_ma(tmp_path, "drug", drug, identity="x")
    with dask.config.set(scheduler=refuse):
        assert ale_union(stored).sizes == {"voxel": drug.mask.n_voxels}


def test_the_store_is_zarr_3_chunked_and_float32(drug: Sample, tmp_path: Path) -> None:
    store_ma(tmp_path, "drug", drug, identity="x")
    array = zarr.open_group(tmp_path / "store.zarr", mode="r")["drug/maps/ma"]
    assert isinstance(array, zarr.Array)
    assert array.metadata.zarr_format == 3
    assert array.dtype == np.float32
    assert array.shape == (8, drug.mask.n_voxels)
    assert array.metadata.dimension_names == ("experiment", "voxel")


def test_the_store_holds_what_is_computed_and_is_written_once(drug: Sample, tmp_path: Path) -> None:
    stored = store_ma(tmp_path, "drug", drug, identity="x")
    np.testing.assert_array_equal(stored["ma"], ma_maps(drug)["ma"])
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "store.zarr/drug/maps/ma").rglob("*") if p.is_file()}
    store_ma(tmp_path, "drug", drug, identity="x")
    assert files == {p: p.stat().st_mtime_ns for p in files}


def test_an_interrupted_store_is_written_again(drug: Sample, tmp_path: Path) -> None:
    store_ma(tmp_path, "drug", drug, identity="x")
    group = zarr.open_group(tmp_path / "store.zarr")["drug/maps"]
    del group.attrs["complete"]
    chunk = next((tmp_path / "store.zarr/drug/maps/ma/c").rglob("0"))
    if chunk.is_file():
        chunk.unlink()
    np.testing.assert_array_equal(store_ma(tmp_path, "drug", drug, identity="x")["ma"], ma_maps(drug)["ma"])


@given(experiments=st.integers(1, 8), voxels=st.integers(100, 4000), split=st.integers(1, 7))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_chunking_gives_the_same_bits(drug: Sample, experiments: int, voxels: int, split: int) -> None:
    maps = ma_maps(drug)
    whole = maps.load()
    expected = ale_union(whole).values
    chunked = whole.chunk({"experiment": experiments, "voxel": voxels})
    np.testing.assert_array_equal(ale_union(chunked), expected)
    parts = (whole.isel(experiment=slice(None, split)), whole.isel(experiment=slice(split, None)))
    np.testing.assert_array_equal(ale_union(*parts), expected)
    np.testing.assert_array_equal(ale_union(ma_maps(drug, experiments_per_chunk=experiments)), expected)


def test_the_union_is_one_minus_the_product(drug: Sample) -> None:
    maps = ma_maps(drug)
    expected = 1 - np.prod(1 - maps["ma"].values.astype(np.float64), axis=0)
    # 8 experiments, each rounded by at most half of 2^-40.
    np.testing.assert_allclose(ale_union(maps), expected, rtol=0, atol=8 * 2.0**-41 + 1e-15)


def test_maps_have_the_dimensions_and_the_mask_of_the_sample(drug: Sample) -> None:
    maps: xr.Dataset = ma_maps(drug)
    assert maps["ma"].dims == ("experiment", "voxel")
    assert maps.attrs["mask_sha256"] == drug.mask.sha256
