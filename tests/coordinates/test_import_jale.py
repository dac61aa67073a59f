"""JALE's two sheets: its experiments with their tags, and its analyses as a study.toml that selects the same."""

import csv
import itertools
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import strategies as ours

from ale_dask.config.study import load_study
from ale_dask.coordinates.expressions import holds
from ale_dask.coordinates.foci import build, table
from ale_dask.coordinates.import_jale import condition, import_jale, write_table
from ale_dask.coordinates.readers import parse
from ale_dask.coordinates.selection import select
from ale_dask.errors import InputError
from ale_dask.workflows.prepare import read_sample

HEADER = ["Article", "Subjects", "x", "y", "z", "CoordinateSpace", "Task", "Group"]
# One experiment is the row of its article and those below.
BLOCKS = [
    HEADER,
    ["Ab 2001", 12, 1, 2, 3, "TAL", "Faces", " drug "],
    [None, None, 4.5, 5, 6],
    ["Ab 2001", 12, -7, 8, 9, "MNI", "faces", "my tag"],
    ["Cd 2002", 20, 1, 2, 3, "MNI", "n", "NA"],
    [None, None, 4, 5, 6],
]
# One experiment is the rows of an article that have the same tags.
ROWS = [
    HEADER,
    ["Ab 2001", 12, 1, 2, 3, "TAL", "Faces", "drug"],
    ["Ab 2001", 12, -7, 8, 9, "TAL", "faces", "my tag"],
    ["Ab 2001", 12, 4.5, 5, 6, "TAL", "faces", "drug"],
]


def book(rows):
    return ours.workbook({"Sheet1": rows})


def experiments(rows):
    return parse(book(rows), name="e.xlsx")


def imported(analyses, rows=BLOCKS):
    made = import_jale(book(rows), book(analyses), names=("e.xlsx", "a.xlsx"))
    return tomllib.loads(made.files["study.toml"].decode()), made.notes


def test_rows_below_an_article_are_its_experiment():
    a, b, c = experiments(BLOCKS)
    assert (a.name, a.study, a.n, a.space, a.xyz) == (
        "Ab 2001; faces, drug",
        "Ab 2001",
        12,
        "TAL",
        ((1, 2, 3), (4.5, 5, 6)),
    )
    assert (b.name, b.space, b.xyz) == ("Ab 2001; faces, my tag", "MNI", ((-7, 8, 9),))
    assert c.columns == {"contrast": "n tag", "faces": "false", "drug": "false", "my tag": "false", "n tag": "true"}
    assert [e.source for e in (a, b, c)] == ["e.xlsx:Sheet1:2", "e.xlsx:Sheet1:4", "e.xlsx:Sheet1:5"]


def test_in_a_sheet_that_names_each_article_rows_with_the_same_tags_are_one():
    assert [(e.name, len(e.xyz)) for e in experiments(ROWS)] == [
        ("Ab 2001; faces, drug", 2),
        ("Ab 2001; faces, my tag", 1),
    ]


def test_two_experiments_of_one_article_and_the_same_tags_stay_two():
    rows = [HEADER, ["A", 9, 1, 2, 3, "MNI", "t"], [None, None, 1, 2, 3], ["A", 9, 4, 5, 6, "MNI", "t"]]
    assert [(e.name, len(e.xyz)) for e in experiments(rows)] == [("A; t", 2), ("A; t (2)", 1)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([None, None, 1, 2, 3], "e.xlsx:Sheet1:2: the row has no article above it"),
        (["A", 9, 1, 2, 3, "Mars"], "e.xlsx:Sheet1:2: unknown space 'Mars'"),
        (["A", 9, 1, 2, 3], "e.xlsx:Sheet1:2: no space for 'A'"),
        (["A", 9, 1, "left", 3, "MNI"], "e.xlsx:Sheet1:2: 'left' in '1 left 3' is not a number"),
    ],
)
def test_errors_in_experiments(row, message):
    with pytest.raises(InputError) as caught:
        experiments([HEADER, row, ["B", 9, 1, 2, 3, "MNI"]])
    assert message in str(caught.value)


def test_a_tag_below_the_first_row_of_an_experiment_is_refused():
    with pytest.raises(InputError, match=r"e\.xlsx:Sheet1:3: 'house' is not in the first row of 'Ab 2001'"):
        experiments([*BLOCKS[:2], [None, None, 4, 5, 6, None, "faces", "house"]])


@pytest.mark.parametrize("rows", [BLOCKS, ROWS])
def test_the_table_that_is_written_holds_the_same_experiments(rows):
    before = experiments(rows)
    after = parse(write_table(before).encode(), name="foci.csv")
    assert [(e.name, e.n, e.space, e.xyz, e.columns, e.study) for e in before] == [
        (e.name, e.n, e.space, e.xyz, e.columns, e.study) for e in after
    ]
    assert np.array_equal(build(before)["experiment_key"].values, build(after)["experiment_key"].values)


def test_main_effects_and_a_contrast_with_its_conjunction():
    study, notes = imported([["M", "All of it", "+ALL"], ["C ", "Drug", "+drug"], [None, "Others", "+all", "-Drug"]])
    assert study["foci"] == {
        "all-of-it": {"files": ["foci.csv"], "talairach": "spm"},
        "drug": {"files": ["foci.csv"], "talairach": "spm", "select": [{"where": "drug"}]},
        "others": {"files": ["foci.csv"], "talairach": "spm", "select": [{"where": "not drug"}]},
    }
    assert study["analysis"] == {
        "all-of-it": {"kind": "main-effect", "foci": ["all-of-it"]},
        "drug": {"kind": "main-effect", "foci": ["drug"]},
        "others": {"kind": "main-effect", "foci": ["others"]},
        "drug-and-others": {"kind": "conjunction", "of": ["drug", "others"]},
        "drug-vs-others": {"kind": "contrast", "arms": ["drug", "others"]},
    }
    # Both arms have experiments of "Ab 2001".
    assert study["inference"] == {"shared": "keep"}
    assert [(n.where, n.same) for n in notes] == [
        ("a.xlsx:Sheet1:1", True),
        ("a.xlsx:Sheet1:2", True),
        ("a.xlsx:Sheet1:2", False),
    ]


def test_what_is_not_computed_here_is_said_and_its_nearest_made():
    rows = [
        ["P17", "Sampled", "+faces"],
        ["B", "Drug", "+drug"],
        [None, "Others", "+faces", "-drug"],
        ["Cluster", "Groups", "+faces"],
        ["M", "Region", "+faces", "$roi.nii"],
    ]
    study, notes = imported(rows)
    assert list(study["analysis"]) == ["region", "drug", "others", "drug-and-others", "drug-vs-others"]
    assert [n.text for n in notes if not n.same] == [
        "probabilistic ALE of samples of 17 is not made here; nearest is the main effect 'region' of 2 experiments",
        "a balanced contrast of equal samples is not made here; nearest is a contrast of all experiments:",
        "both have experiments of one study; kept as in JALE, though relabelling takes them as independent",
        "'Cluster' ('Groups') is not made here and left out",
        "the ROI analysis in 'roi.nii' is not made here",
    ]


def test_experiments_in_both_arms_are_excluded_and_said():
    study, notes = imported([["C", "a", "+faces"], [None, "b", "+drug", "+n", "?"]])
    assert study["inference"] == {"shared": "exclude"}
    assert "1 experiments stand in both: here they are left out" in notes[-1].text


def test_an_arm_within_the_other_has_no_contrast():
    study, notes = imported([["C", "a", "+faces"], [None, "b", "+drug"]])
    assert "a-and-b" in study["analysis"]
    assert "a-vs-b" not in study["analysis"]
    assert not notes[-1].same


def test_a_title_for_two_selections_is_two_analyses():
    study, notes = imported([["M", "Faces!", "+faces"], ["M", "faces", "+drug"], ["M", "FACES", "+faces"]])
    assert {name: s["select"][0]["where"] for name, s in study["foci"].items()} == {"faces": "faces", "faces-2": "drug"}
    assert "it is 'faces-2' here" in notes[1].text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["M", "a", "+houses"]], "a.xlsx:Sheet1:1: no experiment has the tag 'houses'; there are: drug, faces"),
        ([["M", "a", "faces"]], "a.xlsx:Sheet1:1: cannot read 'faces'; a tag begins with + or -"),
        ([["M", "a"]], "a.xlsx:Sheet1:1: no tag to include"),
        ([["M", "a", "+drug", "+n"]], "a.xlsx:Sheet1:1: no experiment has the tags of 'a'"),
        ([["C", "a", "+drug"]], "a.xlsx:Sheet1:1: 'a' has no second analysis"),
        ([["C", "a", "+drug"], [None, "a", "+drug"]], "a.xlsx:Sheet1:1: 'a' is contrasted with itself"),
        ([["Cluster", "a", "+drug"]], "a.xlsx: no analysis of kind M, P, C or B"),
        ([], "a.xlsx: no analyses"),
    ],
)
def test_errors_in_analyses(rows, message):
    with pytest.raises(InputError) as caught:
        imported(rows)
    assert message in str(caught.value)


def as_jale(conditions, carried):
    """JALE's own rule, on sets of the experiments' numbers."""
    having = {tag: {i for i, own in enumerate(carried) if tag in own} for tag in "abc"}
    having["all"] = set(range(len(carried)))
    wanted, unwanted = [], set()
    for cell in conditions:
        if cell == "?":
            wanted = [set().union(*wanted)]
        elif cell[0] == "+":
            wanted.append(having[cell[1:].lower()])
        else:
            unwanted |= having[cell[1:].lower()]
    return set.intersection(*wanted) - unwanted


CARRIED = [set(c) for n in range(4) for c in itertools.combinations("abc", n)]
OF_ABC = table(
    build(experiments([HEADER, *[[f"s{i}", 9, 1, 2, 3, "MNI", *sorted(own)] for i, own in enumerate(CARRIED)]]))
)


@ours.QUICK
@given(st.lists(st.sampled_from(["+a", "+B", "+c", "-a", "-b", "-C", "?", "+ALL"]), max_size=7))
def test_conditions_select_what_jale_selects(conditions):
    conditions = ["+a", *conditions]
    where = condition(conditions, tags=["a", "b", "c"], where="here")
    found = holds(where, OF_ABC, where="here") if where else np.ones(len(CARRIED), dtype=bool)
    assert set(np.flatnonzero(found).tolist()) == as_jale(conditions, CARRIED)


GOOD = book(BLOCKS), book([["M", "All", "+ALL"], ["C", "Drug", "+drug"], [None, "Others", "+faces", "-drug"]])


@ours.QUICK
@given(st.data())
def test_any_damage_gives_a_study_or_an_input_error(data):
    which = data.draw(st.integers(0, 1))
    bad = data.draw(ours.damaged(files=st.just(GOOD[which])) | ours.damaged_workbooks(data=GOOD[which]))
    pair = (bad, GOOD[1]) if which == 0 else (GOOD[0], bad)
    try:
        made = import_jale(*pair, names=("e", "a"))
    except InputError as error:
        made, message = None, str(error)
    if made is None:
        assert message[:1] in "ea"
    else:
        assert tomllib.loads(made.files["study.toml"].decode())["analysis"]


def test_the_command_writes_a_study_that_reads(tmp_path):
    (tmp_path / "e.xlsx").write_bytes(book(BLOCKS))
    with open(tmp_path / "a.csv", "w", newline="") as file:
        csv.writer(file).writerows([["C", "Drug", "+drug"], ["", "Tagged", "+my tag"], ["P5", "All", "+all"]])
    command = [sys.executable, "-m", "ale_dask.cli", "import-jale", "e.xlsx", "a.csv", "-o", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "study in out; next: ale-dask check out/study.toml\n")
    assert done.stderr.splitlines() == [
        "a.csv:1: contrast 'drug-vs-tagged' and conjunction 'drug-and-tagged' of 'drug' of 1 experiments and 'tagged' "
        "of 1 experiments",
        "warning: a.csv:1: both have experiments of one study; kept as in JALE, though relabelling takes them as "
        "independent",
        "warning: a.csv:3: probabilistic ALE of samples of 5 is not made here; nearest is the main effect 'all' of 3 "
        "experiments",
    ]
    samples = load_study(tmp_path / "out" / "study.toml").foci
    read = {name: select(read_sample(source), *source.select) for name, source in samples.items()}
    assert {name: foci.sizes["experiment"] for name, foci in read.items()} == {
        "drug": 1,
        "tagged": 1,
        "all": 3,
    }
