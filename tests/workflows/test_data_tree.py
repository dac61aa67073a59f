"""A run as a tree of arrays, its tables by name, and its maps as images."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from support.commands import ale as command
from support.studies import write_tiny

import ale_dask as ale
from ale_dask.errors import InputError


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was extended once."""
    folder = write_tiny(tmp_path_factory.mktemp("tree") / "tiny")
    command("run", folder, "-o", folder / "out", "-q", "--no-pictures", "-b", "serial")
    command("extend", folder / "out", "-i", 90, "-q", "--no-pictures", "-b", "serial")
    return folder / "out"


def test_every_array_of_the_store_has_names_of_its_dimensions(out: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = xr.open_datatree(out / "store.zarr", engine="zarr", consolidated=False)
    arrays = {f"{group}/{name}": a for group in tree.groups for name, a in tree[group].dataset.variables.items()}
    assert arrays
    assert not [name for name, a in arrays.items() if any(str(d).startswith("dim_") for d in a.dims)]
    assert arrays["/drug/null/0"].dims == ("iteration_0", "statistic")
    assert arrays["/drug/null/0"].shape[0] + arrays["/drug/null/1"].shape[0] == 90


def test_a_run_is_one_tree(out: Path) -> None:
    tree, (_, results, _) = ale.open(out), ale.collect(out)
    assert set(tree["results"].children) == set(results)
    for name, result in results.items():
        xr.testing.assert_identical(tree[f"results/{name}"].to_dataset(), result)
    assert tree["store/drug/maps"]["ma"].dims == ("experiment", "voxel")


def test_every_kind_of_result_gives_its_tables(out: Path) -> None:
    _, results, _ = ale.collect(out)
    for name, result in results.items():
        found = ale.tables(result, results)
        for end in ("clusters", "contributions"):
            path = out / name / f"{name}_{end}.tsv"
            assert len(found[end]) == len(path.read_text().splitlines()) - 1
    curves = ale.fail_safe(results["drug"], most=1, series=1, iterations=20)
    assert list(ale.tables(curves, results)) == ["fail-safe"]
    with pytest.raises(InputError, match="needs its result"):
        ale.tables(curves)
    with pytest.raises(InputError, match="no result of an analysis"):
        ale.tables(xr.Dataset(attrs={"name": "x"}))


def test_a_map_as_an_image_is_that_of_the_file(out: Path) -> None:
    import nibabel as nib

    _, results, _ = ale.collect(out)
    for what in ("z", "stat"):
        made, stored = ale.image(results["drug"], what), nib.load(out / "drug" / f"drug_{what}.nii.gz")
        np.testing.assert_array_equal(made.get_fdata(), stored.get_fdata())
        np.testing.assert_array_equal(made.affine, stored.affine)
    contrast = results["drug-vs-therapy"]
    shown = "z_desc-group1MinusGroup2_input-clusterFWE"
    np.testing.assert_array_equal(ale.image(contrast).get_fdata(), ale.image(contrast, shown).get_fdata())
    with pytest.raises(InputError, match="has no map 'zz'"):
        ale.image(results["drug"], "zz")
