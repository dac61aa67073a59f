"""Contrasts and conjunctions that are limited to the clusters of a main effect, or to an image."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from support.runs import digests, digests_of, with_backend
from support.samples import MASK, sample
from support.studies import experiments, write_sample, write_tiny

import ale_dask as ale
from ale_dask.config.analysis import INPUTS
from ale_dask.config.study import load_study
from ale_dask.errors import InputError
from ale_dask.numerics.space import Mask
from ale_dask.workflows.run import run

THIRD = """[foci.third]
files = "third.txt"
[analysis.third]
kind = "main-effect"
foci = "third"
[analysis.both]
kind = "main-effect"
foci = ["drug", "therapy"]
[analysis.within]
kind = "contrast"
arms = ["drug", "therapy"]
inside = "third"
[analysis.image]
kind = "contrast"
arms = ["drug", "therapy"]
inside = "half.nii.gz"
[analysis.overlap]
kind = "conjunction"
of = ["drug", "therapy"]
inside = "half.nii.gz"
"""


def write_limited(folder: Path) -> Path:
    """Write the study of two samples with a third one, whose clusters are at the places of both, and half a mask."""
    write_tiny(folder)
    text = (folder / "study.toml").read_text().replace("voxel_p = 0.01", 'voxel_p = 0.05\ngate = "none"')
    (folder / "study.toml").write_text(text.replace("iterations = 60", "iterations = 99\ncontrast_p = 0.1") + THIRD)
    third = experiments(5, number=7, planted=(12, 4, 0), prefix="one")
    write_sample(folder / "third.txt", third + experiments(6, number=7, planted=(-12, 0, 8), prefix="two"))
    ball = nib.load(folder / "ball.nii.gz")
    half = np.asarray(ball.dataobj).copy()
    half[: half.shape[0] // 2] = 0
    nib.save(nib.Nifti1Image(half, ball.affine), folder / "half.nii.gz")
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, dict]:
    """Return the folder of a run of that study and its results and record."""
    folder = write_limited(tmp_path_factory.mktemp("inside") / "tiny")
    study = with_backend(load_study(folder / "study.toml"), name="serial", block_size=16)
    return folder, *run(study, folder / "out", quiet=True)


def shown(result: xr.Dataset) -> list[str]:
    return [str(name) for name in result.data_vars if str(name).startswith("z_")]


@pytest.mark.parametrize("gate", ["none", "pooled", "arms"])
def test_the_family_are_the_voxels_inside_alone(done: tuple[Path, dict, dict], gate: str) -> None:
    folder, results, _ = done
    if gate != "none":
        drug, therapy, third, pooled = (results[name] for name in ("drug", "therapy", "third", "both"))
        places = {"drug-vs-therapy": None, "within": third, "image": str(folder / "half.nii.gz")}
        again = {
            name: ale.contrast(drug, therapy, pooled=pooled, gate=gate, inside=place) for name, place in places.items()
        }
        results = results | again
    survives = results["third"]["z_size_fwe"].values != 0
    right = results["third"]["voxel_ijk"].values[:, 0] >= 11
    assert 0 < survives.sum() < 0.2 * len(survives)
    whole = results["drug-vs-therapy"]
    for name, expected in (("within", survives), ("image", right)):
        limited = results[name]
        inside = limited["inside"].values
        np.testing.assert_array_equal(inside, expected)
        assert limited.attrs["inside_voxels"] == inside.sum()
        for variable in shown(limited):
            assert not limited[variable].values[..., ~inside].any()
        for side in ("greater", "less"):
            own, other = limited[f"p_{side}"].values, whole[f"p_{side}"].values
            # The draws are the same: inside, the uncorrected p is that of the whole, and the corrected one no larger.
            np.testing.assert_array_equal(own, np.where(inside, other, np.nan))
            own, other = (r[f"p_voxel_fwe_{side}"].values for r in (limited, whole))
            tested = ~np.isnan(own)
            assert not tested[:, ~inside].any()
            assert (own[tested] <= other[tested]).all()
    assert (~np.isnan(results["within"]["p_greater"].values)).any()


def test_p_of_a_voxel_counts_the_largest_difference_inside(done: tuple[Path, dict, dict]) -> None:
    folder, results, _ = done
    settings = {"mask": str(folder / "ball.nii.gz"), "gate": "none", "iterations": 99, "seed": 3, "null": "uniform"}
    settings |= {"voxel_p": 0.05, "contrast_p": 0.1}
    # Searched nowhere else, by quite another way: the settings' own search region.
    image = folder / "inside.nii.gz"
    mask, inside = ale.load_mask(settings["mask"]), results["within"]["inside"].values
    volume = np.zeros(mask.volume.shape, dtype=np.uint8)
    volume[tuple(mask.voxel_ijk[inside].T)] = 1
    nib.save(nib.Nifti1Image(volume, mask.affine), image)
    arms = [ale.read_foci(folder / f"{name}.txt") for name in ("drug", "therapy")]
    searched = ale.contrast(*arms, search=str(image), **settings)
    limited = ale.contrast(*arms, inside=str(image), **settings)
    for side in ("greater", "less"):
        own = results["within"][f"p_voxel_fwe_{side}"].values
        np.testing.assert_array_equal(own, searched[f"p_voxel_fwe_{side}"].values)
        np.testing.assert_array_equal(own, limited[f"p_voxel_fwe_{side}"].values)
    for measure in ("size", "mass"):
        p = f"contrast_cluster_{measure}_p"
        known = searched[p].values
        assert len(known) > 0
        np.testing.assert_array_equal(results["within"][p].values[:, ~np.isnan(results["within"][p].values[0])], known)


def test_python_gives_what_the_study_gives(done: tuple[Path, dict, dict]) -> None:
    _, results, _ = done
    drug, therapy, third = (results[name] for name in ("drug", "therapy", "third"))
    again = ale.contrast(drug, therapy, inside=third, name="within", pooled=results["within_pooled"])
    wanted = results["within"].drop_attrs(deep=False)
    xr.testing.assert_equal(again.drop_attrs(deep=False), wanted)
    half = ale.conjunction([drug, therapy], inside=str(done[0] / "half.nii.gz"))
    for source in INPUTS:
        keep = half["z_min"].sel(input=source).values != 0
        everywhere = results["drug-and-therapy"]["z_min"].sel(input=source).values != 0
        assert not (keep & ~(everywhere & half["inside"].values)).any()
    xr.testing.assert_equal(half["z_min"], results["overlap"]["z_min"])


@pytest.mark.slow
def test_two_processes_and_a_second_run_give_the_same_digest(done: tuple[Path, dict, dict], tmp_path: Path) -> None:
    folder, results, record = done
    study = with_backend(load_study(folder / "study.toml"), name="processes", workers=2, block_size=7)
    assert digests(study, tmp_path / "o") == digests_of(record)
    again = ale.collect(folder / "out")[1]
    xr.testing.assert_equal(again["within"], results["within"])
    # OUT holds its own copy of the image.
    assert "inside/image.nii.gz" in (folder / "out" / "study.toml").read_text()
    assert (folder / "out" / "inside" / "image.nii.gz").read_bytes() == (folder / "half.nii.gz").read_bytes()


def test_leaving_one_out_stays_inside(done: tuple[Path, dict, dict]) -> None:
    _, results, _ = done
    again = ale.jackknife([results[name] for name in ("drug", "therapy", "image", "overlap")])
    fraction = again["image"]["overlap_fraction"].values
    assert fraction.shape[1] == 14
    # Every voxel of a cluster is inside, and comes back without most groups.
    assert 0.5 < fraction.mean() <= 1


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ('inside = "thirt"', "no main effect named 'thirt'; did you mean 'third'"),
        ('inside = "drug"', "'drug' is of arms already"),
        ('inside = "none.nii.gz"', "no such file"),
        ('inside = "half.nii.gz"\ninside_correction = "cluster-size"', "belongs to inside with the name"),
        ('inside = "third"\n[inference]\ncorrection = "voxel"', "'voxel' retains single voxels"),
        ('inside = "most"', "has 8 of the 14 experiments that are compared"),
    ],
)
def test_a_place_that_cannot_be_is_refused(tmp_path: Path, inside: str, message: str) -> None:
    folder = write_limited(tmp_path / "tiny")
    toml = folder / "study.toml"
    text = toml.read_text() + '[analysis.most]\nkind = "main-effect"\nfoci = ["drug", "third"]\n'
    own, _, settings = inside.partition("\n[inference]\n")
    text = text.replace('inside = "third"', own).replace("[inference]\n", f"[inference]\n{settings}\n")
    toml.write_text(text)
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        run(load_study(toml), tmp_path / "out", quiet=True)


def test_twenty_studies_without_an_effect_find_as_little_as_they_may() -> None:
    """Arms at random over a ball, inside half of it: 99.9 % of the binomial of 20 studies at .05 is 0-5."""
    half = np.argsort(MASK.voxel_ijk[:, 0], kind="stable")[: MASK.n_voxels // 2]
    volume = np.zeros_like(MASK.volume)
    volume[tuple(MASK.voxel_ijk[half].T)] = True
    place = Mask(volume, MASK.affine, name="half")
    found = np.zeros(2, dtype=int)
    for seed in range(20):
        arms = [sample(arm + "x" * seed, [], experiments=8) for arm in ("one", "two")]
        settings = {"iterations": 19, "seed": seed, "null": "uniform", "gate": "none", "correction": "voxel"}
        result = ale.contrast(*arms, mask=MASK, inside=place, contrast_floor=0.5, **settings)
        z = result["z_contrast_voxel_fwe"].values[0]
        found += [(z > 0).any(), (z < 0).any()]
    assert found.max() <= 5
    assert found.sum() > 0
