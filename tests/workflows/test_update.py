"""`ale-dask update` adds experiments as one more look: old draws stay, and error is spent over the looks."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support.commands import ale as command
from support.faults import amid_blocks, kill_group, start
from support.runs import chunks, digests_of
from support.studies import experiments, write_sample, write_tiny

import ale_dask as ale
from ale_dask.analyses.spending import SPENDING, boundaries, increments
from ale_dask.config.living import Living
from ale_dask.config.study import parse_study

FIFTHS = [0.2, 0.4, 0.6, 0.8, 1.0]
ALONE = """title = "living"
[foci.drug]
files = "drug.txt"
[inference]
mask = "ball.nii.gz"
iterations = 60
voxel_p = 0.01
null = "uniform"
[backend]
name = "serial"
block_size = 1
[analysis.drug]
kind = "main-effect"
foci = "drug"
"""


SPENT = {
    "obrien-fleming": lambda t, alpha: 2 * stats.norm.sf(stats.norm.isf(alpha / 2) / np.sqrt(t)),
    "pocock": lambda t, alpha: alpha * np.log(1 + (np.e - 1) * t),
}
"""The spending functions of Lan & DeMets (1983), written down a second time."""


@pytest.mark.parametrize("shares", [FIFTHS, [0.13, 0.4, 0.9, 1.0]])
@pytest.mark.parametrize("spending", list(SPENDING))
def test_the_chance_to_pass_a_boundary_is_the_error_that_is_spent(spending: str, shares: list[float]) -> None:
    """Of all looks together, by Genz's integration of the multivariate normal distribution over a box."""
    alpha, t = 0.025, np.array(shares)
    found = boundaries(shares, alpha=alpha, spending=spending)
    assert stats.norm.sf(found[0]) == pytest.approx(SPENT[spending](t[0], alpha), rel=1e-9)
    # Z of a Brownian motion at t and u > t correlate by sqrt(t / u).
    correlation = np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    for looks in range(2, len(t) + 1):
        law = stats.multivariate_normal(cov=correlation[:looks, :looks], abseps=1e-6, maxpts=200_000, seed=1)
        # An error of 1e-5 is one of about 2e-4 in a boundary near 2.
        assert 1 - law.cdf(found[:looks]) == pytest.approx(SPENT[spending](t[looks - 1], alpha), abs=1e-5)


@pytest.mark.parametrize("spending", list(SPENDING))
def test_what_looks_may_spend_adds_up_to_alpha_at_the_end_and_grows_on_the_way(spending: str) -> None:
    each = increments(FIFTHS, alpha=0.05, spending=spending)
    assert sum(each) == pytest.approx(0.05)
    assert min(each) > 0
    # A late look more or less changes nothing of what was spent before it.
    assert increments([0.2, 0.4], alpha=0.05, spending=spending) == each[:2]


@pytest.mark.parametrize("spending", list(SPENDING))
def test_error_over_all_looks_of_a_random_walk_is_alpha_and_without_a_plan_larger(spending: str) -> None:
    steps = np.random.default_rng(1).normal(size=(40_000, 5))
    z = np.cumsum(steps, axis=1) / np.sqrt(np.arange(1, 6))
    exact = np.mean((z >= boundaries(FIFTHS, alpha=0.05, spending=spending)).any(axis=1))
    # Three standard errors of 40,000 walks.
    assert exact == pytest.approx(0.05, abs=0.0033)
    naive = np.mean((z >= 1.645).any(axis=1))
    assert naive > 0.12


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with look1, of study.toml, and look2, of six experiments more."""
    folder = write_tiny(tmp_path_factory.mktemp("living") / "tiny")
    (folder / "study.toml").write_text(ALONE)
    write_sample(folder / "more.txt", experiments(7, number=6, planted=(12, 4, 0), prefix="more"))
    command("update", folder / "study.toml", "-o", folder / "look1", "--planned", 20, "--spending", "pocock", "-q")
    # A sheet that was continued: with the experiments of the first look.
    both = (folder / "drug.txt").read_text() + "\n" + (folder / "more.txt").read_text().split("\n", 1)[1]
    (folder / "continued.txt").write_text(both)
    done = command("update", folder / "look1", folder / "continued.txt", "-o", folder / "look2", "-q", "--no-pictures")
    (folder / "printed.txt").write_text(done.stdout)
    return folder


def test_an_update_keeps_the_draws_of_earlier_experiments_and_counts_each_once(looks: Path) -> None:
    (_, one, _), (study, two, record) = (ale.collect(str(looks / name)) for name in ("look1", "look2"))
    old, new = (r["drug"]["experiment_key"].values.tolist() for r in (one, two))
    assert set(old) < set(new)
    assert (len(old), len(new)) == (8, 14)
    assert "8 are there already and count once" in (looks / "printed.txt").read_text()
    living = study.living
    levels = increments([8 / 20, 14 / 20], alpha=0.05, spending="pocock")
    assert [(look.experiments, look.out) for look in living.looks] == [(8, "look1"), (14, "look2")]
    assert [look.level for look in living.looks] == levels
    assert study.inference.cluster_p == levels[1]
    text = ale.cite(record)
    assert "look 2 of a living meta-analysis" in text
    assert "Lan & DeMets, 1983" in text
    assert f"add up to {sum(levels):.3g}" in text


def test_a_look_that_is_killed_goes_on_to_the_same_bits(looks: Path) -> None:
    words = ("update", looks / "look1", looks / "continued.txt", "-q", "--no-pictures", "-o", looks / "killed")
    process = start(*words)
    amid_blocks(looks / "killed", process, more_than=5)
    kill_group(process)
    assert chunks(looks / "killed") < 60
    command(*words)
    killed, whole = (digests_of((looks / name / "run.json").read_text()) for name in ("killed", "look2"))
    assert killed == whole
    changes = [(looks / name / "changes" / "comparison_clusters.tsv").read_text() for name in ("killed", "look2")]
    assert changes[0] == changes[1]


def test_the_report_has_the_looks_and_where_changes_are(looks: Path) -> None:
    first, second = ((looks / name / "report.html").read_text() for name in ("look1", "look2"))
    shown = [page.split('<h2 id="looks">')[1].split("</section>")[0] for page in (first, second)]
    levels = increments([8 / 20, 14 / 20], alpha=0.05, spending="pocock")
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", each) for each in shown]
    rows = [
        ["1", "8", "40", f"{levels[0]:.3g}", f"{levels[0]:.3g}", "look1"],
        ["2", "14", "70", f"{levels[1]:.3g}", f"{sum(levels):.3g}", "look2"],
    ]
    assert cells == [rows[0], rows[0] + rows[1]]
    (link,) = re.findall(r'href="(changes/[^"]*)"', shown[1])
    assert (looks / "look2" / link).is_file()
    assert "changes/" not in shown[0]


def test_the_printed_lines_say_what_became_of_each_cluster(looks: Path) -> None:
    (_, one, _), (_, two, _) = (ale.collect(str(looks / name)) for name in ("look1", "look2"))
    printed = (looks / "printed.txt").read_text()
    found = [len(ale.cluster_table(r["drug"]).dropna(subset=["Cluster Size (mm3)"])) for r in (one, two)]
    words = ("appears", "disappears", "grows", "shrinks", "stays as large", "splits", "merges")
    lines = [line for line in printed.splitlines() if line.startswith("drug [") and any(w in line for w in words)]
    assert max(found) >= 1
    assert len(lines) >= max(found)
    assert (looks / "look2" / "changes" / "comparison_clusters.tsv").is_file()
    assert command("verify", looks / "look2").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["look1", "drug.txt", "-o", "x"], "nothing is new"),
        (["look1", "more.txt", "-o", "look1"], "the look before, which stays as it is"),
        (["look1", "-o", "x"], "give files with new experiments"),
        (["look1", "more.txt", "-o", "x", "--planned", "30"], "earlier looks were planned with 20"),
        (["none", "-o", "x"], "no finished run and no study.toml"),
        (["study.toml", "-o", "x", "--planned", "20", "--spending", "pocok"], "spending"),
        (["look1", "more.txt", "-o", "x", "--sample", "drog"], "did you mean 'drug'"),
    ],
)
def test_what_cannot_be_a_look_is_an_error(
    looks: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(looks)
    assert message in command("update", *arguments, code=65).stderr


def test_no_error_is_left_beyond_the_planned_number(looks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(looks)
    command("update", "study.toml", "-o", "all", "--planned", 8, "-q", "--no-pictures")
    assert "no error is left" in command("update", "all", "more.txt", "-o", "x", code=65).stderr


def test_a_plan_without_a_look_is_not_run_as_if_there_were_one_look(looks: Path, tmp_path: Path) -> None:
    toml = looks / "planned.toml"
    toml.write_text(ALONE + "[living]\nplanned = 30\n")
    assert "ale-dask update" in command("run", toml, "-o", tmp_path / "x", code=65).stderr
    assert "planned" in command("protocol", toml).stdout


def test_looks_need_more_experiments_each_and_the_level_of_the_last(looks: Path) -> None:
    with pytest.raises(ValueError, match="each needs more than the last"):
        Living.model_validate({"looks": [{"experiments": 8, "level": 0.01}, {"experiments": 8, "level": 0.02}]})
    text = (looks / "look1" / "study.toml").read_text()
    changed = re.sub(r"^cluster_p = .*$", "cluster_p = 0.05", text, flags=re.MULTILINE)
    with pytest.raises(ale.InputError, match="the last look is judged at"):
        parse_study(changed)
