"""Tables as people write them: names of columns, blank cells, titles, sheets sample sizes: read right or refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

import openpyxl
import pytest
from support import strategies as ours
from support.commands import quietly as ale

from ale_dask import main_effect
from ale_dask.config.study import parse_study
from ale_dask.coordinates.decisions import Decision, decisions, fewer
from ale_dask.coordinates.foci import build, table
from ale_dask.coordinates.readers import parse, read_foci, write_foci
from ale_dask.errors import InputError
from ale_dask.reporting.tables.page_tables import experiments_table


def read(text, *, name="t.csv", **options):
    told: list[Decision] = []
    found = parse(text if isinstance(text, bytes) else text.encode(), name=name, tell=told.append, **options)
    return found, told


def codes(told):
    return [one.code for one in told]


BLANK = (
    "study,contrast,n,space,x,y,z\n"
    "Alpha 2010,a>b,12,MNI,-24,-4,-18\nAlpha 2010,,12,MNI,24,-4,-18\nAlpha 2010,,12,MNI,2,20,40\n"
    "Beta 2011,c>d,20,MNI,-22,-4,-16\nBeta 2011,,20,MNI,30,-60,40\n"
)


def test_a_contrast_left_blank_below_its_first_row_is_that_contrast():
    found, told = read(BLANK)
    assert [(e.name, e.n, len(e.xyz)) for e in found] == [("Alpha 2010; a>b", 12, 3), ("Beta 2011; c>d", 20, 2)]
    assert [(one.code, one.count) for one in told] == [("blank-cells", 3)]


def test_a_study_left_blank_is_the_one_above():
    found, told = read("study,n,space,x,y,z\nA,9,MNI,1,2,3\n,,,4,5,6\n,,,7,8,9\nB,8,TAL,1,1,1\n")
    assert [(e.name, e.n, e.space, len(e.xyz)) for e in found] == [("A", 9, "MNI", 3), ("B", 8, "TAL", 1)]
    assert told[0].count == 2
    with pytest.raises(InputError, match=r"t\.csv:2: the row has no study"):
        read("study,n,space,x,y,z\n,9,MNI,1,2,3\n")


def test_a_blank_contrast_is_one_of_its_own_where_nothing_above_names_one():
    found, told = read(
        "study,contrast,n,space,x,y,z\nA,,9,MNI,1,2,3\nA,b,9,MNI,1,2,3\n\nA,,9,MNI,4,5,6\nC,,9,MNI,1,2,3\n"
    )
    assert [(e.name, len(e.xyz)) for e in found] == [("A", 2), ("A; b", 1), ("C", 1)]
    assert told == []


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_written_table_keeps_an_experiment_without_a_contrast_below_one_with(suffix, tmp_path):
    listed, _ = read("study,contrast,n,space,x,y,z\nA,b,9,MNI,1,2,3\n\nA,,9,MNI,4,5,6\n")
    write_foci(build(listed), tmp_path / f"t{suffix}")
    again = read_foci(tmp_path / f"t{suffix}")
    assert again["experiment_name"].values.tolist() == ["A; b", "A"]


def test_merged_cells_mean_the_same_for_all_their_rows():
    book = openpyxl.Workbook()
    sheet = book.active
    for row in [["study", "n", "space", "x", "y", "z"], ["A", 9, "MNI", 1, 2, 3], [None, None, None, 4, 5, 6]]:
        sheet.append(row)
    sheet.merge_cells("A2:A3")
    book.save(out := io.BytesIO())
    found, told = read(out.getvalue(), name="b.xlsx")
    assert [(e.name, e.n, len(e.xyz)) for e in found] == [("A", 9, 2)]
    assert codes(told) == ["blank-cells"]


HEADER = ["study", "contrast", "n", "space", "x", "y", "z"]


def test_all_sheets_of_foci_are_read_and_said():
    sheets = {
        "Notes": [["made by hand"]],
        "One": [HEADER, ["Alpha 2010", "a>b", 12, "MNI", -24, -4, -18]],
        "implicit": [HEADER, ["Beta 2011", "c>d", 20, "TAL", -22, -4, -16]],
    }
    found, told = read(ours.workbook(sheets), name="b.xlsx")
    assert [(e.name, e.n, e.space, e.source) for e in found] == [
        ("Alpha 2010; a>b", 12, "MNI", "b.xlsx:One:2"),
        ("Beta 2011; c>d", 20, "TAL", "b.xlsx:implicit:2"),
    ]
    assert codes(told) == ["several-sheets", "sheets-left"]
    assert "'One', 'implicit'" in told[0].message
    assert "'Notes'" in told[1].message


TITLES = 'Table 2,,,,\n"Foci, all",,,,\nstudy,n,space,x,y,z\nA,9,MNI,1,2,3\n'


def test_rows_of_titles_above_the_header_are_left_out_and_said():
    for data, name, source in (
        (TITLES.encode(), "t.csv", "t.csv:4"),
        (
            ours.workbook({"S": [["Table 2"], ["Foci, all"], HEADER[:1] + HEADER[2:], ["A", 9, "MNI", 1, 2, 3]]}),
            "b.xlsx",
            "b.xlsx:S:4",
        ),
    ):
        (found,), told = read(data, name=name)
        assert (found.name, found.n, found.source) == ("A", 9, source)
        assert [(one.code, one.count) for one in told] == [("title-rows", 2)]


def test_a_table_without_a_header_is_refused_with_what_to_write():
    with pytest.raises(InputError, match=r"t\.csv:1: .*write a first line that names its columns"):
        read("Alpha 2010,12,MNI,-24,-4,-18\nBeta,9,MNI,1,2,3\n")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("study,x,y,z,sample_size,space", "A,1,2,3,12,MNI"),
        ("Study,Subjects,Space,X,Y,Z", "A,12,MNI,1,2,3"),
        ("Paper,Sample size,Reference space,Peak_X,Peak_Y,Peak_Z", "A,12,MNI 152,1,2,3"),
        ("author,n_subjects,space,peak x,peak y,peak z", "A,12,MNI152,1,2,3"),
        ("First Author,N,Coordinate space,x (mm),y (mm),z (mm)", "A,12,MNI-152,1,2,3"),
        ("Article,No. of subjects,space,x-coordinate,y-coordinate,z-coordinate", "A,12,MNI space,1,2,3"),
        ("pmid,author,participants,space,x,y,z", "A,Smith,12,icbm 152,1,2,3"),
        ("Experiment,N,space,coord_x,coord_y,coord_z", "A,12,MNI,1,2,3"),
        ("study_id,N,MNI_X,MNI_Y,MNI_Z", "A,12,1,2,3"),
    ],
)
def test_names_of_columns_that_people_use(header, row):
    (found,), _ = read(f"{header}\n{row}\n")
    assert (found.study, found.n, found.space, found.xyz) == ("A", 12, "MNI", ((1, 2, 3),))


@pytest.mark.parametrize("word", ["TAL", "tal", "Tal.", "TLRC", "T88", "Talairach space", "Talairach & Tournoux"])
def test_words_for_talairach_space(word):
    assert read(f"study,n,space,x,y,z\nA,9,{word},1,2,3\n")[0][0].space == "TAL"


@pytest.mark.parametrize("word", ["MNI305", "MNIColin27", "ICBM 452", "native"])
def test_other_brains_are_refused(word):
    with pytest.raises(InputError, match="unknown space"):
        read(f"study,n,space,x,y,z\nA,9,{word},1,2,3\n")


def test_what_columns_were_taken_for_is_said_and_a_stated_n_stays(tmp_path):
    path = tmp_path / "subjects.csv"
    path.write_text("Study,Subjects,Space,X,Y,Z\nAlpha,12,MNI,1,2,3\nBeta,20,TAL,4,5,6\nGamma,,MNI,7,8,9\n")
    found = read_foci(path, n=15)
    assert found["experiment_n_subjects"].values.tolist() == [12, 20, 15]
    made = {one.code: one for one in decisions(found)}
    assert "Subjects as n" in made["columns"].message
    assert made["imputed-n"].count == 1
    assert "'Gamma' (subjects.csv:4)" in made["imputed-n"].message
    assert made["converted-space"].count == 1
    assert table(found)["n_imputed"].tolist() == [False, False, True]


def test_coordinates_of_both_spaces_are_read_in_mni_which_the_names_say():
    (found,), told = read("study,n,mni_x,mni_y,mni_z,tal_x,tal_y,tal_z\nA,9,1,2,3,4,5,6\n")
    assert (found.space, found.xyz) == ("MNI", ((1, 2, 3),))
    assert "space-from-columns" in codes(told)
    (found,), _ = read("study,n,tal_x,tal_y,tal_z\nA,9,4,5,6\n", space="MNI")
    assert found.space == "TAL"


def test_papers_of_one_author_in_two_years_are_two_studies():
    found, _ = read("author,year,n,space,x,y,z\nSmith,2010,9,MNI,1,2,3\n,,,,4,5,6\nSmith,2012,8,MNI,1,2,3\n")
    assert [(e.name, e.n, len(e.xyz)) for e in found] == [("Smith 2010", 9, 2), ("Smith 2012", 8, 1)]


def test_a_column_of_our_own_name_is_never_replaced():
    (found,), told = read("study,n,Subjects,space,x,y,z,peak_x\nA,9,12,MNI,1,2,3,77\n")
    assert (found.n, found.xyz, found.columns) == (9, ((1, 2, 3),), {"Subjects": "12", "peak_x": "77"})
    assert told == []


GERMAN = "Studie;Anzahl;Raum;X-Koord;Y-Koord;Z-Koord\nA;12;MNI;1;2;3\n"
MAPPING = {"study": "Studie", "n": "anzahl", "space": "Raum", "x": "X-Koord", "y": "Y-Koord", "z": "Z-Koord"}


def test_a_mapping_of_columns():
    (found,), told = read(GERMAN, columns=MAPPING)
    assert (found.name, found.n, found.space, found.xyz) == ("A", 12, "MNI", ((1, 2, 3),))
    assert codes(told) == ["columns"]
    # What is mapped comes before a column of that very name.
    (found,), _ = read("study,n,N used,space,x,y,z\nA,30,12,MNI,1,2,3\n", columns={"n": "N used"})
    assert (found.n, found.columns) == (12, {"n (file)": "30"})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"n": "Anzhal"}, "no column 'Anzhal' for n; did you mean 'Anzahl'?"),
        ({"size": "Anzahl"}, "'size' is none of study, contrast, n, space, x, y, z"),
    ],
)
def test_a_mapping_that_does_not_fit(columns, message):
    with pytest.raises(InputError) as caught:
        read(GERMAN, columns=MAPPING | columns)
    assert message in str(caught.value)


def test_a_missing_column_is_named_with_what_may_be_meant():
    with pytest.raises(InputError) as caught:
        read("studie,x,y,z,n,space\nA,1,2,3,9,MNI\n")
    assert "no column study" in str(caught.value)
    assert "did you mean 'studie'?" in str(caught.value)
    assert "--columns study=NAME" in str(caught.value)


@pytest.mark.parametrize("text", ["14 (12 f)", "14 subjects", "n = 14", "14 (7 male, 7 female)", "14.0", "N=14"])
def test_a_sample_size_in_words(text):
    (found,), told = read(f'study,n,space,x,y,z\nA,"{text}",MNI,1,2,3\n')
    assert found.n == 14
    assert codes(told) == ([] if text == "14.0" else ["n-in-words"])


@pytest.mark.parametrize("text", ["14 + 12", "12-16", "14/15", "about 14", "14 (7) (7)", "0 (none)"])
def test_a_sample_size_that_could_be_two(text):
    with pytest.raises(InputError, match=r"t\.csv:2: sample size"):
        read(f'study,n,space,x,y,z\nA,"{text}",MNI,1,2,3\n')


def test_rows_of_one_experiment_that_state_different_sample_sizes_are_said():
    found, told = read("study,n,space,x,y,z\nA,14,MNI,1,2,3\nA,12,MNI,4,5,6\nB,9,MNI,1,2,3\nB,9,MNI,4,5,6\n")
    assert [e.n for e in found] == [12, 9]
    assert [(one.code, one.where, one.count) for one in told] == [("several-n", "t.csv:2", 2)]
    sizes = {"metadata": {"sample_sizes": [12, 9]}}
    _, told = read(ours.study_set(ours.analysis((1, 2, 3), **sizes)), name="s.json")
    assert codes(told) == ["several-n"]


def test_all_bad_rows_are_told_at_once():
    rows = [f"A,9,MNI,{i},oops,3" for i in range(30)]
    with pytest.raises(InputError) as caught:
        read("\n".join(["study,n,space,x,y,z", *rows, "B,9,Mars,1,2,3"]))
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("t.csv:2: ")
    assert lines[19].startswith("t.csv:21: ")
    assert lines[20:] == ["and 11 more lines", "31 lines in all cannot be read"]


def test_no_more_than_ten_decisions_of_one_kind_are_told_word_for_word():
    made = fewer([Decision("several-n", f"f:{i}", "two") for i in range(25)])
    assert (len(made), made[-1].message, made[-1].count) == (11, "the same holds for 15 more", 15)


@pytest.mark.integration
def test_columns_in_a_study_and_on_the_command_line(tiny: Path):
    (tiny / "g.csv").write_text(
        "Studie;Anzahl;Raum;X-Koord;Y-Koord;Z-Koord\n" + "".join(f"S{i};1{i};MNI;{i};2;3\n" for i in range(8))
    )
    mapping = ",".join(f"{own}={name}" for own, name in MAPPING.items())
    told = json.loads(ale("check", tiny / "g.csv", "--columns", mapping, "--json")[0])
    assert [d["code"] for d in told[0]["decisions"]] == ["columns"]
    ale("check", tiny / "g.csv", "--columns", "n=", code=2)
    ale("check", tiny / "study.toml", "--columns", mapping, code=2)
    common = ["--mask", tiny / "ball.nii.gz", "-i", 20, "-b", "serial", "--no-pictures"]
    ale("main-effect", tiny / "g.csv", "-o", tiny / "out", "--columns", mapping, *common)
    toml = (tiny / "out" / "study.toml").read_text()
    assert parse_study(toml).foci["g"].columns == MAPPING
    record = json.loads((tiny / "out" / "run.json").read_text())
    assert [d["code"] for d in record["analyses"]["g"]["decisions"]] == ["columns"]
    assert "Anzahl as n" in (tiny / "out" / "logs" / "CITATION.md").read_text()


def test_the_page_says_of_each_experiment_what_was_filled_in_and_converted(tiny: Path):
    (tiny / "t.csv").write_text("study,n,space,x,y,z\nA,9,MNI,1,2,3\nB,,TAL,4,5,6\nC,8,MNI,7,8,9\n")
    result = main_effect(read_foci(tiny / "t.csv", n=20), mask=str(tiny / "ball.nii.gz"), iterations=20)
    rows = experiments_table(result).set_index("Experiment")
    assert rows["n imputed"].to_dict() == {"A": "", "B": "yes", "C": ""}
    assert rows["Converted from"].to_dict() == {"A": "", "B": "Talairach", "C": ""}


def test_a_sample_size_in_words_in_sleuth_text_and_in_a_study_set():
    (found,), told = read("//Reference=MNI\n//A\n//Subjects=14 (12 f)\n1 2 3\n", name="f.txt")
    assert (found.n, codes(told)) == (14, ["n-in-words"])
    one = ours.analysis((1, 2, 3), metadata={"sample_sizes": ["14 (12 f)"]})
    (found,), told = read(ours.study_set(one), name="s.json")
    assert (found.n, codes(told)) == (14, ["n-in-words"])


def test_an_experiment_without_foci_needs_no_sample_size(tmp_path):
    (tmp_path / "t.csv").write_text("study,n,space,x,y,z\nA,9,MNI,1,2,3\nB,,MNI,,,\n")
    assert read_foci(tmp_path / "t.csv")["experiment_n_subjects"].values.tolist() == [9, 0]


def test_a_mapping_finds_the_coordinates_beside_an_id(tmp_path):
    (tmp_path / "t.csv").write_text("id,n,space,Rechts,Vorn,Oben\n7,9,MNI,1,2,3\n")
    columns = {"x": "Rechts", "y": "Vorn", "z": "Oben"}
    assert read_foci(tmp_path / "t.csv", columns=columns)["focus_xyz"].values.tolist() == [[1, 2, 3]]


def test_lines_with_the_same_fault_are_one_message():
    rows = [*(f"A,9,Tailarach,{i},2,3" for i in range(3)), "B,9,MNI,1,2,3", "C,9,Tailarach,1,2,3"]
    with pytest.raises(InputError) as caught:
        read("\n".join(["study,n,space,x,y,z", *rows]))
    assert str(caught.value).splitlines() == [
        "t.csv:2-4,6: unknown space 'Tailarach'; did you mean 'Talairach'?",
        "4 lines in all cannot be read",
    ]


@pytest.mark.parametrize("name", ["No. of participants", "Number of individuals", "Participants N", "Nr subjects"])
def test_ways_to_name_the_sample_size(name):
    (found,), _ = read(f"study,{name},space,x,y,z\nA,9,MNI,1,2,3\n")
    assert found.n == 9


def test_a_footnote_below_a_table_is_no_study():
    (found,), told = read("study,n,space,x,y,z\nA,9,MNI,1,2,3\n,,,,,\n* from the authors,,,,,\nNote: n of both,,,,,\n")
    assert found.name == "A"
    assert [(d.code, d.where) for d in told] == [("note-left", "t.csv:4"), ("note-left", "t.csv:5")]


def test_a_study_without_foci_needs_no_space():
    found, _ = read("study,n,space,x,y,z\nA,9,MNI,1,2,3\nB,,,,,\n")
    assert [(e.name, e.xyz) for e in found] == [("A", ((1, 2, 3),)), ("B", ())]


def test_columns_that_describe_foci_are_left_out_and_told():
    (found,), told = read("study,n,space,x,y,z,Region,t,drug\nA,9,MNI,1,2,3,Insula,4,x\nA,9,MNI,4,5,6,IFG,5,x\n")
    assert found.columns == {"drug": "x"}
    assert [d.message for d in told if d.code == "columns-of-foci"] == [
        "these columns differ between the foci of an experiment and were left out: 'Region', 't'"
    ]


def test_a_column_that_may_tell_contrasts_apart_is_an_error_that_says_how():
    text = "study,n,space,x,y,z,Comparison\nA,9,MNI,1,2,3,a\nA,9,MNI,4,5,6,b\n"
    with pytest.raises(InputError, match=r"t\.csv:3: column 'Comparison' has another.*--columns contrast='Comparison'"):
        read(text)
    found, _ = read(text, columns={"contrast": "Comparison"})
    assert [e.name for e in found] == ["A; a", "A; b"]
