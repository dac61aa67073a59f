"""Moderators, held to contrasts, to plain loops over permutations, and to what a user reads and can get wrong."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support.commands import ale as command
from support.runs import digests_of, with_backend
from support.studies import write_ball

import ale_dask as ale
from ale_dask.analyses import moderator as moderators
from ale_dask.analyses import moderator_clusters as second
from ale_dask.analyses.execute import run_plan
from ale_dask.analyses.moderator_columns import moderated, moderator_findings
from ale_dask.analyses.sample import sample, study_bits
from ale_dask.config.analysis import Moderator
from ale_dask.config.study import inference_from, load_study
from ale_dask.coordinates.decisions import decisions
from ale_dask.coordinates.foci import Experiment, build, subset, together
from ale_dask.coordinates.subject_groups import group_keys
from ale_dask.errors import InputError
from ale_dask.reporting.common.wording import facts
from ale_dask.reporting.text.summary import summary_of
from ale_dask.workflows import run

PLACE = (12.0, 4.0, 0.0)
ENDS = ("_desc-size_level-cluster", "_desc-mass_level-cluster")
SETTINGS = {"iterations": 200, "seed": 1, "voxel_p": 0.05, "min_volume": 8.0}


@pytest.fixture(scope="module")
def mask(tmp_path_factory):
    path = tmp_path_factory.mktemp("ball") / "ball.nii.gz"
    write_ball(path, radius=7.0)
    return ale.load_mask(str(path))


def foci_of(number, columns, *, seed=1, planted=lambda i: False, studies=None, n_foci=4):
    """Return experiments with random foci, those `planted` with one at PLACE, and the values of columns."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(number):
        xyz = rng.uniform(-18, 18, (n_foci if isinstance(n_foci, int) else n_foci[i], 3))
        if planted(i):
            xyz[0] = PLACE + rng.normal(0, 2, 3)
        values = {name: str(values[i]) for name, values in columns.items()}
        name = f"Study{chr(97 + i)} {1990 + i}" if studies is None else f"{studies[i]}; contrast {i}"
        n = 20 + (i if studies is None else 0)
        made.append(Experiment(name, n, tuple(map(tuple, xyz.tolist())), "MNI", f"a.txt:{i}", values))
    return build(made)


def by(foci, on, mask, **changes):
    return ale.moderator(foci, on, mask=mask, **{**SETTINGS, **changes})


@pytest.mark.parametrize("iterations", [40, 30])
def test_a_column_of_two_values_is_the_contrast_of_its_arms(mask, iterations) -> None:
    """With 7 groups all 35 relabellings are gone through, or 30 are drawn: the same ones."""
    foci = foci_of(7, {"arm": "bbabaab"}, planted=lambda i: "bbabaab"[i] == "b")
    arms = {level: subset(foci, foci["moderator_arm"].values == level) for level in "ab"}
    # Of two values the greater word scores 1; a contrast draws the arm that holds the smallest key.
    keys = {level: arm["experiment_key"].values.min() for level, arm in arms.items()}
    other = "a" if keys["a"] < keys["b"] else "b"
    swapped = foci.assign(
        moderator_arm=("experiment", np.where(foci["moderator_arm"].values == other, "z", "y").astype(object))
    )
    one, two = arms[other], arms["ab".replace(other, "")]
    result = by(swapped, "arm", mask, iterations=iterations)
    contrast = ale.contrast(one, two, mask=mask, gate="none", null="uniform", **{**SETTINGS, "iterations": iterations})
    assert result.attrs["enumerated"] == contrast.attrs["enumerated"] == (iterations == 40)
    tested = np.isfinite(contrast["p_greater"].values)
    assert tested.sum() > 100
    for p in ("p_greater", "p_less"):
        np.testing.assert_array_equal(result[p].values, contrast[p].values)
    # Both rank by the first arm's sum, and clusters are of voxels beyond the same rank.
    for variable in ("cluster_of_voxel", "cluster_size"):
        np.testing.assert_array_equal(result[f"moderator_{variable}"].values, contrast[f"contrast_{variable}"].values)
    np.testing.assert_array_equal(
        result["moderator_cluster_size_p"].values, contrast["contrast_cluster_size_p"].values[0]
    )


def test_p_and_effect_are_those_of_plain_loops(mask) -> None:
    weeks = [2, 3, 5, 8, 9, 12]
    foci = foci_of(6, {"weeks": weeks}, planted=lambda i: i > 2)
    result = by(foci, "weeks", mask, iterations=1000, contrast_floor=0.0)
    assert (result.attrs["enumerated"], result.attrs["iterations"]) == (True, 720)
    chosen = sample(foci, mask=mask, inference=inference_from({"mask": mask.name}))
    bits = study_bits([chosen])
    x = np.zeros((6, mask.n_voxels))
    for row, (voxel, value) in zip(x, chosen.rows(bits, exact=True), strict=True):
        row[voxel] = value
    z = np.array(
        [
            weeks[int(name.split("contrast ")[-1]) if "contrast" in name else ord(name[5]) - 97]
            for name in chosen.foci["experiment_name"].values
        ],
        dtype=float,
    )
    every = np.array(list(permutations(z - z.mean()))) @ x
    seen = (z - z.mean()) @ x
    tested = np.isfinite(result["p_greater"].values)
    # A voxel that no kernel reaches has no T that could vary.
    assert set(np.flatnonzero(~tested)) == set(np.flatnonzero(~x.any(axis=0)))
    p = (every >= seen - 1e-9 * np.abs(every).max(axis=0)).mean(axis=0)
    # Scores of 16 bits: where two groups have the same X, permutations that tie in plain numbers may not tie there.
    same = np.abs(result["p_greater"].values[tested] - p[tested]) < 1e-6
    assert same.mean() > 0.99
    np.testing.assert_allclose(result["p_greater"].values[tested], p[tested], atol=0.05)
    sd = every.std(axis=0)
    np.testing.assert_allclose(
        result["t_moderator"].values[tested], (seen / np.where(sd, sd, 1))[tested], rtol=2e-3, atol=2e-3
    )
    largest = (every[:, tested] / sd[tested]).max(axis=1)
    p_fwe = (largest[:, None] >= (seen / np.where(sd, sd, 1))[tested] - 2e-3).mean(axis=0)
    apart = np.abs(result["p_voxel_fwe_greater"].values[tested] - p_fwe)
    assert (apart < 0.01).mean() > 0.99
    assert apart.max() < 0.05
    ma = -np.expm1(-x * 2.0**-bits)
    for v in np.flatnonzero(ma.max(axis=0) < 0.89 * ma.sum(axis=0))[:20]:
        effect = (z @ ma[:, v]) / ma[:, v].sum() - z.mean()
        without = []
        for i in range(6):
            rest = np.arange(6) != i
            without.append((z[rest] @ ma[rest, v]) / ma[rest, v].sum() - z[rest].mean())
        error = np.sqrt(5 / 6 * ((np.array(without) - np.mean(without)) ** 2).sum())
        half = stats.t.ppf(0.975, 5) * error
        found = [float(result[name].values[v]) for name in ("effect", "effect_low", "effect_high")]
        np.testing.assert_allclose(found, [effect, effect - half, effect + half], rtol=1e-4, atol=1e-4)


def test_a_planted_effect_is_found_in_its_direction(mask) -> None:
    weeks = np.arange(20)
    foci = foci_of(20, {"weeks": weeks}, planted=lambda i: i > 9)
    result = by(foci, "weeks", mask, iterations=300)
    at = int(mask.voxel_at(np.array([PLACE]))[0])
    assert result["z_moderator_voxel_fwe"].values[at] > 0
    assert result["z_moderator_size_fwe"].values[at] > 0
    assert result["effect_low"].values[at] > 0
    table = ale.tables(result)
    assert table["clusters_desc-size_level-cluster"]["Direction"].tolist()[0] == "higher weeks"
    assert set(table) == {f"clusters{end}" for end in ("_uncorrected", "_level-voxel", *ENDS)}
    # The other way round the same voxels have the other sign.
    turned = by(foci.assign(moderator_weeks=("experiment", 19.0 - weeks)), "weeks", mask, iterations=300)
    assert turned["z_moderator_voxel_fwe"].values[at] < 0
    assert ale.tables(turned)["clusters_desc-size_level-cluster"]["Direction"].tolist()[0] == "lower weeks"


def test_ranks_levels_groups_and_interactions_have_their_scores(mask) -> None:
    site, drug = list("pqrpqrpqrpqr"), list("aabbaabbaabb")
    columns = {"site": site, "drug": drug, "weeks": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 200]}
    foci = foci_of(12, columns, planted=lambda i: site[i] == "r")
    chosen = sample(foci, mask=mask, inference=inference_from({"mask": mask.name}))

    def scores(on, **given):
        return moderated(
            chosen, Moderator.model_validate({"kind": "moderator", "of": "x", "on": on, **given}), name="x"
        )

    order = np.argsort(chosen.key)
    index = np.array([ord(str(name)[5]) - 97 for name in chosen.foci["experiment_name"].values])[order]
    assert (group_keys(chosen.foci, chosen.groups)[order] == scores("weeks").key).all()
    assert scores("weeks").score[:, 0].tolist() == [columns["weeks"][i] for i in index]
    assert scores("weeks", ranks=True).score[:, 0].tolist() == (index + 1).tolist()
    levels = scores("site", levels=["r", "p", "q"])
    assert levels.score[:, 0].tolist() == ["rpq".index(site[i]) for i in index]
    assert levels.counts == {"r": 4, "p": 4, "q": 4}
    two = scores("site", levels=["r", "q"])
    assert (len(two.key), two.decisions[-1].count) == (8, 4)
    groups = scores("site")
    assert (groups.omnibus, groups.pairs) == (True, ("p, q", "p, r", "q, r"))
    at = [site[i] for i in index]
    assert groups.score[at.index("r")].tolist() == [0, 0.25, 0.25]
    both = scores(["drug", "weeks"])
    sign = np.array([1 if drug[i] == "b" else -1 for i in index])
    weeks = np.array([columns["weeks"][i] for i in index])
    np.testing.assert_allclose(both.score[:, 0], sign * (weeks - weeks.mean()))
    assert both.nuisance.shape == (12, 2)
    strata = scores("weeks", strata="drug", nuisance=["site", "n"])
    assert strata.stratum.tolist() == [int(drug[i] == "b") for i in index]
    assert strata.nuisance.shape == (12, 3)
    result = by(foci, "site", mask)
    assert result.attrs["directions"] == ["any two of p, q, r differ"]
    assert set(np.unique(result["p_greater"].values[np.isfinite(result["p_greater"].values)])) <= set(
        np.float32(np.arange(1, 202) / 201)
    )
    assert "p_less" not in result
    found = ale.tables(result)["clusters_uncorrected"]
    assert found["Pair"].str.startswith("r > ").any()


def test_groups_of_subjects_move_whole(mask) -> None:
    """Experiments of a group add up to one X; its value counts where its experiments agree."""
    studies = [f"Smith{chr(97 + i // 2)} {2000 + i // 2}" for i in range(16)]
    weeks = [i // 2 for i in range(16)]
    foci = foci_of(16, {"weeks": weeks}, studies=studies)
    result = by(foci, "weeks", mask, same_subjects="keep")
    assert (result.attrs["groups"], result.attrs["n_experiments"]) == (8, 16)
    weeks[3] = 99
    differing = by(foci_of(16, {"weeks": weeks}, studies=studies), "weeks", mask, same_subjects="keep")
    assert (differing.attrs["groups"], differing.attrs["groups_left_out"]) == (7, 1)
    assert any(d.code == "moderator-missing" and "Smithb" in d.message for d in decisions(differing))


def test_several_samples_are_compared_as_by_a_column_of_their_names(mask) -> None:
    names = np.array(["drug", "therapy", "rest"])
    foci = foci_of(15, {"arm": names[np.arange(15) // 5]}, planted=lambda i: i < 5)
    parts = {name: subset(foci, foci["moderator_arm"].values == name) for name in names}
    whole, named = by(parts, "sample", mask), by(foci, "arm", mask)
    assert whole.attrs["pairs"] == named.attrs["pairs"] == ["drug, rest", "drug, therapy", "rest, therapy"]
    np.testing.assert_array_equal(whole["t_moderator"].values, named["t_moderator"].values)
    np.testing.assert_array_equal(whole["p_voxel_fwe_greater"].values, named["p_voxel_fwe_greater"].values)
    best = int(np.nanargmin(whole["p_voxel_fwe_greater"].values))
    assert float(whole["p_voxel_fwe_greater"][best]) <= 0.05
    assert "drug" in whole.attrs["pairs"][abs(int(whole["pair"][best])) - 1]

    own = parts["drug"].assign(moderator_sample=("experiment", np.array(list("aabbb"), dtype=object)))
    kept = together({"drug": own, "rest": parts["rest"]})
    assert kept["moderator_sample"].values.tolist() == [*"aabbb", *[""] * 5]
    assert together({"drug": parts["drug"]}) is parts["drug"]


def test_each_pair_of_groups_has_its_map_and_table_under_the_same_correction(mask) -> None:
    names = np.array(["drug", "rest", "therapy"])
    foci = foci_of(18, {"arm": names[np.arange(18) // 6]}, planted=lambda i: i < 6)
    result = by(foci, "arm", mask)
    assert result["pair_of_groups"].values.tolist() == [
        "drug against rest",
        "drug against therapy",
        "rest against therapy",
    ]
    t, p = result["t_pair"].values, result["p_pair_voxel_fwe"].values
    tested = np.isfinite(p[0])
    # The omnibus statistic is the largest of the pairs', and so is its p.
    np.testing.assert_array_equal(np.abs(t).max(axis=0)[tested], np.abs(result["t_moderator"].values[tested]))
    np.testing.assert_array_equal(p.min(axis=0), result["p_voxel_fwe_greater"].values)
    chosen = sample(foci, mask=mask, inference=inference_from({"mask": mask.name}))
    x = np.zeros((18, mask.n_voxels))
    for row, (voxel, value) in zip(x, chosen.rows(study_bits([chosen]), exact=True), strict=True):
        row[voxel] = value
    arm = chosen.foci["moderator_arm"].values.astype(str)
    for number, (one, two) in enumerate([("drug", "rest"), ("drug", "therapy"), ("rest", "therapy")]):
        z = (arm == one) / 6 - (arm == two) / 6
        # The sum over groups, over its exact standard deviation over all permutations.
        sd = np.sqrt((z**2).sum() / 17 * ((x - x.mean(axis=0)) ** 2).sum(axis=0))
        plain = (z @ x)[tested] / sd[tested]
        np.testing.assert_allclose(t[number, tested], plain, rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(result["z_pair_voxel_fwe"].values, np.where(p <= 0.05, t, 0))
    tables = ale.tables(result)
    found = tables["clusters_desc-drugMinusrest_level-voxel"]
    assert set(found["Direction"]) == set(found["Pair"]) == {"drug > rest"}
    assert (found["p"] <= 0.05).all()
    assert tables["clusters_desc-restMinustherapy_level-voxel"].empty
    shown = dict(facts(result))["Pairs of groups, FWE over voxels and pairs p ≤ 0.05"]
    assert shown.startswith("drug > rest ")
    assert shown.endswith("rest against therapy nothing")
    # Names that file names cannot tell apart have their numbers; more than 45 pairs have no maps, and that is said.
    alike = by(
        foci.assign(moderator_arm=("experiment", np.repeat(np.array(["a b", "ab", "c"], object), 6))), "arm", mask
    )
    assert "clusters_desc-group1Minusgroup2_level-voxel" in ale.tables(alike)
    many = by(foci_of(22, {"arm": list("abcdefghijk" * 2)}), "arm", mask, iterations=40, contrast_floor=0.0)
    assert "t_pair" not in many
    assert dict(facts(many))["Pairs of groups"] == "55 pairs, more than 45: only the largest difference has a map"


def test_years_are_read_from_names_and_said(mask) -> None:
    foci = foci_of(8, {})
    result = by(foci, "year", mask)
    assert result.attrs["range"] == [1990, 1997]
    assert [d.code for d in decisions(result)] == ["moderator-year"]


def test_more_foci_are_warned_of_unless_they_are_nuisance(mask) -> None:
    foci = foci_of(12, {"weeks": range(12)}, n_foci=[2 + i for i in range(12)])
    chosen = sample(foci, mask=mask, inference=inference_from({"mask": mask.name}))
    spec = {"kind": "moderator", "of": "x", "on": "weeks"}
    (finding,) = moderator_findings(moderated(chosen, Moderator.model_validate(spec), name="x"))
    assert "r = 1.00, beyond 0.3" in finding.message
    few = Moderator.model_validate({**spec, "ranks": True, "nuisance": ["foci"]})
    shuffled = chosen.foci.assign(moderator_weeks=("experiment", np.arange(12.0)[np.argsort(chosen.key % 97)]))
    assert not moderator_findings(moderated(sample(shuffled, mask=mask, inference=chosen.inference), few, name="x"))
    # Weeks and foci are one line, so that nothing is left once foci are taken out.
    with pytest.raises(InputError, match="'foci' leave nothing of 'weeks'"):
        by(foci, "weeks", mask, nuisance=["foci"])


@pytest.mark.parametrize(
    ("on", "given", "said"),
    [
        ("week", {}, r"no column 'week'; did you mean 'weeks'\?; there are: "),
        ("same", {}, "the column 'same' is 5 in all 10 groups of subjects"),
        ("mixed", {}, "holds numbers, but also 'unknown'"),
        ("names", {}, "is text, 'a0', 'a1', 'a2', 'a3', 'a4' and 5 more, with 10 different values in 10 groups"),
        ("few", {}, "3 groups of subjects with a value in 'few'; a moderator needs at least 4"),
        ("single", {}, "'x' in 'single' is one group of subjects; a level needs at least 2"),
        ("arm", {"ranks": True}, "ranks are of numbers, and the column 'arm' holds 'a', 'b'"),
        ("arm", {"levels": ["a", "c"]}, "no experiment has the level 'c' in 'arm'"),
        ("arm", {"levels": ["a", "a"]}, "levels names a value twice"),
        ("arm", {"nuisance": ["arm"]}, "names the column 'arm' twice"),
        (["arm", "weeks"], {"ranks": True}, "levels and ranks are of one column"),
        (["arm", "other"], {}, "1 group of subjects with arm and other 'b q'"),
        (["arm", "site"], {}, "'site' has 3: p, q, r"),
        ("weeks", {"nuisance": ["double"]}, "'double' leave nothing of 'weeks'"),
        ("weeks", {"strata": "names"}, "'names' leave nothing of 'weeks'"),
        ("weeks", {"nuisance": ["site", "n", "foci", "arm"]}, "needs at least"),
    ],
)  # fmt: skip
def test_mistakes_are_told(mask, on, given, said) -> None:
    columns = {
        "weeks": range(10),
        "double": range(0, 20, 2),
        "same": [5] * 10,
        "mixed": [*range(9), "unknown"],
        "names": [f"a{i}" for i in range(10)],
        "few": [1, 2, 3, *[""] * 7],
        "single": ["x", *["y"] * 9],
        "arm": list("aabbaabbaa"),
        "other": list("pqqpppppqq"),
        "site": list("pqrpqrpqrp"),
    }
    foci = foci_of(7 if "needs" in said and on == "weeks" else 10, columns)
    with pytest.raises(InputError, match=said):
        by(foci, on, mask, **given)


def test_a_result_gives_its_settings_and_mask(mask) -> None:
    foci = foci_of(10, {"weeks": range(10)})
    main = ale.main_effect(foci, name="sample", mask=mask, null="uniform", **SETTINGS)
    of_main = ale.moderator(main, "weeks")
    direct = by(foci, "weeks", mask, null="uniform")
    assert of_main.attrs["of"] == "sample"
    np.testing.assert_array_equal(of_main["null"].values, direct["null"].values)
    with pytest.raises(InputError, match="no main effect"):
        ale.moderator(of_main, "weeks")


STUDY = """
title = "weeks"
simulated = true
[foci.drug]
files = "drug.csv"
[inference]
mask = "ball.nii.gz"
iterations = 60
voxel_p = 0.03
seed = 3
null = "uniform"
[analysis.drug]
kind = "main-effect"
foci = "drug"
[analysis.weeks]
kind = "moderator"
of = "drug"
on = "weeks"
nuisance = "age"
[backend]
block_size = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    write_ball(tmp_path / "ball.nii.gz", radius=6.0)
    foci = foci_of(10, {"weeks": [*range(9), ""], "age": rng.integers(20, 60, 10)}, planted=lambda i: i > 4)
    ale.write_foci(foci, tmp_path / "drug.csv")
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


def test_same_digests_and_maps_in_any_blocks_and_in_two_processes(folder: Path) -> None:
    study = load_study(folder / "study.toml")
    results, record = run.run(with_backend(study, name="serial", block_size=60), folder / "whole", quiet=True)
    reference = {k: v for k, v in digests_of(record).items() if k.startswith("weeks")}
    assert set(reference) == {"weeks", "weeks_clusters"}
    again, other = run.run(with_backend(study, name="processes", workers=2, block_size=7), folder / "two", quiet=True)
    assert {k: v for k, v in digests_of(other).items() if k in reference} == reference
    for variable in results["weeks"].data_vars:
        if results["weeks"][variable].dtype.kind in "fi":
            np.testing.assert_array_equal(results["weeks"][variable], again["weeks"][variable], err_msg=variable)


def test_the_command_compares_several_files(tmp_path: Path) -> None:
    """Without a study.toml; the main effect is one of all experiments, and digests are those of a column."""
    write_ball(tmp_path / "ball.nii.gz", radius=6.0)
    names = np.array(["drug", "therapy", "rest"])
    foci = foci_of(12, {"arm": names[np.arange(12) // 4]}, planted=lambda i: i < 4)
    for name in names:
        ale.write_foci(subset(foci, foci["moderator_arm"].values == name), tmp_path / f"{name}.csv")
    files = [tmp_path / f"{name}.csv" for name in names]
    common = ["--mask", tmp_path / "ball.nii.gz", "-i", 40, "--voxel-p", 0.05, "--no-pictures", "-q", "--json"]
    told = [
        json.loads(command("moderator", *files, "--on", on, "-o", tmp_path / on, *common).stdout)["analyses"]
        for on in ("sample", "arm")
    ]
    assert list(told[0]) == ["all-samples", "all-samples-by-sample"]
    assert told[0]["all-samples-by-sample"]["digest"] == told[1]["drug-by-arm"]["digest"]
    page = (tmp_path / "sample" / "report.html").read_text()
    assert "drug, therapy" in page
    assert "Drug against therapy: FWE over voxels and pairs p ≤ 0.05" in page
    out = tmp_path / "sample" / "all-samples-by-sample"
    assert (out / "all-samples-by-sample_z_desc-drugMinustherapy_level-voxel_corr-FWE.nii.gz").is_file()
    assert (out / "all-samples-by-sample_clusters_desc-drugMinustherapy_level-voxel.tsv").is_file()
    assert "drug against therapy" in (tmp_path / "sample" / "study_results.tsv").read_text()
    assert "Each pair of levels has a map of its own" in ale.cite(tmp_path / "sample")


def test_what_was_found_is_said_where_no_other_correction_is_made(mask) -> None:
    settings = {**SETTINGS, "mask": mask.name, "correction": "voxel", "iterations": 40}
    result = ale.moderator(foci_of(10, {"weeks": range(10)}), "weeks", name="weeks", **settings)
    (said,) = summary_of({"weeks": result})
    assert [words for _, words in said.lines] == ["no cluster", "no cluster"]


def test_longer_runs_begin_with_shorter_ones_and_blocks_join(mask) -> None:
    foci = foci_of(10, {"weeks": range(10)})
    chosen = sample(foci, mask=mask, inference=inference_from({"mask": mask.name, **SETTINGS}))
    scores = moderated(chosen, Moderator.model_validate({"kind": "moderator", "of": "x", "on": "weeks"}), name="x")
    plan = moderators.plan_moderator(scores, bits=study_bits([chosen]), name="x")
    whole = run_plan(plan, iterations=50, client=None, size=50)
    parts = run_plan(plan, iterations=50, client=None, size=7)
    np.testing.assert_array_equal(whole["null"][:, 1:], parts["null"][:, 1:])
    np.testing.assert_array_equal(whole["exceed"][:, 1:].sum(axis=0), parts["exceed"][:, 1:].sum(axis=0))
    clusters = second.plan_clusters(plan, mask=mask, inference=chosen.inference, iterations=50, name="x", threads=2)
    one, other = (run_plan(clusters, iterations=50, client=None, size=size)["null"][:, 1:] for size in (50, 9))
    np.testing.assert_array_equal(one, other)


def test_what_a_run_writes_says_what_was_done(folder: Path) -> None:
    study = load_study(folder / "study.toml")
    results, record = run.run(with_backend(study, name="serial"), folder / "out", quiet=True)
    run.write(results, record, folder / "out", study=study, pictures=False)
    out = folder / "out"
    assert (out / "weeks" / "weeks_stat_desc-moderatorEffect.nii.gz").is_file()
    assert (out / "weeks" / "weeks_clusters_uncorrected.tsv").is_file()
    text = ale.cite(out)
    for said in (
        "## Moderators",
        "Freedman & Lane, 1983",
        "Winkler et al., 2014",
        "weeks of 9 groups of subjects of “drug” (0 to 8, mean 4); 1 of 10 groups (10 %), which lack a value",
        "Nuisance columns were age.",
        "jackknife over groups",
    ):
        assert said in text
    assert "freedman1983" in ale.cite(out, bibtex=True)
    assert "moderator" in ale.cite(out, short=True)
    assert "weeks as a moderator of drug, in both directions; nuisance age" in ale.protocol(study)
    page = (out / "report.html").read_text()
    assert "higher weeks" in page
    assert "Variance that nuisance leaves" in page
    assert "voxel fwe" not in page
    stored = json.loads((out / "run.json").read_text())["analyses"]["weeks"]
    assert stored["digest_clusters"]
    assert ale.checklist(out)["status"].eq("answered").any()
    long = ale.long_table([("out", study, results, record)])
    assert set(long.loc[long["analysis"] == "weeks", "level"]) >= {"uncorrected", "voxel-fwe", "size-fwe"}
