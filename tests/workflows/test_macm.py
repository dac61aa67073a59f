"""`ale-dask macm` selects the experiments with a focus in a seed, and results mark what the seed's foci reach alone."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support.commands import ale as command
from support.studies import write_tiny

import ale_dask as ale
from ale_dask.analyses.findings.model import model_of
from ale_dask.config.study import load_study
from ale_dask.coordinates.foci import foci_of, n_foci, subset
from ale_dask.reporting.text.summary import summary_of
from ale_dask.workflows.prepare import read_sources
from ale_dask.workflows.seeds import read_seed

QUICK = "[inference]\nmask = 'ball.nii.gz'\niterations = 40\nvoxel_p = 0.01\nnull = 'both'\nshared = 'exclude'\n"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with drug.txt, therapy.txt, ball.nii.gz, a database of both and an image of two labels."""
    folder = write_tiny(tmp_path_factory.mktemp("macm") / "tiny")
    ale.write_foci(ale.read_foci(folder / "drug.txt", folder / "therapy.txt"), folder / "database.csv")
    ball = nib.load(folder / "ball.nii.gz")
    x, y, z = np.einsum("ij,j...->i...", ball.affine, [*np.indices(ball.shape), np.ones(ball.shape)])[:3]
    labels = np.zeros(ball.shape, dtype=np.uint8)
    labels[(x - 12) ** 2 + (y - 4) ** 2 + z**2 <= 64] = 1
    labels[(x + 12) ** 2 + y**2 + (z - 8) ** 2 <= 64] = 2
    nib.save(nib.Nifti1Image(labels, ball.affine), folder / "labels.nii.gz")
    (folder / "labels.txt").write_text("1 Amygdala right\n2 Insula left\n")
    return folder


def _in(name: str, folder: Path) -> object:
    return read_seed(name, mask=ale.load_mask(str(folder / "ball.nii.gz")))


def test_the_study_has_the_experiments_with_a_focus_in_the_seed_and_no_other(tiny: Path, tmp_path: Path) -> None:
    database = ale.read_foci(tiny / "database.csv")
    near = np.array([np.any(((p - [12, 4, 0]) ** 2).sum(axis=1) <= 64) for p in foci_of(database)])
    made = ale.macm("amy=12,4,0,8", database=tiny / "database.csv", mask=str(tiny / "ball.nii.gz"))
    assert dict(made.samples) == {"amy": int(near.sum())}
    made.write(tmp_path / "study")
    study = load_study(tmp_path / "study" / "study.toml")
    foci = read_sources(study, need_n=True)["amy"]
    assert foci["experiment_id"].values.tolist() == database["experiment_id"].values[near].tolist()
    assert study.inference.null == "base-rate"
    assert any(f"{near.sum()} of 14 experiments" in note for note in made.notes)
    assert any("underpowered" in note for note in made.notes)


@pytest.mark.parametrize("seed", ["labels.nii.gz:1", "labels.nii.gz:amygdala RIGHT", "sphere.nii.gz"])
def test_a_label_its_name_and_an_image_are_the_same_seed(tiny: Path, seed: str) -> None:
    labels = nib.load(tiny / "labels.nii.gz")
    one = np.asarray(labels.dataobj) == 1
    nib.save(nib.Nifti1Image(one.astype(np.uint8), labels.affine), tiny / "sphere.nii.gz")
    found = _in(f"s={tiny / seed}", tiny)
    xyz = ale.read_foci(tiny / "database.csv")["focus_xyz"].values
    ijk = np.rint((xyz - labels.affine[:3, 3]) / 4).astype(int)
    inside = np.all((ijk >= 0) & (ijk < labels.shape), axis=1)
    expected = np.zeros(len(xyz), dtype=bool)
    expected[inside] = one[tuple(ijk[inside].T)]
    assert found.holds(xyz).tolist() == expected.tolist()
    assert expected.any()


def test_regions_of_the_atlas_have_both_sides_without_a_side() -> None:
    mask = ale.load_mask("brain")
    both, left, right = (read_seed(f"AAL:{name}", mask=mask) for name in ("amygdala", "Amygdala L", "Amygdala R"))
    assert both.region.n_voxels == left.region.n_voxels + right.region.n_voxels > 300
    assert (left.name, "3,744 mm³" in both.words) == ("amygdala-l", True)
    assert left.region.to_mm(left.region.voxel_ijk)[:, 0].max() < 0


def test_results_mark_the_voxels_that_the_foci_in_the_seed_reach_alone(tiny: Path, tmp_path: Path) -> None:
    made = ale.macm(f"amy={tiny / 'labels.nii.gz'}:1", database=tiny / "database.csv", mask=str(tiny / "ball.nii.gz"))
    made.write(tmp_path / "study")
    toml = tmp_path / "study" / "study.toml"
    text = toml.read_text()
    head, tail = text[: text.index("[inference]")], text[text.index("# Analyses.") :]
    toml.write_text(head + QUICK.replace("'exclude'", "'refuse'") + tail)
    out = tmp_path / "out"
    command("run", toml, "-o", out, "-b", "serial", "--no-pictures")
    _, results, _ = ale.collect(out)
    result = results["amy"]
    # The same by hand: the ALE of the foci in the seed alone.
    seed = _in(f"amy={tiny / 'labels.nii.gz'}:1", tiny)
    cut = result.isel(focus=np.flatnonzero(seed.holds(result["focus_xyz"].values)))
    foci = subset(cut[[v for v in cut if "experiment" in str(v) or "focus" in str(v)]], n_foci(cut) > 0)
    alone = ale.main_effect(
        foci.assign_attrs(selection="[]"),
        mask=str(tiny / "ball.nii.gz"),
        iterations=1,
        null="uniform",
        scale_bits=int(result.attrs["scale_bits"]),
    )
    reach = alone["s"].values >= result.attrs["threshold"]
    assert result["seed_reach"].values.tolist() == reach.tolist()
    assert reach.any()
    table = ale.cluster_table(result, source="uncorrected")
    clusters = model_of(result).clusters(result["z_uncorrected"].values)
    shares = table["Share seed (%)"].dropna().tolist()
    assert shares == pytest.approx([100 * reach[c.voxels].mean() for c in clusters])
    assert "Share seed (%)" in ale.cluster_table(result, null="base-rate")
    (summary,) = summary_of(results)
    assert "beyond the seed" in dict(summary.lines)
    text = ale.cite(str(out))
    assert "Robinson et al., 2010" in text
    assert f"{result.attrs['seed_foci']} foci of amy lie there" in text
    # A cluster of this run is a seed, too.
    kept = ale.cluster_table(result)
    assert _in(f"{out}:amy:1", tiny).region.n_voxels == int(kept["Cluster Size (voxels)"].iloc[0])


def test_two_seeds_have_a_contrast_without_the_experiments_of_both(tiny: Path, tmp_path: Path) -> None:
    command(
        *("macm", "right=12,4,0,8", "-12,0,8,8", "--database", tiny / "database.csv"),
        *("--mask", tiny / "ball.nii.gz", "-o", tmp_path / "two"),
    )
    study = load_study(tmp_path / "two" / "study.toml")
    assert list(study.analysis) == ["right", "at-12-0-8", "right-vs-at-12-0-8", "right-and-at-12-0-8"]
    assert study.inference.shared == "exclude"
    toml = tmp_path / "two" / "study.toml"
    text = toml.read_text()
    toml.write_text(text[: text.index("[inference]")] + QUICK + text[text.index("# Analyses.") :])
    results, _ = ale.run(load_study(toml), tmp_path / "out", quiet=True)
    either = results["right"]["seed_reach"].values | results["at-12-0-8"]["seed_reach"].values
    for name in ("right-vs-at-12-0-8", "right-and-at-12-0-8"):
        assert results[name]["seed_reach"].values.tolist() == either.tolist()
        assert any("Share seed (%)" in table for table in ale.tables(results[name]).values())


@pytest.mark.parametrize(
    ("seeds", "database", "message"),
    [
        (["90,90,90,3"], "database.csv", "no voxel of mask"),
        (["0,0,0,0"], "database.csv", "give a radius above 0"),
        (["none.nii.gz"], "database.csv", "no such file; give a sphere"),
        (["{}/labels.nii.gz:7"], "database.csv", "no voxel has label 7; there are 1, 2"),
        (["{}/labels.nii.gz:amygdala"], "database.csv", "did you mean 'Amygdala right'"),
        (["AAL:Amygdla L"], "database.csv", "did you mean 'Amygdala L'"),
        (["{}:drug:1"], "database.csv", "no run"),
        (["0,-20,-20,1"], "database.csv", "0 experiments of 14 with a focus in"),
        (["12,4,0,8"], "neurosinth", "did you mean 'neurosynth'"),
        (["12,4,0,8"], "neurosynth", "ale-dask fetch neurosynth"),
        (["a=12,4,0,8", "a=-12,0,8,8"], "database.csv", "two seeds are named 'a'"),
        (["a=12,4,0,8", "b=12,4,0,9"], "database.csv", "too few experiments have a focus in one of them alone"),
    ],
)
def test_a_seed_or_database_that_cannot_be_used_is_an_error_with_advice(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: list[str], database: str, message: str
) -> None:
    monkeypatch.setenv("ALE_DASK_DATA", str(tmp_path))
    where = tiny / database if database.endswith(".csv") else database
    given = [seed.format(tiny) for seed in seeds]
    with pytest.raises(ale.InputError, match=message.replace("(", r"\(")):
        ale.macm(*given, database=where, mask=str(tiny / "ball.nii.gz"))


def test_of_a_whole_database_the_experiments_with_a_focus_in_the_amygdala_are_found() -> None:
    """Against the foci themselves; skipped without a copy of Neurosynth 7 in ALE_DASK_NEUROSYNTH."""
    path = os.environ.get("ALE_DASK_NEUROSYNTH")
    if not path:
        pytest.skip("ALE_DASK_NEUROSYNTH names no table of the foci of Neurosynth 7")
    made = ale.macm("amy=-22,-4,-18,6", database=path, space="MNI")
    foci = ale.read_foci(path, space="MNI", require_n=False)
    near = ((foci["focus_xyz"].values - [-22, -4, -18]) ** 2).sum(axis=1) <= 36
    assert made.samples["amy"] == len(np.unique(foci["focus_experiment"].values[near])) > 500
