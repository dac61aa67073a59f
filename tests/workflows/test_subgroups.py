"""Subgroups of a sample: each value of a column, or range of a number, against the rest."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pandas as pd
import pytest
from support.commands import quietly as command
from support.messages import messages
from support.studies import table, write_ball

import ale_dask as ale
from ale_dask.config.foci_source import Step
from ale_dask.config.study import Study, load_study
from ale_dask.coordinates.foci import table as columns_of
from ale_dask.coordinates.selection import select
from ale_dask.errors import InputError
from ale_dask.execution.plan import digest
from ale_dask.reporting.text.subgroups import subgroup_sentences
from ale_dask.workflows.prepare import prepare, read_sample

STUDY = """
title = "tiny"
[foci.drug]
files = "drug.csv"
[[foci.drug.select]]
where = "weeks > 1"
[foci.other]
files = "other.csv"
[inference]
mask = "ball.nii.gz"
iterations = 40
voxel_p = 0.01
[analysis.drug]
kind = "main-effect"
foci = "drug"
"""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Return a study whose experiments have a class, some none, and weeks."""
    write_ball(tmp_path / "ball.nii.gz")
    columns = {"class": ["SSRI", "SNRI", "S'NRI x", ""], "weeks": ["1", "4", "8", "12"]}
    table(tmp_path / "drug.csv", 1, 12, (12, 4, 0), **columns)
    table(tmp_path / "other.csv", 2, 6, (0, 4, 0), weeks=["2", "9"])
    (tmp_path / "study.toml").write_text(STUDY)
    return load_study(tmp_path / "study.toml")


def experiments(study: Study, name: str) -> set[str]:
    source = study.foci[name]
    return set(columns_of(select(read_sample(source), *source.select))["id"])


def test_each_value_is_a_group_and_stands_against_the_others(study: Study) -> None:
    with messages() as said:
        made = ale.subgroups(study, by="class")
    # Weeks above 1 leave classes SNRI, S'NRI x and none: the sample's own rules come first.
    assert list(made.foci) == ["class-s-nri-x", "class-snri"]
    assert list(made.analysis) == ["class-s-nri-x", "class-snri", "class-s-nri-x-vs-class-snri"]
    assert experiments(made, "class-snri") == {f"drug {i}" for i in (1, 5, 9)}
    assert "SNRI: 3 experiments, fewer than 17: underpowered" in said
    assert "3 experiment(s) of 'drug' without a value of 'class' are in no group" in said
    assert said[-1] == "descriptive: 3 analyses, 1 of them contrasts; nothing corrects for their number"
    assert "descriptive, 3 analyses" in made.title
    prepare(made)


def test_ranges_of_a_number_stand_each_against_the_rest(study: Study) -> None:
    made = ale.subgroups(study, by="weeks", cuts=[12, 8], sample="drug")
    groups = ["weeks-below-8", "weeks-8-to-12", "weeks-from-12"]
    assert list(made.foci) == [n for g in groups for n in (g, f"{g}-rest")]
    weeks = {"below-8": {1, 5, 9}, "8-to-12": {2, 6, 10}, "from-12": {3, 7, 11}}
    for group, members in weeks.items():
        assert experiments(made, f"weeks-{group}") == {f"drug {i}" for i in members}
        others = set().union(*(m for g, m in weeks.items() if g != group))
        assert experiments(made, f"weeks-{group}-rest") == {f"drug {i}" for i in others}
        assert made.analysis[f"weeks-{group}-vs-rest"].arms == [f"weeks-{group}", f"weeks-{group}-rest"]


def test_the_command_runs_subgroups_and_says_that_they_are_descriptive(study: Study, tmp_path: Path) -> None:
    printed, said = command(
        "subgroups", tmp_path / "study.toml", "--by", "weeks", "--cut", 8, "--sample", "drug", "-o", tmp_path / "out"
    )
    assert "underpowered" in said
    results = pd.read_csv(tmp_path / "out" / "study_results.tsv", sep="\t")
    contrasts = results[results["kind"] == "contrast"]
    assert set(contrasts["analysis"]) == {"weeks-below-8-vs-weeks-from-8"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "descriptive" in page
    # What the page and the terminal say of the subgroups, in their first sentence which and how large they are.
    found = ale.collect(tmp_path / "out")[1]
    sentences = subgroup_sentences(found)
    assert 3 <= len(sentences) <= 5
    assert sentences[0].startswith(
        "2 subgroups stand beside each other: weeks-below-8 (3 experiments) and weeks-from-8 ("
    )
    assert "2 of them have fewer than 17 experiments" in sentences[0]
    with_clusters = [n for n in ("weeks-below-8", "weeks-from-8") if len(ale.cluster_table(found[n]))]
    assert sentences[1].startswith(f"{len(with_clusters) or 'None'} of them ha")
    assert all(f"{name} (" in sentences[1] for name in with_clusters)
    for sentence in sentences:
        assert html.escape(sentence) in page
        assert sentence in printed
    assert subgroup_sentences({"weeks-below-8": found["weeks-below-8"]}) == []
    analyses = json.loads((tmp_path / "out" / "run.json").read_text())["analyses"]
    for name, group in {"weeks-below-8": (1, 5, 9)}.items():
        assert (tmp_path / "out" / name / f"{name}_clusters_base-rate.tsv").is_file()
        # Its null is that of these experiments alone.
        chosen = select(read_sample(study.foci["drug"]), Step(where=" or ".join(f"id == 'drug {i}'" for i in group)))
        bits = int(ale.collect(tmp_path / "out")[1][name].attrs["scale_bits"])
        settings = {"iterations": 40, "voxel_p": 0.01, "mask": str(tmp_path / "ball.nii.gz"), "scale_bits": bits}
        alone = ale.main_effect(chosen, null="base-rate", **settings)
        assert analyses[name]["digest_base_rate"] == digest(alone["null_base_rate"].values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "dose"}, "by 'dose': no sample has such a column; there are .*weeks"),
        ({"by": "weeks"}, "by 'weeks': several samples have it, drug, other: say which"),
        ({"by": "class", "cuts": [1]}, "its values are text; only numbers can be cut"),
        ({"by": "weeks", "sample": "no"}, "sample 'no': no sample has this name; there are drug, other"),
        ({"by": "weeks", "sample": "drug", "cuts": [99]}, "1 group.s. with a focus; a comparison needs two"),
        ({"by": "weeks", "sample": "drug", "cuts": [4, 4]}, "names the same cut twice"),
    ],
)
def test_what_makes_no_subgroups(study: Study, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ale.subgroups(study, **options)
