"""Every corrected statistic finds something in as many studies without an effect as its level says."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ale_dask as ale
from ale_dask.numerics import correct

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "calibrate"
STUDIES = 20
# Any B with .05 (1 + B) whole makes an exact test at .05.
SMALL = [str(SCRIPT), "--studies", str(STUDIES), "--grid", "4", "--iterations", "59", "--tfce-iterations", "19"]
MAIN = {f"main effect, {name}" for name in ("voxel", "cluster size", "cluster mass", "TFCE")}
REGIONS = ("whole mask", "pooled map, uncorrected")
VOXEL = {f"contrast, {region}: {way}, voxel" for region in REGIONS for way in ("A > B", "B > A")}


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("calibrate")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The file of the small version, and the run that made it."""
    out = tmp_path_factory.mktemp("calibration") / "small.jsonl"
    return out, subprocess.run([sys.executable, *SMALL, "--out", out], capture_output=True, text=True, check=False)


def test_every_statistic_is_counted_in_every_simulated_study(small):
    out, run = small
    assert run.returncode == 0, run.stdout + run.stderr
    counts = {}
    for line in out.read_text().splitlines():
        for statistic, rejected, iterations, *_ in json.loads(line)["outcomes"]:
            if iterations is not None:
                n, count = counts.get(statistic, (0, 0))
                counts[statistic] = n + 1, count + rejected
    assert set(counts) >= MAIN | VOXEL
    # 99.9 % of the binomial of 20 studies at .05, 0-5; where the pooled map is empty nothing was tested.
    assert all(count <= 5 for n, count in counts.values() if n == STUDIES), run.stdout
    assert all(counts[name][0] == STUDIES for name in MAIN | VOXEL)
    assert all(line.endswith("within") for line in run.stdout.splitlines() if line.startswith(("main", "contrast")))


def test_a_file_is_finished_and_not_mixed(small, script):
    out, _ = small
    whole = out.read_text()
    lines = whole.splitlines(keepends=True)
    # As a killed run leaves it: two lines to go, one of them torn.
    out.write_text("".join(lines[:-2]) + lines[-2][:40])
    run = subprocess.run([sys.executable, *SMALL, "--out", out], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 of 2" in run.stderr
    assert out.read_text() == whole
    with pytest.raises(SystemExit, match="other settings"):
        script.read(out, script.Settings(grid=4, iterations=58, tfce_iterations=19))


@pytest.mark.parametrize("count", [1, 2, 21, 22])
def test_a_count_outside_its_band_fails(script, count):
    outcomes = [script.Outcome("voxel", i < count, 99) for i in range(200)]
    lines, passed = script.table([*outcomes, script.Outcome("for the record", True, None)])
    assert passed == (count in (2, 21))
    assert any(line.endswith((" ABOVE", " below")) for line in lines) != passed


def test_the_band_is_that_of_the_full_run(script):
    assert script.band(2000, script.level(1000)) == (69, 133)
    assert script.level(1000) == 50 / 1001
    assert [script.level(n) for n in (19, 39, 99, 199, 999)] == [0.05] * 5


def test_attainable_is_the_share_of_values_that_the_cut_would_keep(script):
    random = np.random.default_rng(0)
    for spread in (2, 5, 30, 10**9):
        values = random.integers(spread, size=60)
        kept = [values[i] >= correct.cut(np.delete(values, i), alpha=script.ALPHA) for i in range(len(values))]
        assert script.attainable(values) == np.mean(kept)


def test_foci_are_as_many_as_declared_and_on_voxels(script):
    settings = script.Settings(grid=4)
    first, a, b = script.simulated(7, settings)
    assert (first.sizes["experiment"], first.sizes["focus"]) == (24, 200)
    assert (a.sizes["experiment"], b.sizes["experiment"]) == (24, 17)
    both = np.concatenate([a["experiment_key"].values, b["experiment_key"].values])
    assert np.isin(first["experiment_key"].values, both).all()
    assert len(set(both)) == 41
    mask = script.mask_of(4)
    ijk = mask.to_grid(np.concatenate([f["focus_xyz"].values for f in (a, b)]))
    assert len(ijk) == 320
    np.testing.assert_array_equal(ijk, np.rint(ijk))
    assert mask.volume[tuple(ijk.astype(int).T)].all()
    anywhere = mask.to_grid(script.simulated(7, replace(settings, jitter=True))[0]["focus_xyz"].values)
    assert 0 < np.abs(anywhere - np.rint(anywhere)).max() <= 0.5
    assert not np.array_equal(first["focus_xyz"].values, script.simulated(8, settings)[0]["focus_xyz"].values)


def test_what_is_shared_changes_no_result(script):
    settings = script.Settings(grid=4, iterations=59, tfce_iterations=19)
    mask = script.mask_of(4)
    foci = script.simulated(3, settings)[0]
    plain, enhanced = script.main_effect(foci, 3, settings)
    public = ale.main_effect(foci, mask=mask, seed=3, iterations=59)
    with_tfce = ale.main_effect(foci, mask=mask, seed=3, iterations=19, correction="tfce")
    np.testing.assert_array_equal(plain["null"].values, public["null"].values)
    for cut in ("cut_s", "cut_size", "cut_mass"):
        assert plain.attrs[cut] == public.attrs[cut]
    assert enhanced.attrs["cut_tfce"] == with_tfce.attrs["cut_tfce"]
    for survives, _ in script.MAIN.values():
        one, other = (plain, public) if survives in public else (enhanced, with_tfce)
        np.testing.assert_array_equal(one[survives].values, other[survives].values)
    assert script.study(("contrast", 3, settings)) == script.contrast_outcomes(3, settings)


@pytest.mark.slow
def test_experiments_of_one_study_find_too_much_unless_they_are_pooled(script):
    studies, settings = 16, script.Settings(grid=4, iterations=199, tfce_iterations=1)
    counts = Counter()
    tested = Counter()
    for index in range(studies):
        for outcome in script.study(("dependence", index, settings)):
            tested[outcome.statistic] += 1
            counts[outcome.statistic] += outcome.rejected
    ways = {"voxel", "cluster size", "cluster mass"}
    # What lies above the 99.9 % band of a level of .05 is no chance.
    most = script.band(studies, 0.05)[1]
    for name in ways:
        for design in ("24 x 1", "12 x 2", "8 x 3"):
            assert counts[f"{design}, pool: {name}"] <= most
        assert counts[f"8 x 3, keep: {name}"] > most
        for said in ("pool", "keep"):
            for way in ("A > B", "B > A"):
                assert counts[f"contrast 6 x 3, {said}: {way}, {name}"] <= most
    # Whole studies change arms, pooled or not; taken as independent, single experiments do.
    apart = [f"contrast 6 x 3, experiments taken as independent: {way}, cluster size" for way in ("A > B", "B > A")]
    assert sum(counts[one] for one in apart) > script.band(sum(tested[one] for one in apart), 0.05)[1]
    assert tested["8 x 3, pool: voxel"] == studies
    assert tested["contrast 6 x 3, pool: A > B, cluster size"] > studies / 2


def test_a_moderator_finds_something_as_rarely_as_it_says(script):
    settings = script.Settings(grid=4, iterations=119)
    outcomes = [outcome for i in range(16) for outcome in script.moderator_outcomes(i, settings)]
    counts = Counter(o.statistic for o in outcomes if o.rejected and o.iterations is not None)
    held = {o.statistic for o in outcomes if o.iterations is not None}
    # 99.9 % of the binomial of 16 studies at .05, 0-5; both directions of three statistics, with and without nuisance.
    assert len(held) == 12
    assert script.band(16, script.level(119)) == (0, 5)
    assert max(counts.values()) <= 5, counts
    assert sum(counts.values()) > 0


@pytest.mark.parametrize(
    ("outcomes_of", "studies", "tested"),
    [("balanced_outcomes", 6, 6), ("joined_in_a_place", 3, 4)],
    ids=["balanced", "joined"],
)
def test_balanced_and_joined_contrasts_hold_their_level(script, monkeypatch, outcomes_of, studies, tested):
    """99.9 % of the binomial at .05 is 0-3 of 6 studies and 0-2 of 3; the full runs have 300."""
    monkeypatch.setattr(script.main_effects, "plan_main_effect", script.planned_once())
    settings = script.Settings(grid=4, iterations=39)
    outcomes = [o for index in range(studies) for o in getattr(script, outcomes_of)(index, settings)]
    lines, passed = script.table(outcomes)
    assert passed, "\n".join(lines)
    assert len({o.statistic for o in outcomes if o.iterations is not None}) == tested
    # The contrast that is real is found wherever the other one is tested.
    assert all(o.rejected for o in outcomes if o.statistic == "joined: A > B alone survives in every voxel")


def test_only_an_upper_bound_may_lie_below_its_band(script):
    few = [script.Outcome("joined", i < 2, 99, at_most=True) for i in range(300)]
    assert script.table(few)[1]
    assert not script.table([o._replace(at_most=False) for o in few])[1]
    assert not script.table([o._replace(rejected=i < 30) for i, o in enumerate(few)])[1]


@pytest.mark.slow
def test_statistics_of_the_whole_map_hold_their_level(script, tmp_path):
    """16 studies under each null: 99.9 % of the binomial at .05 is 0-5; the full run has 300."""
    settings = script.Settings(grid=4, iterations=39)
    outcomes = [o for index in range(16) for o in script.statistic_outcomes(index, settings)]
    lines, passed = script.table(outcomes)
    assert passed, "\n".join(lines)
    # Of each null two groups of networks and of regions, family-wise and of the first, and three numbers alone.
    assert len(lines) == 1 + 2 * (8 + 3)
    assert sum(o.rejected for o in outcomes) > 0


@pytest.mark.slow
def test_contrasts_inside_a_place_hold_their_level(script):
    """40 studies: 99.9 % of the binomial at .05 is 0-8; test_inside has 20 on a small ball."""
    settings = script.Settings(grid=4, iterations=39)
    outcomes = [o for index in range(40) for o in script.inside_outcomes(index, settings)]
    lines, passed = script.table(outcomes)
    assert passed, "\n".join(lines)
    # Two places, two directions and three statistics.
    assert len({o.statistic for o in outcomes}) == 12
    assert sum(o.rejected for o in outcomes) > 0


def test_each_subsample_holds_its_level_against_the_base_rate(script):
    """8 studies, 99.9 % of the binomial at .05 is 0-3; the full run has 300."""
    settings = script.Settings(iterations=39)
    outcomes = [o for index in range(8) for o in script.study(("subsampled", index, settings))]
    lines, passed = script.table(outcomes)
    assert passed, "\n".join(lines)
    # Two subsamples and three statistics.
    assert len({o.statistic for o in outcomes}) == 6
