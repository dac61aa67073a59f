"""Groups of subjects: which experiments form one, which are only suspected to, and selection of one of each."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import ale_dask as ale
from ale_dask.cli import app
from ale_dask.config.study import load_study
from ale_dask.coordinates.decisions import decisions
from ale_dask.coordinates.foci import Experiment, build, concat, foci_of, n_foci
from ale_dask.coordinates.pooling import KEPT, POOLED, RULE, SUSPECTED, by_subjects
from ale_dask.coordinates.subject_groups import (
    count_of_pooled,
    group_keys,
    n_subjects,
    pool_subjects,
    subject_groups,
    suspected,
)
from ale_dask.errors import InputError
from ale_dask.workflows.prepare import prepare


def of(*rows, study=""):
    """Return the foci of (name, n, foci …); coordinates are whole numbers along x."""
    return build(
        [
            Experiment(name, n, tuple((float(x), 0.0, 0.0) for x in foci), "MNI", f"a.txt:{i}", study=study)
            for i, (name, n, *foci) in enumerate(rows)
        ]
    )


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (("Smith 2010; faces", "Smith 2010; houses", "Smith 2011; faces"), [0, 0, 1]),
        (("Smith 2010 faces", "Smith et al., 2010 houses", "Li 2010"), [0, 0, 1]),
        # Two papers of one author and year are two studies; two first names are two people.
        (("Smith 2010a", "Smith 2010b", "Smith2010a"), [0, 1, 0]),
        (("Smith2013pre", "Smith2013beg", "Smith2013pre: more"), [0, 1, 0]),
        (("Smith L 2005 [15800041]", "Smith L 2005 [15993624]", "Smith 2005 [15800041]"), [0, 1, 0]),
        (("Smith J 2010", "Smith K 2010", "Smith J 2010: more"), [0, 1, 0]),
        (("Smith J 2010", "Smith 2010", "Li 2010"), [0, 0, 1]),
        (("Smith J 2010", "Smith 2010", "Smith K 2010"), [0, 1, 2]),
        # A word that says nothing about people, and two parts of one named study.
        (("patients", "patients", "S1: a", "S1: b"), [0, 1, 2, 2]),
        (("PMID 12345678", "PMID 12345678", "12345678"), [0, 0, 1]),
    ],
)
def test_one_study_and_one_sample_size_is_one_group(names, groups):
    assert subject_groups(of(*((name, 20, 0) for name in names))).tolist() == groups


def test_another_or_no_sample_size_is_another_group_and_suspected():
    foci = of(("Smith 2010; a", 20, 0), ("Smith 2010; b", 18, 1), ("Li 2011; a", None, 0), ("Li 2011; b", None, 1))
    assert subject_groups(foci).tolist() == [0, 1, 2, 3]
    assert [one.words for one in suspected(foci)] == [
        "'Smith 2010; a', 'Smith 2010; b' (the same first author and year, n = 18, 20)",
        "'Li 2011; a', 'Li 2011; b' (the same first author and year, n not stated)",
    ]


def test_equal_foci_or_names_are_suspected_of_the_same_subjects():
    foci = of(("Smith 2010a", 20, 0), ("Smith 2010b", 20, 1), ("patients", 12, 5), ("patients", 12, 6))
    assert ["of different papers" in one.words for one in suspected(foci)] == [True, False]
    assert suspected(foci)[1].members == (2, 3)
    same = of(("Ng 2001", 9, 1, 2, 3), ("Fox 2003", 9, 3, 2, 1), ("Ko 2004", 8, 1, 2, 3))
    assert [one.members for one in suspected(same)] == [(0, 1)]
    assert suspected(of(("Ng 2001; a", 9, 1, 2, 3), ("Ng 2001; b", 9, 3, 2, 1))) == []


def test_without_names_nothing_can_be_told_and_that_is_said():
    foci = of(("", 12, 5), ("", 12, 6), ("", 13, 7))
    assert suspected(foci) == []
    (decided,) = decisions(by_subjects(foci, "pool", name="drug"))
    assert decided.message.startswith("3 experiments have no name")


def test_a_column_says_who_is_of_one_group():
    table = xr.DataArray(np.array(["one", "one", "", "two"], dtype=object), dims="experiment")
    foci = of(("Smith 2010; a", 20, 0), ("Li 2011", 30, 1), ("Li 2011; b", 30, 2), ("Smith 2010; b", 20, 3))
    told = ale.with_groups(foci.assign(moderator_people=table), "people")
    assert subject_groups(told).tolist() == [0, 0, 1, 2]
    # Li 2011's second experiment is not in the column: only that pair may still be of the same people.
    assert [one.members for one in suspected(told)] == [(1, 2)]
    assert n_subjects(told) == 20 + 30 + 20
    with pytest.raises(InputError, match="groups: no column 'peple'; did you mean 'people'"):
        ale.with_groups(told, "peple")


def test_subjects_are_counted_once():
    foci = of(("Smith 2010; a", 20, 0), ("Smith 2010; b", 20, 1), ("Li 2011", 30, 1), ("Li 2011", None, 2))
    assert n_subjects(foci) == 50
    assert n_subjects(build(())) == 0


def test_pooling_keeps_all_foci_and_equal_ones_once():
    foci = of(("Smith 2010; b", 20, 1, 2, -0.0), ("Li 2011", 30, 7, 7), ("Smith 2010; a", 20, 0.0, 3))
    pooled = pool_subjects(foci)
    assert pooled["experiment_name"].values.tolist() == ["Smith 2010 (2 experiments)", "Li 2011"]
    assert pooled["experiment_study"].values.tolist() == ["Smith 2010", "Li 2011"]
    assert [sorted(xyz[:, 0].tolist()) for xyz in foci_of(pooled)] == [[0, 1, 2, 3], [7, 7]]
    assert pooled["experiment_pooled"].values.tolist() == ["Smith 2010; a | Smith 2010; b", ""]
    assert pooled["experiment_source"].values[0] == "a.txt:2, a.txt:0"
    assert pooled["experiment_n_subjects"].values.tolist() == [20, 30]
    assert count_of_pooled(pooled) == [2, 1]
    assert pooled["experiment_key"].values.tolist() == group_keys(foci, subject_groups(foci)).tolist()
    assert pooled["experiment_key"].values[1] == foci["experiment_key"].values[1]


def test_of_columns_what_all_have_in_common_is_left():
    rows = [Experiment(f"S 2010; {i}", 9, ((0, 0, 0),), "MNI", "a", columns=c) for i, c in enumerate(_columns())]
    pooled = pool_subjects(build(rows))
    assert pooled["moderator_task"].values.tolist() == ["faces"]
    assert pooled["moderator_drug"].values.tolist() == [""]
    assert np.isnan(pooled["moderator_weeks"].values).all()
    assert pooled["experiment_tag"].values.tolist() == [[True, False]]


def _columns():
    same = {"task": "faces", "patients": "yes"}
    return {**same, "drug": "a", "weeks": "2", "rest": "no"}, {**same, "drug": "b", "weeks": "3", "rest": "yes"}


EXPERIMENTS = st.lists(
    st.tuples(
        st.sampled_from(["Smith 2010; a", "Smith 2010; b", "Smith J 2010", "Li 2011", "S1: x", "S1: y", "people"]),
        st.sampled_from([None, 10, 20]),
        st.lists(st.integers(-3, 3), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda row: (row[0], row[1], tuple(sorted(row[2]))),
)


@settings(deadline=None)
@given(rows=EXPERIMENTS, random=st.randoms(use_true_random=False))
def test_pooling_does_not_depend_on_the_order_and_is_done_once(rows, random):
    moved = list(rows)
    random.shuffle(moved)
    one, two = (pool_subjects(of(*((name, n, *foci) for name, n, foci in some))) for some in (rows, moved))
    assert _content(one) == _content(two)
    assert _content(pool_subjects(one)) == _content(one)
    assert len(set(subject_groups(one).tolist())) == one.sizes["experiment"]
    assert n_subjects(one) == n_subjects(of(*((name, n, *foci) for name, n, foci in rows)))


def _content(foci):
    values = zip(
        foci["experiment_key"].values.tolist(),
        foci["experiment_n_subjects"].values.tolist(),
        map(str, foci_of(foci)),
        strict=True,
    )
    return sorted(values)


def test_what_was_pooled_and_what_is_suspected_is_decided_and_in_the_flow():
    rows = ("Smith 2010; a", 20, 1), ("Smith 2010; b", 20, 1), ("Li 2011; a", 30, 2), ("Li 2011; b", 31, 3), ("No 1", 9)
    made = by_subjects(of(*rows), "pool", name="drug")
    assert made.sizes["experiment"] == 3
    assert [(d.code, d.where, d.count) for d in decisions(made)] == [(POOLED, "drug", 1), (SUSPECTED, "drug", 1)]
    assert "'Smith 2010; a' + 'Smith 2010; b'" in decisions(made)[0].message
    steps = ale.flow(made)
    assert steps["rule"].tolist() == ["read", RULE]
    assert steps["experiments"].tolist() == [4, 3]
    assert steps["subjects"].tolist() == [81, 81]
    again = by_subjects(made, "pool", name="drug")
    assert again.identical(made)


def test_a_group_that_states_different_sizes_takes_the_least_and_says_so():
    people = xr.DataArray(np.array(["one", "one"], dtype=object), dims="experiment")
    foci = ale.with_groups(of(("A 2010", 20, 1), ("B 2011", 18, 2)).assign(moderator_p=people), "p")
    made = by_subjects(foci, "pool", name="drug")
    assert made["experiment_n_subjects"].values.tolist() == [18]
    assert "state n = 18, 20; n = 18 was taken" in decisions(made)[1].message


def test_other_choices_keep_refuse_and_look_at_nothing():
    foci = of(("Smith 2010; a", 20, 1), ("Smith 2010; b", 20, 1))
    kept = by_subjects(foci, "keep", name="drug")
    assert kept.sizes["experiment"] == 2
    assert [d.code for d in decisions(kept)] == [KEPT]
    with pytest.raises(InputError, match=r"drug: 2 experiments are of 1 group.*'Smith 2010; a' \+ 'Smith 2010; b'"):
        by_subjects(foci, "refuse", name="drug")
    assert by_subjects(foci, None, name="drug") is foci
    assert by_subjects(foci.isel(experiment=[0], focus=[0]), "refuse", name="drug").sizes["experiment"] == 1


def test_joined_samples_pool_what_stands_in_both():
    one, two = of(("Smith 2010; a", 20, 1), ("Li 2011", 9, 4)), of(("Smith 2010; b", 20, 2))
    both = by_subjects(concat([one, two]), "pool", name="all")
    assert n_foci(both).tolist() == [2, 1]
    # A group pooled before it is joined is listed by what it was made of.
    again = pool_subjects(concat([both, of(("Smith 2010; c", 20, 3))]))
    assert again["experiment_pooled"].values.tolist()[0] == "Smith 2010; a | Smith 2010; b | Smith 2010; c"


def test_check_says_what_is_pooled_and_what_is_suspected(tmp_path):
    paragraphs = [
        f"// Smith 2010: {task}\n// Subjects={n}\n1 {i} 3\n"
        for i, (task, n) in enumerate([("a", 9), ("b", 9), ("c", 8)])
    ]
    (tmp_path / "foci.txt").write_text("// Reference=MNI\n" + "\n".join(paragraphs))
    result = CliRunner().invoke(app, ["check", str(tmp_path / "foci.txt")])
    assert result.exit_code == 0
    text = result.output
    assert "3 experiments, 3 foci, 17 subjects" in text
    assert "note pooled-groups: foci.txt: 2 experiments are of 1 group(s) of the same subjects" in text
    assert "'Smith 2010: a', 'Smith 2010: b', 'Smith 2010: c' (the same first author and year, n = 8, 9)" in text


def test_a_study_names_the_column_of_its_groups(tmp_path):
    rows = [f"{study},{n},{who},1,{i},3" for i, (study, n, who) in enumerate(PEOPLE)]
    (tmp_path / "foci.csv").write_text("study,n,people,x,y,z\n" + "\n".join(rows) + "\n")
    text = '[foci.all]\nfiles = "foci.csv"\nspace = "MNI"\ngroups = "people"\n'
    text += '[analysis.all]\nkind = "main-effect"\nfoci = "all"\n'
    (tmp_path / "study.toml").write_text(text)
    prepared = prepare(load_study(tmp_path / "study.toml"))
    assert prepared.samples["all"].foci["experiment_n_subjects"].values.tolist().count(11) == 1
    assert prepared.samples["all"].foci.sizes["experiment"] == 2
    (tmp_path / "study.toml").write_text(text.replace('"people"', '"persons"'))
    result = CliRunner().invoke(app, ["check", str(tmp_path / "study.toml")])
    assert isinstance(result.exception, InputError)
    assert "foci.all.groups: no column 'persons'" in str(result.exception)


PEOPLE = ("A 2010", 12, "one"), ("B 2011", 11, "one"), ("C 2012", 20, "")
