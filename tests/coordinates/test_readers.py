"""Readers: every quirk of the formats, and InputError for everything else."""

import csv
import io
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import strategies as ours
from support.real_data import shared

from ale_dask.coordinates.foci import build, foci_of, n_foci
from ale_dask.coordinates.readers import formats, parse, read_foci, workbook, write_sleuth
from ale_dask.coordinates.readers import sleuth as sleuth_reader
from ale_dask.coordinates.readers import table as table_reader
from ale_dask.coordinates.readers.foci_file import FociFile
from ale_dask.errors import InputError
from ale_dask.schema import FOCI, check


def sleuth(text, **options):
    return sleuth_reader.read(FociFile(text.encode(), "f.txt", **options))


def table(text, **options):
    return table_reader.read(FociFile(text.encode(), "t.csv", **options))


def one(line):
    (found,) = sleuth(f"// Reference=MNI\n// A\n// Subjects=9\n{line}")
    return found.xyz


def test_names_sizes_and_foci_of_sleuth_text_are_read():
    a, b = sleuth("// Reference=MNI\n// A\n// Subjects=12\n1\t2\t3\n-4.5 0 .5\n\n//B\n//Subjects=7\n1 1 1\n")
    assert (a.name, a.n, a.space, a.source) == ("A", 12, "MNI", "f.txt:2")
    assert a.xyz == ((1, 2, 3), (-4.5, 0, 0.5))
    assert (b.name, b.n, b.xyz, b.source) == ("B", 7, ((1, 1, 1),), "f.txt:7")


@pytest.mark.parametrize(
    "line", ["// Reference=Talairach", "//Reference = talairach", "//REFERENCE=TAL", "// reference= TAL  "]
)
def test_spellings_of_the_reference(line):
    assert sleuth(f"{line}\n// A\n// Subjects=9\n1 2 3")[0].space == "TAL"


def test_the_reference_may_change_inside_a_file():
    text = "// Reference=MNI\n// A\n//Subjects=9\n1 2 3\n// Reference=Talairach\n// B\n//Subjects=9\n1 2 3\n"
    assert [e.space for e in sleuth(text)] == ["MNI", "TAL"]


def test_stacked_names_are_one_experiment():
    (found,) = sleuth("//Reference=MNI\n// A\n// faces\n\n// houses\n// Subjects=9\n1 2 3")
    assert found.name == "A; faces; houses"


@pytest.mark.parametrize(
    "line", ["// Subjects=12", "//subjects = 12.0", "// Subjects=12,0", "//Subjects=12\t\t", "// Subject=12"]
)
def test_spellings_of_the_sample_size(line):
    assert sleuth(f"//Reference=MNI\n//A\n{line}\n1 2 3")[0].n == 12


@pytest.mark.parametrize(
    ("line", "xyz"),
    [
        ("-12.5\t3.0\t4", (-12.5, 3, 4)),
        ("  -12.5   3.0 4\t\t", (-12.5, 3, 4)),
        ("-12,5 3,0 4", (-12.5, 3, 4)),
        ("-12,5\t3\t-,4", (-12.5, 3, -0.4)),
        ("1,2,3", (1, 2, 3)),
        ("1, 2, 3", (1, 2, 3)),
        ("1 , 2 , 3", (1, 2, 3)),
        ("-1.5,2.5,3,", (-1.5, 2.5, 3)),
        ("-12,5, 3,0, 4", (-12.5, 3, 4)),
        ("-12,5;3,0;4", (-12.5, 3, 4)),
        ("\u221212.5 \u20133 4", (-12.5, -3, 4)),
        ("1\u00a02\u00a03", (1, 2, 3)),
        ("1 2 3 // left amygdala", (1, 2, 3)),
        ("1 2 3//", (1, 2, 3)),
        ("1e1 +2 3.", (10, 2, 3)),
    ],
)
def test_spellings_of_a_focus(line, xyz):
    assert one(line) == (xyz,)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_line_ends_and_encodings(end, encoding):
    text = end.join(["// Reference=MNI", "// Müller", "// Subjects=9", "1 2 3", "", "4 5 6"])
    (found,) = parse(text.encode(encoding), name="f.txt")
    assert (found.name, found.xyz) == ("Müller", ((1, 2, 3), (4, 5, 6)))


def test_missing_and_extra_blank_lines():
    a, b = sleuth("//Reference=MNI\n//A\n//Subjects=9\n1 2 3\n\n\n \t\n4 5 6\n//B\n//Subjects=8\n1 2 3")
    assert (len(a.xyz), a.n, len(b.xyz), b.n) == (2, 9, 1, 8)


def test_subjects_ends_a_header():
    a, b = sleuth("//Reference=MNI\n//A\n//Subjects=9\n//B\n//Subjects=8\n1 2 3")
    assert (a.name, a.n, a.xyz) == ("A", 9, ())
    assert (b.name, b.n, b.xyz) == ("B", 8, ((1, 2, 3),))


def test_a_subjects_line_after_foci_starts_an_experiment_without_a_name():
    a, b = sleuth("//Reference=MNI\n//A\n//Subjects=9\n1 2 3\n//Subjects=8\n4 5 6")
    assert (a.n, a.xyz, b.name, b.n, b.xyz) == (9, ((1, 2, 3),), "", 8, ((4, 5, 6),))


def test_empty_names_and_a_closing_separator():
    found = sleuth("//Reference=MNI\n//\n//Subjects=9\n1 2 3\n//\n//Subjects=8\n1 2 3\n//\n")
    assert [(e.name, e.n) for e in found] == [("", 9), ("", 8)]


def test_repeated_names_are_two_experiments():
    found = build(sleuth("//Reference=MNI\n//A\n//Subjects=9\n1 2 3\n//A\n//Subjects=9\n1 2 3"))
    assert found["experiment_id"].values.tolist() == ["A", "A#2"]
    assert found["experiment_name"].values.tolist() == ["A", "A"]


SLEUTH_ERRORS = {
    "": "f.txt:1: no foci, the file is empty",
    "\n \n": "empty",
    "hello\nworld": "f.txt:1: found 'hello', neither Sleuth text",
    "//Reference=MNI\n//A\n//Subjects=9\n": "f.txt:4: no foci in the whole file",
    "//Reference=MNI": "no foci in the whole file",
    "//A\n//Subjects=9\n1 2 3": "f.txt:1: no Reference line above 'A'",
    "//Reference=Mars\n//A\n//Subjects=9\n1 2 3": "f.txt:1: unknown space 'Mars'",
    "//Reference=MNI\n//A\n//Subjects=0\n1 2 3": "f.txt:3: sample size '0'",
    "//Reference=MNI\n//A\n//Subjects=-3\n1 2 3": "f.txt:3: sample size '-3'",
    "//Reference=MNI\n//A\n//Subjects=12.5\n1 2 3": "f.txt:3: sample size '12.5'",
    "//Reference=MNI\n//A\n//Subjects=many\n1 2 3": "f.txt:3: sample size 'many'",
    "//Reference=MNI\n//A\n//Subjects=1e999\n1 2 3": "f.txt:3: sample size",
    "//Reference=MNI\n//A\n//Subjects=9\n//Subjects=8\n1 2 3": "f.txt:4: second sample size",
    "//Reference=MNI\n1 2 3\n": "f.txt:2: found '1 2 3' before any experiment",
    "//Reference=MNI\n//A\n//Subjects=9\n1 2 nan": "f.txt:4: coordinate 'nan' is not finite",
    "//Reference=MNI\n//A\n//Subjects=9\n1 -inf 3": "f.txt:4: coordinate '-inf' is not finite",
    "//Reference=MNI\n//A\n//Subjects=9\n1 2 1e999": "f.txt:4: coordinate '1e999' is not finite",
    "//Reference=MNI\n//A\n//Subjects=9\n1 2 3\n1001 2 3": "f.txt:5: coordinate '1001' lies beyond 1000 mm",
    "//Reference=MNI\n//A\n//Subjects=9\n1 2": "f.txt:4: found 2 values in '1 2'",
    "//Reference=MNI\n//A\n//Subjects=9\n1 2 3 4.5": "f.txt:4: found 4 values",
    "//Reference=MNI\n//A\n//Subjects=9\n1 2 left": "f.txt:4: 'left' in '1 2 left' is not a number",
    "//Reference=MNI\n//A\n//Subjects=9\n1_0 2 3": "f.txt:4: '1_0'",
    "//Reference=MNI\n//A\n//Subjects=9\n1 ,2 ,3": "f.txt:4: cannot tell a decimal comma",
    "//Reference=MNI\n//A\n//Subjects=9\n1 2 3\0": "f.txt:4: holds NUL bytes",
    "//Reference=MNI\n//A\n//Subjects=9\n1 2 3\n//Reference=TAL\n4 5 6": "f.txt:6: found '4 5 6' before",
}


@pytest.mark.parametrize(("text", "message"), SLEUTH_ERRORS.items())
def test_errors_in_sleuth_text(text, message):
    with pytest.raises(InputError) as caught:
        parse(text.encode(), name="f.txt")
    assert message in str(caught.value)


def test_a_million_digits_take_no_time():
    # A backtracking pattern of numbers would need 10^12 steps.
    with pytest.raises(InputError, match=r"f\.txt:4: .* is not a number"):
        one("1" * 1_000_000 + "x 2 3")


def test_a_file_marked_utf16_that_is_not():
    with pytest.raises(InputError, match=r"f\.txt:1: marked as UTF-16"):
        parse(b"\xff\xfeabc", name="f.txt")


def test_space_for_files_that_state_none():
    text = "//A\n//Subjects=9\n1 2 3\n//Reference=MNI\n//B\n//Subjects=9\n1 2 3"
    assert [e.space for e in sleuth(text, space="TAL")] == ["TAL", "MNI"]


def test_missing_sample_sizes_are_named_together(tmp_path):
    path = tmp_path / "f.txt"
    path.write_text("//Reference=MNI\n//A\n1 2 3\n//B\n//Subjects=5\n1 2 3\n//C\n//Subjects=\n1 2 3\n")
    with pytest.raises(InputError, match=r"2 of 3 experiments have no sample size: f\.txt:2 A, f\.txt:7 C;"):
        read_foci(path)
    assert read_foci(path, n=20)["experiment_n_subjects"].values.tolist() == [20, 5, 20]
    assert read_foci(path, require_n=False)["experiment_n_subjects"].values.tolist() == [0, 5, 0]


def test_several_files_in_different_formats_and_spaces(tmp_path):
    (tmp_path / "a.txt").write_text("//Reference=Talairach\n//A\n//Subjects=9\n1 2 3\n")
    (tmp_path / "b.csv").write_text("study,n,x,y,z\nA,9,1,2,3\n")
    found = read_foci(tmp_path / "a.txt", tmp_path / "b.csv", space="MNI")
    assert found["experiment_id"].values.tolist() == ["A", "A#2"]
    assert found["experiment_source"].values.tolist() == ["a.txt:2", "b.csv:2"]
    assert found["focus_xyz"].values[1].tolist() == [1, 2, 3]
    assert np.abs(found["focus_xyz"].values[0] - [1, 2, 3]).max() > 1
    assert "/" not in found.attrs["sources"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n is 0"),
        ({"space": "Mars"}, "space is 'Mars'"),
        ({"talairach": "afni"}, "unknown Talairach variant"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, message):
    path = tmp_path / "f.txt"
    path.write_text("//Reference=TAL\n//A\n//Subjects=9\n1 2 3")
    with pytest.raises(InputError, match=message):
        read_foci(path, **options)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot read the file"):
        read_foci(tmp_path / "none.txt")
    for path in ("a\0b", "", " "):
        with pytest.raises(InputError, match="is no name of a file"):
            read_foci(path)
    with pytest.raises(InputError, match="no foci file given"):
        read_foci()


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_a_table_with_any_delimiter(delimiter):
    rows = [
        "Study,Contrast,N,Space,X,Y,Z,drug",
        "A,one,12,MNI,1,2,3.5,yes",
        "B,,9.0,TAL,4,5,6,",
        "A,one,11,mni,7,8,9,",
    ]
    text = "\r\n".join(rows).replace(",", delimiter)
    a, b = parse(text.encode(), name="t.csv")
    assert (a.name, a.n, a.space, a.source) == ("A; one", 11, "MNI", "t.csv:2")
    assert a.columns == {"contrast": "one", "drug": "yes"}
    assert a.xyz == ((1, 2, 3.5), (7, 8, 9))
    assert (b.name, b.n, b.space) == ("B", 9, "TAL")


def test_decimal_commas_and_minus_signs_in_a_table():
    assert table("study;n;x;y;z\nA;9;\u221212,5;3;4\n", space="MNI")[0].xyz == ((-12.5, 3, 4),)


def test_a_row_without_coordinates_is_an_experiment_without_foci():
    a, b = table("study,n,space,x,y,z\nA,9,MNI,,,\nB,9,MNI,1,2,3\n")
    assert (len(a.xyz), len(b.xyz)) == (0, 1)


def test_quotes_line_breaks_short_rows_and_the_row_numbers_of_pandas():
    a, b = table(',study,n,space,x,y,z,note\n0,"A, ""B""\nC",9,MNI,1,2,3,"x\ny"\n1,D,9,MNI,1,2,3\n')
    assert (a.name, a.source, b.source) == ('A, "B" C', "t.csv:2", "t.csv:5")
    assert "" not in a.columns


TABLE_ERRORS = {
    "study,x,y\nA,1,2": "t.csv:1: the table has no column z",
    "x y z\n1 2 3": "neither Sleuth text",
    "study,x,y,z,X\nA,1,2,3,4": "t.csv:1: the column x is there twice",
    "study,n,space,x,y,z\n": "no foci in the whole table",
    "study,n,space,x,y,z\nA,9,MNI,,,": "no foci in the whole table",
    "study,n,x,y,z\nA,9,1,2,3": "t.csv:2: no space for 'A'",
    "study,n,space,x,y,z\nA,9,Mars,1,2,3": "t.csv:2: unknown space 'Mars'",
    "study,n,space,x,y,z\nA,9,MNI,1,2,3\nA,9,TAL,1,2,3": "t.csv:3: 'A' is in MNI in an earlier row",
    "study,n,space,x,y,z\nA,0,MNI,1,2,3": "t.csv:2: sample size '0'",
    "study,n,space,x,y,z\nA,9,MNI,1,,3": "t.csv:2: '' in '1  3' is not a number",
    "study,n,space,x,y,z\nA,9,MNI,1,nan,3": "t.csv:2: coordinate 'nan' is not finite",
    "study,n,space,x,y,z\nA,9,MNI,1,2,-2000": "t.csv:2: coordinate '-2000' lies beyond",
    "study,n,space,x,y,z\n,9,MNI,1,2,3": "t.csv:2: the row has no study",
    "study,n,space,x,y,z\nA,9,MNI,1,2,3,4": "t.csv:2: 7 values under 6 columns",
    'study,n,space,x,y,z\n"A,9,MNI,1,2,3\n': "t.csv:2: cannot read the row",
    "study,n,space,x,y,z\n" + "A" * 200_000: "t.csv:2: cannot read the row (field larger than field limit",
    "study,n,space,x,y,z,age\nA,9,MNI,1,2,3,30\nA,9,MNI,1,2,3,31": "t.csv:3: column 'age' has another value",
}


@pytest.mark.parametrize(("text", "message"), TABLE_ERRORS.items(), ids=range(len(TABLE_ERRORS)))
def test_errors_in_tables(text, message):
    with pytest.raises(InputError) as caught:
        parse(text.encode(), name="t.csv")
    assert message in str(caught.value)


def test_a_table_without_sample_sizes(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("study,space,n,x,y,z\nA,MNI,NA,1,2,3\nB,MNI,,1,2,3\n")
    with pytest.raises(InputError, match=r"2 of 2 experiments have no sample size: t\.csv:2 A, t\.csv:3 B"):
        read_foci(path)


@pytest.mark.parametrize("reader", [formats, sleuth_reader, table_reader])
@ours.QUICK
@given(
    data=st.binary(max_size=200)
    | ours.damaged(files=ours.sleuth_files().map(lambda f: f[0]))
    | ours.damaged(files=st.just(ours.TABLE))
)
@example(data=workbook.OLE)
def test_any_bytes_give_foci_or_an_input_error(reader, data):
    try:
        found = build(reader.read(FociFile(data, "f", "MNI")))
    except InputError as error:
        found, message = None, str(error)
    if found is None:
        # A workbook, an image and a gzip file have no lines.
        has_lines = reader is not formats and not data.startswith(b"\x1f\x8b")
        assert re.match(r"f:\d[\d,-]*( and \d+ more)?: " if has_lines else r"f(:\d.*)?: ", message)
    else:
        check(found, *FOCI)
        assert int(n_foci(found).sum()) == found.sizes["focus"] > 0


@ours.QUICK
@given(ours.sleuth_files())
def test_sleuth_text_reads_the_same_in_any_spelling(file):
    data, listed = file
    found = parse(data, name="f.txt")
    assert [(e.name, e.n, e.xyz) for e in found] == [(e.name, e.n, e.xyz) for e in listed]
    assert [e.space for e in found if e.xyz] == [e.space for e in listed if e.xyz]


@ours.QUICK
@given(ours.experiments(columns=False))
def test_round_trip_through_sleuth_text(listed):
    before = build(listed)
    after = build(sleuth(write_sleuth(before)))
    for name in (
        "experiment_id",
        "experiment_name",
        "experiment_study",
        "experiment_n_subjects",
        "focus_xyz",
        "focus_experiment",
    ):
        assert np.array_equal(before[name].values, after[name].values), name
    if all(e.space == "MNI" for e in listed):
        assert np.array_equal(before["experiment_key"].values, after["experiment_key"].values)


def test_round_trip_keeps_missing_sample_sizes_apart():
    listed = sleuth("//Reference=MNI\n//A\n//Subjects=\n//B\n//Subjects=\n1 2 3")
    again = sleuth(write_sleuth(build(listed)))
    assert [(e.name, e.n, e.xyz) for e in again] == [("A", None, ()), ("B", None, ((1, 2, 3),))]


def test_a_name_that_sleuth_text_cannot_hold():
    found = build(table("study,n,space,x,y,z\nSubjects=4,9,MNI,1,2,3\n"))
    with pytest.raises(InputError, match="cannot be written"):
        write_sleuth(found)


@ours.QUICK
@given(ours.experiments(columns=False))
def test_round_trip_through_a_table(listed):
    listed = [e for i, e in enumerate(listed) if e.name and e.name not in {o.name for o in listed[:i]} and e.xyz]
    if not listed:
        return
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["study", "n", "space", "x", "y", "z"])
    writer.writerows([e.name, e.n, e.space, *focus] for e in listed for focus in e.xyz)
    found = table(text.getvalue())
    assert [(e.name, e.n, e.space, e.xyz) for e in found] == [(e.name, e.n, e.space, e.xyz) for e in listed]


COUNTS = {
    "language_children/children.txt": (27, 453, 616),
    "language_children/children_comprehension.txt": (27, 453, 616),
    "language_children/adults.txt": (23, 107, 431),
    "treatment_proxies/antidepressant_titles_N20.txt": (30, 509, 600),
    "treatment_proxies/psychotherapy_curated_N20.txt": (20, 795, 400),
    "treatment_proxies/psychotherapy_curated_max60foci_N20.txt": (18, 417, 360),
    "treatment_proxies/affect_216_N20.txt": (216, 3869, 4320),
    "reward_talairach/one.txt": (119, 769, 2126),
    "reward_talairach/two.txt": (195, 1722, 3675),
    "reward_talairach/three.txt": (131, 698, 2306),
    "reward_talairach/four.txt": (267, 2553, 4626),
}


@pytest.mark.parametrize(("name", "counts"), COUNTS.items())
def test_counts_of_real_files(name, counts):
    found = read_foci(shared(name))
    subjects = int(found["experiment_n_subjects"].sum())
    assert (found.sizes["experiment"], found.sizes["focus"], subjects) == counts
    assert np.unique(found["experiment_id"].values).size == np.unique(found["experiment_key"].values).size == counts[0]


def test_four_real_files_in_two_spaces():
    paths = sorted(shared("ptsd_mixed_space").glob("BP_*.txt"))
    found = read_foci(*paths)
    assert (len(paths), found.sizes["experiment"], found.sizes["focus"]) == (4, 25, 159)
    raw = [e for path in paths for e in parse(path.read_bytes(), name=path.name)]
    for e, xyz in zip(raw, foci_of(found), strict=True):
        assert e.space == ("TAL" if "_Tal" in e.source else "MNI")
        assert (e.space == "MNI") == np.array_equal(xyz, e.xyz)
