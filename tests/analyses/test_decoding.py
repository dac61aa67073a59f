"""Decoding by terms: plain counts on a made-up database, and what the literature says where Neurosynth is fetched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from scipy import stats
from support.commands import ale as command
from support.databases import PLACE, STUDIES, write_database
from support.effects import effect
from support.runs import finished_run, with_backend

import ale_dask as ale
from ale_dask.analyses.findings.decoding import decode_region
from ale_dask.config.study import Study
from ale_dask.coordinates.foci import foci_of
from ale_dask.datasets.download import cache
from ale_dask.datasets.fetch import SOURCES
from ale_dask.datasets.terms import load_terms
from ale_dask.errors import InputError
from ale_dask.execution.plan import digest
from ale_dask.numerics.gaussian import sigma_mm
from ale_dask.numerics.space import Mask


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a database into the cache: of 240 studies, 60 are on fear, and two thirds of these report one place."""
    monkeypatch.setenv("ALE_DASK_DATA", str(tmp_path / "data"))
    return write_database(tmp_path / "data")


def sphere(mask: Mask, centre: tuple[float, float, float], mm: float) -> np.ndarray:
    """Return the voxels (voxel), bool, within a distance of a place."""
    return np.linalg.norm(mask.to_mm(mask.voxel_ijk) - np.array(centre), axis=1) <= mm


def test_counts_odds_and_p_are_those_of_a_plain_count(database: Path, tiny: Path) -> None:
    mask = ale.load_mask(str(tiny / "ball.nii.gz"))
    inside = sphere(mask, PLACE, 8)
    terms = load_terms("neurosynth", mask=mask, above=0.001)
    table = decode_region(inside, terms, least=20).set_index("term")
    foci = ale.read_foci(database / "neurosynth_foci.csv.gz", space="MNI", require_n=False)
    reports = {
        str(name): bool(inside[np.maximum(mask.voxel_at(xyz), 0)][mask.voxel_at(xyz) >= 0].any())
        for name, xyz in zip(foci["experiment_study"].values, foci_of(foci), strict=True)
    }
    members = {"fear": range(60), "motor": range(40, 160), "brain": range(STUDIES)}
    assert set(table.index) == set(members)
    size = sum(reports.values())
    for term, studies in members.items():
        a = sum(reports[str(1000 - i)] for i in studies)
        b, c = len(studies) - a, size - a
        d = STUDIES - a - b - c
        row = table.loc[term]
        assert (row["studies"], row["reporting"]) == (a + b, a)
        assert row["log_odds"] == pytest.approx(np.log((a + 0.5) * (d + 0.5) / (b + 0.5) / (c + 0.5)))
        tails = [stats.fisher_exact([[a, b], [c, d]], alternative=side).pvalue for side in ("greater", "less")]
        assert row["p"] == pytest.approx(min(1, 2 * min(tails)))
    np.testing.assert_allclose(table["q"], stats.false_discovery_control(table["p"]))
    assert table.index[0] == "fear"
    assert table.loc["brain", "p"] == 1
    # A weight below the limit indexes nothing.
    assert (
        decode_region(inside, load_terms("neurosynth", mask=mask, above=0.0001)).set_index("term").studies["fear"]
        == 200
    )


def test_clusters_of_a_run_are_decoded_in_its_report(
    database: Path, tiny: Path, tiny_study: Study, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    finished_run(tiny_study, out, folder=tiny)
    said = command("decode", out, "drug").stdout
    assert "fear (" in said
    shown = pd.read_csv(out / "drug" / "drug_decoding.tsv", sep="\t")
    assert shown["Term"].tolist() == ["fear"]
    assert (shown["q"] < 0.05).all()
    command("collect", out, "--no-pictures")
    page = (out / "report.html").read_text()
    assert "Decoding by terms of neurosynth" in page
    assert "Yarkoni" in page
    assert "drug" in command("decode", out, "drugg", code=65).stderr


def test_a_database_that_is_not_there_is_said(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALE_DASK_DATA", str(tmp_path / "none"))
    result = effect(ale.read_foci(tiny / "drug.txt"), tiny, "drug")
    with pytest.raises(InputError, match="ale-dask fetch neurosynth"):
        ale.decode(result)
    with pytest.raises(InputError, match="neurosynth or neuroquery"):
        ale.decode(result, database="brainmap")


def plain_maps(mask: Mask) -> dict[str, np.ndarray]:
    """Return the map (voxel) of each term of 50 studies: Gaussians around the foci of its studies, one by one."""
    terms = load_terms("neurosynth", mask=mask, above=0.001)
    sigma = float(sigma_mm(20)) / mask.voxel_size
    reach = (4 * sigma + 0.5).astype(int)
    axes = [np.exp(-0.5 * (np.arange(-r, r + 1) / s) ** 2) for r, s in zip(reach, sigma, strict=True)]
    axes = [axis / axis.sum() for axis in axes]
    maps = {}
    for word, indexed in zip(terms.words, terms.indexes.toarray().T, strict=True):
        total = np.zeros(mask.n_voxels)
        for voxel in terms.voxel[indexed[terms.study]]:
            away = mask.voxel_ijk - mask.voxel_ijk[voxel]
            near = (np.abs(away) <= reach).all(axis=1)
            parts = [axes[k][np.clip(away[:, k] + reach[k], 0, 2 * reach[k])] for k in range(3)]
            total += np.where(near, parts[0] * parts[1] * parts[2], 0)
        if indexed.sum() >= 50:
            maps[word] = total
    return maps


def test_correlations_and_their_null_are_those_of_plain_maps(database: Path, tiny: Path) -> None:
    result = effect(ale.read_foci(tiny / "drug.txt"), tiny, "drug", null="both")
    table = ale.decode_by_correlation(result, least=50, iterations=40)
    maps = plain_maps(ale.load_mask(str(tiny / "ball.nii.gz")))

    def plain(given: xr.Dataset) -> dict[str, float]:
        return {term: float(np.corrcoef(given["ale"].values, each)[0, 1]) for term, each in maps.items()}

    test = ale.null(result, plain, iterations=40)
    assert len(table) == 6
    for row in table.to_dict("records"):
        of = test.sel(against=row["null"], number=row["term"])
        assert row["r"] == pytest.approx(float(of["observed"]), rel=1e-9)
        assert row["null_mean"] == pytest.approx(float(of["null_mean"]))
        for name in ("p", "p_low", "p_high", "p_fwe"):
            assert row[name] == float(of[name])
    for _, rows in table.groupby("null"):
        np.testing.assert_allclose(rows["q"], stats.false_discovery_control(rows["p"]))
        # The sample reports the place of fear.
        assert rows.set_index("term")["p_fwe"]["fear"] <= 0.05
        assert rows["deviation"].is_monotonic_decreasing
    assert {term: int(n) for term, n in table.groupby("term")["studies"].first().items()} == {
        "fear": 60,
        "motor": 120,
        "brain": 240,
    }


def test_correlations_of_a_run_are_kept_resumed_and_shown(
    database: Path, tiny: Path, tiny_study: Study, tmp_path: Path
) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    for folder, size in ((out, 7), (again, 11)):
        finished_run(with_backend(tiny_study, name="serial", block_size=size), folder, folder=tiny, write=True)

    def digest_in(folder: Path) -> str:
        """Return the digest of the stored null (iteration, term), whose blocks are not of one size."""
        (null,) = folder.glob("store.zarr/drug_null-terms-neurosynth-*/null/0")
        return digest(np.ascontiguousarray(zarr.open_array(null, mode="r")[:60, 1:]))

    said = command("decode", out, "drug", "--by", "correlation", "-q").stdout
    assert "drug, uniform null, family-wise" in said
    command("decode", again, "drug", "--by", "correlation", "-q", "-b", "processes", "-w", 2)
    files = [each / "drug" / "drug_decoding-correlation-neurosynth.tsv" for each in (out, again)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert digest_in(out) == digest_in(again)
    shown = pd.read_csv(files[0], sep="\t")
    assert sorted(shown["Term"]) == ["brain", "motor"]
    blocks = sorted(again.glob("store.zarr/drug_null-terms-neurosynth-*/null/0/c/*/0"))
    assert len(blocks) == 6
    # As a command that was killed leaves it.
    for block in blocks[3:]:
        block.unlink()
    assert digest_in(out) != digest_in(again)
    kept = {block: block.stat().st_mtime_ns for block in blocks[:3]}
    files[1].unlink()
    command("decode", again, "drug", "--by", "correlation", "-q")
    assert files[0].read_bytes() == files[1].read_bytes()
    assert digest_in(out) == digest_in(again)
    assert all(block.stat().st_mtime_ns == changed for block, changed in kept.items())
    command("collect", out, "--no-pictures", "-q")
    assert "Decoding by correlation with maps of terms of neurosynth" in (out / "report.html").read_text()
    assert "ALE was correlated over voxels with the map of each of 2 terms" in command("cite", out).stdout


def test_what_belongs_to_another_way_of_decoding_is_said(tiny: Path) -> None:
    assert "belong to --by correlation" in command("decode", tiny, "-i", 20, code=65).stderr
    assert "clusters or correlation" in command("decode", tiny, "--by", "maps", code=65).stderr
    image = tiny / "ball.nii.gz"
    assert "main effects of a run" in command("decode", image, "--by", "correlation", code=65).stderr


@pytest.mark.parametrize(
    ("centre", "wanted"),
    [((-22, -4, -18), {"amygdala", "fear", "emotional"}), ((0, -88, 0), {"visual", "visual cortex"})],
)
def test_terms_of_the_amygdala_and_of_visual_cortex_are_those_of_the_literature(
    centre: tuple[float, float, float], wanted: set[str]
) -> None:
    source = SOURCES["neurosynth"]
    if not (cache() / source.name / source.features).is_file():
        pytest.skip("Neurosynth is not in the cache: `ale-dask fetch neurosynth` fetches it")
    mask = ale.load_mask("brain")
    table = decode_region(sphere(mask, centre, 8), load_terms("neurosynth", mask=mask, above=0.001))
    assert wanted <= set(table["term"].head(40))
    assert (table[table["term"].isin(wanted)]["q"] < 1e-6).all()
