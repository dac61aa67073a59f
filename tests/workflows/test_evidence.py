"""Cards of evidence: their numbers against plain computations and the files of a run, and where they are shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from support.commands import ale as command
from support.runs import with_inference
from support.studies import table, write_ball, write_tiny

import ale_dask as ale
from ale_dask.analyses.findings.certainty import title_of
from ale_dask.analyses.findings.prevalence import by_column, prevalences
from ale_dask.config.study import Study
from ale_dask.coordinates.foci import subset
from ale_dask.reporting.sensitivity.evidence import evidence_of_result
from ale_dask.reporting.tables.comparisons import moderator_table
from ale_dask.reporting.tables.contributions import surviving_clusters, surviving_map
from ale_dask.workflows.profiles import plan_profiles


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a mask and foci of 12 experiments that all report one place, of two modalities."""
    folder = tmp_path_factory.mktemp("sample")
    write_ball(folder / "ball.nii.gz")
    table(folder / "drug.csv", 3, 12, (12.0, 4.0, 0.0), modality=["fMRI", "fMRI", "PET"], Direction=["up", ""])
    return folder


@pytest.fixture(scope="module")
def weeks(sample: Path) -> xr.Dataset:
    """A main effect of 20 experiments of one or two foci, of which those of more weeks report one place."""
    rows = [
        {"study": f"S{i}", "n": 20, "space": "MNI", "weeks": i, "x": x, "y": y, "z": z}
        for i in range(20)
        for x, y, z in [
            (12, 4 + i % 3, 12) if i > 9 else (-30 + 6 * i, -20, -12),
            *[(-20, 2 * i - 20, 8)] * (i % 3 > 0),
        ]
    ]
    pd.DataFrame(rows).to_csv(sample / "weeks.csv", index=False)
    settings = {"mask": str(sample / "ball.nii.gz"), "null": "uniform", "iterations": 199, "voxel_p": 0.01}
    return ale.main_effect(ale.read_foci(sample / "weeks.csv"), name="drug", **settings)


def test_a_cluster_of_a_moderator_is_judged_by_its_effect_and_leverage(weeks: xr.Dataset, tmp_path: Path) -> None:
    result = ale.moderator(weeks, "weeks", name="longer")
    card, *_ = evidence_of_result(result, tmp_path, {}, results={"drug": weeks}).cards
    lines = {title_of(line): line for line in card.lines}
    row = moderator_table(result, level="size-fwe").to_dict("records")[0]
    effect = lines["Effect of the moderator"]
    assert effect.values == pytest.approx(
        {"effect": row["Effect"], "low": row["Effect low"], "high": row["Effect high"]}, rel=1e-5
    )
    assert effect.finding.startswith("higher weeks: +")
    assert effect.verdict == "favours"
    assert lines["Experiments within reach"].values["reached"] == 10
    # 0 to 19: the largest of the squares is 9.5 ** 2, of a sum of 665.
    without = lines["Without each group"]
    assert without.values["leverage"] == pytest.approx(90.25 / 665, rel=1e-3)
    assert without.verdict == "favours"
    assert lines["Number of foci"].values["r"] == pytest.approx(result.attrs["foci_r"])
    assert lines["Decision"].values["iterations"] == 199
    for title in ("Fail-safe N", "Base-rate null", "Power for such a place"):
        assert not lines[title].open
    assert {line.question for line in card.lines if line.open} == {"profiles"}
    alone = [*range(19), 200]
    one = ale.moderator(weeks.assign(moderator_weeks=("experiment", np.array(alone, dtype=float))), "weeks", name="one")
    for other in evidence_of_result(one, tmp_path, {}, results={"drug": weeks}).cards:
        assert {title_of(line): line for line in other.lines}["Without each group"].verdict == "against"


def test_prevalence_is_that_of_a_plain_count(sample: Path) -> None:
    result = ale.main_effect(
        ale.read_foci(sample / "drug.csv"),
        mask=str(sample / "ball.nii.gz"),
        null="uniform",
        iterations=60,
        voxel_p=0.01,
    )
    clusters = surviving_clusters(result, "uncorrected")
    assert clusters
    voxels = (
        result["voxel_ijk"].values @ np.diag([4.0, 4.0, 4.0]) + np.array(result.attrs["affine"]).reshape(4, 4)[:3, 3]
    )
    fwhm = np.sqrt(8.41129**2 + 17.11771**2 / result["experiment_n_subjects"].values)
    for cluster, found in zip(clusters, prevalences(result, clusters), strict=True):
        own = voxels[cluster.voxels]
        chance = []
        for i, width in enumerate(fwhm):
            foci = result["focus_xyz"].values[result["focus_experiment"].values == i]
            away = np.linalg.norm(foci[:, None] - own, axis=2).min(axis=1)
            assert found.reached[i] == (away <= width / 2).any()
            near = np.linalg.norm(voxels[:, None] - own, axis=2).min(axis=1) <= width / 2
            chance.append(1 - (1 - near.mean()) ** len(foci))
        assert found.by_chance == pytest.approx(np.mean(chance), rel=1e-6)
    found = prevalences(result, clusters[:1])[0]
    split, given = by_column(result, found, "Modality"), by_column(result, found, "direction")
    assert split is not None
    assert given is not None
    assert {value: n for value, (_, n) in split.counts.items()} == {"PET": 4, "fMRI": 8}
    assert sum(within for within, _ in split.counts.values()) == found.number
    assert (given.counts, given.not_stated, given.p) == ({"up": given.counts["up"]}, 6, None)
    assert by_column(result, found, "colour") is None


def test_a_place_that_one_modality_reports_alone_is_of_less_certainty(sample: Path, tmp_path: Path) -> None:
    rows = [{"study": f"S{i}", "n": 20, "space": "MNI", "modality": "PET" if i % 2 else "fMRI"} for i in range(16)]
    # Those of one modality report one place, the others a place of their own each.
    places = [(-30 + 4 * i, -20, -12) if i % 2 else (12, 4 + i % 3, 12) for i in range(16)]
    foci = pd.DataFrame(rows).join(pd.DataFrame(places, columns=list("xyz")))
    foci.to_csv(tmp_path / "both.csv", index=False)
    result = ale.main_effect(
        ale.read_foci(tmp_path / "both.csv"),
        mask=str(sample / "ball.nii.gz"),
        null="uniform",
        iterations=60,
        voxel_p=0.01,
    )
    (card, *_) = evidence_of_result(result, tmp_path, {}, columns=["modality", "colour"]).cards
    lines = {title_of(line): line for line in card.lines}
    split = lines["Experiments within reach by modality"]
    assert split.values["counts"] == {"PET": (0, 8), "fMRI": (8, 8)}
    assert split.values["p"] == pytest.approx(stats.fisher_exact([[8, 0], [0, 8]]).pvalue)
    assert split.verdict == "against"
    assert lines["Experiments within reach by colour"].finding == "the files have no such column"
    assert any("experiments within reach by modality" in reason for reason in card.reasons)
    lacking = {line.question for line in card.lines if line.open}
    assert lacking == {"leave-one-out", "fail-safe N", "profiles", "base rate", "power"}


@pytest.fixture(scope="module")
def mains(tmp_path_factory: pytest.TempPathFactory) -> dict[str, xr.Dataset]:
    """Two main effects of overlapping experiments, which report one place, and one of another place."""
    folder = write_tiny(tmp_path_factory.mktemp("mains") / "tiny")
    foci = ale.read_foci(folder / "drug.txt")
    settings = {"mask": str(folder / "ball.nii.gz"), "null": "uniform", "iterations": 60, "seed": 3, "voxel_p": 0.005}
    place = np.arange(foci.sizes["experiment"])
    chosen = {"few": place < 4, "more": place >= 2}
    made = {name: ale.main_effect(subset(foci, keep), name=name, **settings) for name, keep in chosen.items()}
    return made | {"other": ale.main_effect(ale.read_foci(folder / "therapy.txt"), name="other", **settings)}


def test_a_conjunction_is_judged_by_each_of_its_main_effects(mains: dict[str, xr.Dataset], tmp_path: Path) -> None:
    both = ale.conjunction([mains["few"], mains["more"]], name="both", min_volume=800)
    (card,) = evidence_of_result(both, tmp_path, {}, results=mains).cards
    lines = {title_of(line): line for line in card.lines}
    (cluster,) = surviving_clusters(both, "cluster-fwe")
    for name in ("few", "more"):
        (found,) = prevalences(mains[name], [cluster])
        assert lines[f"Experiments within reach in {name}"].values["reached"] == found.number > 0
        n = mains[name].sizes["experiment"]
        assert lines[f"Experiments in {name}"].finding.startswith(f"{n} in the main effect, fewer than 17")
        kept = (mains[name]["z_voxel_fwe"].values[cluster.voxels] != 0).sum()
        assert lines[f"Voxel-wise FWE in {name}"].values["voxels"] == kept
        assert lines[f"Contributors in {name}"].values["inside"] > 0
    assert lines["Fail-safe N"].finding == "not computed: `ale-dask fail-safe OUT both`"
    assert {line.question for line in card.lines if line.open} >= {"leave-one-out", "fail-safe N", "power"}
    assert any("design" in reason for reason in card.reasons)


def test_a_contrast_is_judged_by_how_many_of_each_arm_report_it(mains: dict[str, xr.Dataset], tmp_path: Path) -> None:
    result = ale.contrast(mains["more"], mains["other"], name="c")
    cards = evidence_of_result(result, tmp_path, {}, results=mains).cards
    assert {card.lines[0].question for card in cards} == {"prevalence"}
    for card, cluster in zip(cards, surviving_clusters(result, "cluster-fwe"), strict=True):
        greater = "more" if cluster.sign > 0 else "other"
        counts = {
            name: (prevalences(mains[name], [cluster])[0].number, mains[name].sizes["experiment"])
            for name in ("more", "other")
        }
        reports = card.lines[0]
        assert reports.values["counts"] == counts
        (a, n), (b, m) = counts.values()
        assert reports.values["p"] == pytest.approx(stats.fisher_exact([[a, n - a], [b, m - b]]).pvalue)
        titles = [title_of(line) for line in card.lines]
        assert f"Contributors in {greater}" in titles
        said = {title_of(line): line for line in card.lines}
        for title in ("Fail-safe N", "Power for such a place"):
            assert said[title].finding.startswith("not computed for contrasts, because ")
            assert not said[title].open
        assert said["Conventions of other programs"].open
        corrected = result["z_contrast_voxel_fwe"].sel(input="cluster-fwe").values[cluster.voxels] != 0
        voxels = next(line for line in card.lines if line.question == "voxel level")
        assert voxels.verdict == ("favours" if corrected.any() else "against")
    assert {cluster.sign for cluster in surviving_clusters(result, "cluster-fwe")} == {1, -1}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A run with evidence, and what it printed."""
    folder = write_tiny(tmp_path_factory.mktemp("evidence") / "tiny")
    out = folder / "out"
    ended = command("run", folder, "-o", out, "-b", "serial", "--evidence", "--no-pictures")
    return out, ended.stdout, ended.stderr


def _cards(out: Path, name: str) -> list[dict]:
    return json.loads((out / name / f"{name}_evidence.json").read_text())["cards"]


def test_a_run_with_evidence_tells_its_cost_and_shows_the_cards_everywhere(done: tuple[Path, str, str]) -> None:
    out, told, messages = done
    assert "evidence: leave-one-out" in messages
    page, methods = (out / "report.html").read_text(), (out / "logs" / "CITATION.md").read_text()
    assert "The certainty of each cluster is given in four levels" in methods
    assert "for “drug” and “therapy”" in methods
    for name in ("drug", "therapy"):
        cards = _cards(out, name)
        assert [card["cluster"] for card in cards] == list(range(1, len(cards) + 1))
        for card in cards:
            assert f"certainty {card['certainty']} ({'; '.join(card['decided_by'])})" in told
            assert page.count(f"<p>{'; '.join(card['decided_by'])}.</p>") >= 1
            lacking = [line["question"] for line in card["lines"] if line["finding"].startswith("not computed")]
            assert lacking == ["Base-rate null"]
            for line in card["lines"]:
                assert line["file"] == "" or (out / line["file"]).is_file()
    assert not (out / "drug-vs-therapy_pooled" / "drug-vs-therapy_pooled_evidence.json").exists()
    assert "of other programs" in page
    assert command("collect", out, "--no-pictures").stdout.count("certainty") == told.count("certainty")


def test_the_lines_say_what_the_files_say(done: tuple[Path, str, str]) -> None:
    out = done[0]
    (card, *_) = _cards(out, "drug")
    lines = {line["question"]: line for line in card["lines"]}
    left = pd.read_csv(out / "drug" / "drug_leave-out-group.tsv", sep="\t").iloc[0]
    assert lines["Without each group"]["values"]["survives"] == left["Survives"]
    n = pd.read_csv(out / "drug" / "drug_fail-safe.tsv", sep="\t").iloc[0]
    # Noise is added up to the 30 % mark and no further.
    assert n["least"] == n["added_at_most"] == lines["Fail-safe N"]["values"]["least"] == 3
    (both, *_) = _cards(out, "drug-and-therapy")
    said = next(line for line in both["lines"] if line["question"] == "Fail-safe N")
    assert set(said["values"]["N"]) == {"drug", "therapy", "all"}
    assert "with noise in therapy, whose 30 % mark is " in said["finding"]
    power = pd.read_csv(out / "drug" / "drug_power.tsv", sep="\t")
    reached = lines["Experiments within reach"]["values"]["reached"]
    assert lines["Power for such a place"]["values"]["power"] == pytest.approx(power["Power (%)"][reached] / 100)
    profiles = pd.read_csv(out / "drug" / "drug_profiles.tsv", sep="\t").iloc[0]
    kept = lines["Conventions of other programs"]["values"]["retained"]
    assert list(kept) == ["recommended", "gingerale", "nimare", "matlab", "jale"]
    assert all(profiles[f"{profile} (%)"] == share for profile, share in kept.items())


def test_the_share_under_a_profile_is_that_of_a_run_with_it(done: tuple[Path, str, str], tmp_path: Path) -> None:
    out = done[0]
    command("run", out.parent, "-o", tmp_path / "matlab", "-b", "serial", "--profile", "matlab", "--no-pictures", "-q")
    here, there = (ale.collect(where)[1] for where in (out, tmp_path / "matlab"))
    for name in ("drug", "drug-vs-therapy", "drug-and-therapy"):
        clusters, signs = (
            surviving_clusters(here[name], "cluster-fwe"),
            np.sign(surviving_map(there[name], "cluster-fwe")),
        )
        for row, cluster in zip(_cards(out, name), clusters, strict=True):
            kept = next(line for line in row["lines"] if line["question"].startswith("Conventions"))["values"]
            share = (signs[cluster.voxels] == (cluster.sign if name == "drug-vs-therapy" else 1)).mean()
            assert kept["retained"]["matlab"] == pytest.approx(100 * share, abs=0.05)


def test_cards_follow_the_run(done: tuple[Path, str, str], tmp_path: Path) -> None:
    out = shutil.copytree(done[0], tmp_path / "out")
    again = command("evidence", out, "--compute")
    assert "evidence:" not in again.stderr
    assert "  + Fail-safe N: N at least 3" in again.stdout
    command("evidence", out, "nothing", code=65)
    table = ale.evidence(out, by=["colour"])
    cards = table[["Analysis", "Cluster ID"]].drop_duplicates()
    assert set(cards["Analysis"]) >= {"drug", "therapy", "drug-vs-therapy"}
    of_mains = int(cards["Analysis"].isin(["drug", "therapy"]).sum())
    assert table["Question"].tolist().count("Experiments within reach by colour") == of_mains
    assert ale.verify(out, blocks=1) == []
    command("extend", out, "-i", 70, "--no-pictures", "-q")
    (card, *_) = _cards(out, "drug")
    findings = {line["question"]: line["finding"] for line in card["lines"]}
    assert findings["Fail-safe N"] == "not computed: `ale-dask fail-safe OUT drug`"
    assert "after 70 iterations" in findings["Decision"]
    assert "Experiments within reach by colour" in findings
    told = json.loads(command("evidence", out, "drug", "--json").stdout)
    assert [each["certainty"] for each in told["cards"]] == [each["certainty"] for each in _cards(out, "drug")]
    assert len(told["rules"]) == 6


def test_profiles_that_do_not_go_with_the_settings_are_left_out(tiny_study: Study, tmp_path: Path) -> None:
    study = with_inference(tiny_study, correction="tfce")
    planned = plan_profiles(tmp_path, study=study, results={"drug": None}, record={})
    assert list(planned.left_out) == ["matlab", "jale"]
    assert [cell.values["profile"] for cell in planned.planned.cells.values()] == ["gingerale", "nimare"]
    prepared = next(iter(planned.planned.prepared.values()))
    assert prepared.study.inference.correction == "tfce"
    assert prepared.samples.keys() == {"drug"}
