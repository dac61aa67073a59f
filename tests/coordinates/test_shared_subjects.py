"""Subjects in both arms of a contrast: how they are found, and what becomes of them."""

from dataclasses import replace

import pytest
from support.studies import write_ball

import ale_dask
from ale_dask.analyses.contrast import disjoint_arms
from ale_dask.coordinates.foci import Experiment, build
from ale_dask.coordinates.lint import lint_contrast
from ale_dask.coordinates.shared_subjects import author_year, shared
from ale_dask.errors import InputError
from ale_dask.reporting.common.wording import facts, notes

FOCI = ((4.0, 8.0, 0.0), (-8.0, 0.0, 12.0), (0.0, -12.0, 4.0))


def experiment(name, *, n=12, xyz=FOCI[:1], line=1, study=""):
    return Experiment(name, n, xyz, "MNI", f"{name[:1]}.txt:{line}", study=study)


def arms(a, b):
    """Return the foci of two arms: these experiments, and one more in each that nothing is wrong with."""
    return build([*a, experiment("Alone A 2001", n=31)]), build([*b, experiment("Other B 2002", n=32)])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Smith 2010", ("smith", "", 2010)),
        ("Smith2010a", ("smith", "", 2010)),
        ("Smith J, Jones K & Li (2010)", ("smith", "J", 2010)),
        ("van der Meer et al., 2010", ("vandermeer", "", 2010)),
        ("Hoehn-Saric R 2004 [15246451]", ("hoehnsaric", "R", 2004)),
        ("Müller 2010", ("muller", "", 2010)),
        ("Mu\u0308ller 2010", ("muller", "", 2010)),
        ("Du Y 2013", ("du", "Y", 2013)),
        ("O'Dohetry et al., 2017", ("odohetry", "", 2017)),
        ("Simulated affect 001, 2000 (not real data)", None),
        ("Pain in patients 2010", None),
        ("kjdhf", None),
        ("15246451", None),
        ("2010", None),
        ("", None),
    ],
)
def test_author_and_year_of_a_name(name, found):
    assert author_year(name) == found


def test_unrelated_arms_share_nothing():
    assert shared(*arms([experiment("Smith 2010")], [experiment("Jones 2010")])) == []


def test_the_same_experiment_in_both_arms_is_found():
    (group,) = shared(*arms([experiment("Smith 2010")], [experiment("Smith 2010")]))
    assert (group.identical, group.words, group.a, group.b) == (True, "'Smith 2010' in both arms", (0,), (0,))


def test_other_experiments_of_the_same_study_are_found():
    a, b = arms([experiment("Smith 2010; drug")], [experiment("Smith 2010; therapy", n=15)])
    (group,) = shared(a, b)
    assert group.words == "'Smith 2010; drug' and 'Smith 2010; therapy' are of the same study"
    assert not group.identical


@pytest.mark.parametrize("name", ["12595193", "PMID 12595193", "https://doi.org/10.1192/bjp.2021.16", "Smith 2010"])
def test_a_study_is_known_by_its_identifier(name):
    (group,) = shared(*arms([experiment(name, n=9)], [experiment(name, n=10)]))
    assert group.words.endswith("are of the same study")


@pytest.mark.parametrize("name", ["kjdhf", "experiment 3", "patients", "", "155"])
def test_words_and_numbers_of_a_file_are_no_studies(name):
    assert shared(*arms([experiment(name, n=9)], [experiment(name, n=10)])) == []


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        (("Smith 2010a", 12), ("Smith et al. (2010)", 12), True),
        (("Smith 2010a", 12), ("Smith et al. (2010)", 13), False),
        (("Smith J 2010", 12), ("Smith 2010", 12), True),
        (("Smith J 2010", 12), ("Smith P 2010", 12), False),
        (("Smith 2010a", 12), ("Smith 2011", 12), False),
        (("Smith 2010a", None), ("Smith et al. (2010)", None), False),
    ],
)
def test_the_same_first_author_year_and_sample_size(a, b, found):
    groups = shared(*arms([experiment(a[0], n=a[1])], [experiment(b[0], n=b[1])]))
    assert [g.words.endswith("the same first author, year and sample size") for g in groups] == [True] * found


@pytest.mark.parametrize(("xyz", "found"), [(FOCI, 1), (FOCI[:2], 0)])
def test_the_same_foci_under_another_name(xyz, found):
    a, b = arms([experiment("kjd", xyz=xyz)], [experiment("dfs", xyz=xyz[::-1])])
    assert [g.words for g in shared(a, b)] == ["'kjd' and 'dfs' have the same foci and sample size"] * found


def test_lint_of_a_contrast_names_both_places():
    a, b = arms(
        [experiment("Smith 2010; x", line=4), experiment("Same")], [experiment("Same"), experiment("Smith 2010; y")]
    )
    same, subjects = lint_contrast(a, b)
    assert (same.code, same.where) == ("shared-experiment", "S.txt:1, S.txt:1")
    assert (subjects.code, subjects.where) == ("shared-subjects", "S.txt:4, S.txt:1")


SAME = arms([experiment("Smith 2010; x")], [experiment("Smith 2010; x")])
STUDY = arms([experiment("Smith 2010; x")], [experiment("Smith 2010; y")])


@pytest.mark.parametrize("choice", ["refuse", "keep"])
def test_the_same_experiment_is_never_kept(choice):
    with pytest.raises(InputError, match=r"x: 1 experiment\(s\) stand in both arms .* nor kept; .*exclude"):
        disjoint_arms(*SAME, shared=choice, name="x")


def test_one_study_in_both_arms_is_refused_and_the_message_names_the_choices():
    with pytest.raises(InputError, match=r'the arms may share subjects: .*the same study.*"exclude".*"keep"'):
        disjoint_arms(*STUDY, shared="refuse", name="x")


def test_one_study_in_both_arms_is_kept_on_demand():
    assert [f.sizes["experiment"] for f in disjoint_arms(*STUDY, shared="keep", name="x")] == [2, 2]


@pytest.mark.parametrize("pair", [SAME, STUDY])
def test_what_is_shared_is_excluded_from_both_arms(pair):
    left = disjoint_arms(*pair, shared="exclude", name="x")
    assert [f["experiment_id"].values.tolist() for f in left] == [["Alone A 2001"], ["Other B 2002"]]


def test_excluding_everything_is_an_error():
    whole = build([experiment("Smith 2010")])
    with pytest.raises(InputError, match="leaves an arm without experiments"):
        disjoint_arms(whole, whole, shared="exclude", name="x")


@pytest.mark.parametrize(("choice", "said"), [("keep", "kept, as different"), ("exclude", "excluded from both arms")])
def test_the_result_says_what_was_shared_and_what_became_of_it(tmp_path, choice, said):
    write_ball(tmp_path / "ball.nii.gz", radius=5)
    one, two = (
        [replace(experiment(f"Smith 2010; {x}", xyz=FOCI), n=n)]
        + [experiment(f"{x}{i} 2000", n=n + i) for i in range(4)]
        for x, n in (("A", 12), ("B", 22))
    )
    results = [
        ale_dask.main_effect(build(e), name=n, mask=tmp_path / "ball.nii.gz", iterations=9, voxel_p=0.05)
        for n, e in (("a", one), ("b", two))
    ]
    found = ale_dask.contrast(*results, shared=choice)
    words = "'Smith 2010; A' and 'Smith 2010; B' are of the same study"
    assert found.attrs["shared"] == [words]
    assert dict(facts(found))["Shared subjects"].startswith(f"{words}: {said}")
    assert any("were kept" in note for note in notes(found)) == (choice == "keep")
    with pytest.raises(InputError, match="may share subjects"):
        ale_dask.contrast(*results)
