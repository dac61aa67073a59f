"""Readers of workbooks, gzipped files and tables with an id: the same foci as from plain tables, or InputError."""

import datetime
import gzip
import io
import re
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import strategies as ours
from support.real_data import shared

from ale_dask.coordinates.foci import build, n_foci, table
from ale_dask.coordinates.readers import parse, read_foci
from ale_dask.coordinates.readers import table as table_reader
from ale_dask.coordinates.readers.foci_file import FociFile
from ale_dask.coordinates.readers.packed import limit
from ale_dask.errors import InputError
from ale_dask.schema import FOCI, check

HEADER = ["study", "contrast", "n", "space", "x", "y", "z", "age", "drug"]
ROWS = [
    HEADER,
    ["Ab", "one", 12, "MNI", 1, 2.5, -3, 30.5, True],
    [],
    ["Ab", "one", 11, "MNI", 4, 5, 6, 30.5, True],
    ["C", None, 9, "TAL", None, None, None, None, False],
]
BOOK = ours.shared_strings(ours.workbook({"Notes": [["made by hand"]], "Foci": [[], *ROWS]}))


def contents(experiments):
    return [(e.name, e.n, e.space, e.xyz, dict(e.columns), e.study) for e in experiments]


def wrong(data, *, name="b.xlsx", **options):
    with pytest.raises(InputError) as caught:
        parse(data, name=name, **options)
    return str(caught.value)


def test_a_workbook_reads_as_the_same_table_in_text_does():
    found = parse(BOOK, name="b.xlsx")
    text = "\n".join(
        ",".join("" if c is None else str(c).lower() if c is True or c is False else str(c) for c in row)
        for row in ROWS
    )
    assert contents(found) == contents(parse(text.encode(), name="t.csv"))
    assert [e.source for e in found] == ["b.xlsx:Foci:3", "b.xlsx:Foci:6"]


def test_dates_and_whole_numbers_stored_as_fractions():
    rows = [[*HEADER[:7], "when"], ["A", "", 9.0, "MNI", 1.0, 2, 3, datetime.datetime(2020, 1, 31)]]
    (found,) = parse(ours.workbook({"S": rows}), name="b.xlsx")
    assert (found.n, found.xyz, found.columns["when"]) == (9, ((1, 2, 3),), "2020-01-31")


def test_a_workbook_without_the_columns_names_its_sheets():
    message = wrong(ours.workbook({"One": [["study", "x", "y"]], "Two": []}))
    assert message == "b.xlsx: no sheet begins with the columns study, x, y, z; its sheets are 'One', 'Two'"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["A", "", 9, "MNI", 1, 2], "b.xlsx:S:2: '' in '1 2 ' is not a number"),
        (["A", "", 0, "MNI", 1, 2, 3], "b.xlsx:S:2: sample size '0'"),
        (["A", "", 9, "Mars", 1, 2, 3], "b.xlsx:S:2: unknown space 'Mars'"),
        (["A", "", 9, "MNI", 1, 2, "#DIV/0!"], "b.xlsx:S:2: '#DIV/0!' in"),
        (["A", "", 9, "MNI", 1, 2, 3, "", "", "beyond"], "b.xlsx:S:2: 10 values under 9 columns"),
        (["", "", 9, "MNI", 1, 2, 3], "b.xlsx:S:2: the row has no study"),
        (["A", *[None] * 255, 1], "b.xlsx:S:2: more than 256 columns"),
    ],
)
def test_errors_in_a_workbook_name_its_sheet_and_row(row, message):
    assert message in wrong(ours.workbook({"S": [HEADER, row]}))


def test_a_sheet_of_a_million_rows_left_out_takes_no_time():
    rows = [HEADER, ["A", "", 9, "MNI", 1, 2, 3]]

    def far(member, content):
        return content.replace(b'r="2"', b'r="1048576"').replace(b'"A2"', b'"A1048576"')

    (found,) = parse(ours.repacked(ours.workbook({"S": rows}), far), name="b.xlsx")
    assert found.source == "b.xlsx:S:1048576"


def test_a_row_number_beyond_all_sheets_does_not_hang():
    data = ours.repacked(BOOK, lambda member, content: content.replace(b'r="6"', b'r="99999999999"'))
    assert [e.name for e in parse(data, name="b.xlsx")] == ["Ab; one"]


def test_bombs_are_refused_before_they_are_read():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", bytes(limit(200_000)))
    assert "unpacks to more than" in wrong(out.getvalue())
    packed = gzip.compress(b"study,x,y,z\n" + b"," * limit(200_000), mtime=0)
    assert "b.xlsx: unpacks to more than" in wrong(packed)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused(encoding):
    xml = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><sst>&c;</sst>'.encode(encoding)
    data = ours.repacked(BOOK, lambda member, content: xml if "sharedStrings" in member else content)
    assert "b.xlsx: 'xl/sharedStrings.xml' declares entities" in wrong(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (BOOK[:-400], "b.xlsx: the workbook is damaged"),
        (b"PK\x03\x04", "b.xlsx: the workbook is damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and so on", "b.xlsx: an old (.xls) or an encrypted workbook"),
        (ours.repacked(BOOK, lambda member, content: b"<"), "b.xlsx: the workbook cannot be read"),
        (gzip.compress(b"study,x,y,z\n", mtime=0)[:-9], "b.xlsx: the gzip file is cut off"),
        (b"\x1f\x8b\x08 no", "b.xlsx: the gzip file is damaged"),
    ],
)
def test_damaged_files_are_refused(data, message):
    assert message in wrong(data)


@pytest.mark.parametrize("data", [ours.TABLE, BOOK, b"// Reference=MNI\n// A\n// Subjects=9\n1 2 3\n"])
def test_a_gzipped_file_reads_as_what_is_in_it(data):
    half = len(data) // 2
    packed = gzip.compress(data[:half], mtime=0) + gzip.compress(data[half:]) + bytes(512)
    assert contents(parse(packed, name="f.gz")) == contents(parse(data, name="f"))


@ours.QUICK
@given(
    data=ours.damaged(files=st.just(BOOK))
    | ours.damaged_workbooks(data=BOOK)
    | ours.damaged(files=st.just(gzip.compress(ours.TABLE, mtime=0)))
    | ours.damaged(files=st.just(ours.TABLE)).map(gzip.compress)
)
def test_any_damage_gives_foci_or_an_input_error(data):
    try:
        found = build(parse(data, name="f", space="MNI"))
    except InputError as error:
        found, message = None, str(error)
    if found is None:
        assert re.match(r"f(:.+)?: ", message, re.DOTALL)
    else:
        check(found, *FOCI)
        assert int(n_foci(found).sum()) == found.sizes["focus"] > 0


@ours.QUICK
@given(ours.experiments(columns=False))
def test_round_trip_through_a_workbook(listed):
    listed = [e for i, e in enumerate(listed) if e.name and e.name not in {o.name for o in listed[:i]} and e.xyz]
    if not listed:
        return
    # openpyxl writes numbers with 16 digits.
    listed = [replace(e, xyz=tuple(tuple(float(f"{c:.16g}") for c in p) for p in e.xyz)) for e in listed]
    rows = [[f"'{e.name}'", e.n, e.space, *focus] for e in listed for focus in e.xyz]
    found = parse(ours.workbook({"S": [["study", "n", "space", "x", "y", "z"], *rows]}), name="b.xlsx")
    assert [(e.name, e.n, e.space, e.xyz) for e in found] == [(f"'{e.name}'", e.n, e.space, e.xyz) for e in listed]


NEUROSYNTH = (
    "id\ttable_id\ttable_num\tpeak_id\tspace\tx\ty\tz\n"
    "101\t7\t1.\t1\tMNI\t1\t2\t3\n101\t8\t2.\t2\tMNI\t4\t5\t6\n102\t9\t1.\t3\tUNKNOWN\t7\t8\t9\n103\t9\t1.\t4\tTAL\t7\t8\t9\n"
)
STUDIES = (
    "id\tdoi\tspace\ttitle\tyear\n102\t10.1\tUNKNOWN\tFear, and\t2001\n101\t10.2\tMNI\tJoy\t1999\n"
    "999\t10.3\tMNI\tNot there\t2000\n"
)


def test_a_study_is_its_id_and_unknown_spaces_are_those_of_the_reader():
    a, b, c = parse(NEUROSYNTH.encode(), name="t.tsv", space="MNI")
    assert [(e.name, e.study, e.space, len(e.xyz), dict(e.columns)) for e in (a, b, c)] == [
        ("101", "101", "MNI", 2, {}),
        ("102", "102", "MNI", 1, {}),
        ("103", "103", "TAL", 1, {}),
    ]
    assert "t.tsv:4: no space for '102'; add a column space" in wrong(NEUROSYNTH.encode(), name="t.tsv")


@pytest.mark.parametrize("column", ["pmid", "PMID", "pmcid", "id"])
def test_neuroquery_has_pmid_and_no_space(column):
    text = f"{column},x,y,z\n1,2,3,4\n1,5,6,7\n".encode()
    assert [(e.name, len(e.xyz), e.space) for e in parse(text, name="c.csv", space="MNI")] == [("1", 2, "MNI")]
    assert "c.csv:2: no space for '1'" in wrong(text, name="c.csv")


def test_an_id_beside_a_study_is_a_column():
    (found,) = parse(b"study,id,space,x,y,z\nA,12,MNI,1,2,3\n", name="t.csv")
    assert (found.name, found.columns) == ("A", {"id": "12"})


def test_a_table_of_studies_adds_its_columns_and_moves_no_key(tmp_path):
    (tmp_path / "c.tsv.gz").write_bytes(gzip.compress(NEUROSYNTH.encode(), mtime=0))
    (tmp_path / "m.tsv.gz").write_bytes(gzip.compress(STUDIES.encode(), mtime=0))
    alone = read_foci(tmp_path / "c.tsv.gz", n=20, space="MNI")
    both = read_foci(tmp_path / "m.tsv.gz", tmp_path / "c.tsv.gz", n=20, space="MNI")
    assert np.array_equal(alone["experiment_key"].values, both["experiment_key"].values)
    rows = table(both)
    assert rows["title"].tolist() == ["Joy", "Fear, and", ""]
    assert rows["year"].tolist()[:2] == [1999, 2001]
    with pytest.raises(InputError, match=r"m\.tsv\.gz: no foci, and its studies are none of those"):
        read_foci(tmp_path / "m.tsv.gz")


@pytest.mark.parametrize("row", ["101\t1\tMNI\tt\t1", "\t1\tMNI\tt\t1", "103\t1\tMNI\tt\t1\t2"])
def test_wrong_rows_of_studies_are_named_by_line(tmp_path, row):
    (tmp_path / "m.tsv").write_text(STUDIES + row)
    with pytest.raises(InputError, match=r"m\.tsv:5: "):
        read_foci(tmp_path / "m.tsv")


def test_many_missing_sample_sizes_are_not_all_named(tmp_path):
    (tmp_path / "c.csv").write_text("id,space,x,y,z\n" + "".join(f"{i},MNI,1,2,3\n" for i in range(250)))
    with pytest.raises(InputError, match=r"250 of 250 experiments .* c\.csv:101 99 and 150 more; write it"):
        read_foci(tmp_path / "c.csv")


@ours.QUICK
@given(
    st.lists(
        st.tuples(
            st.sampled_from("AB"),
            st.sampled_from(["9", "8", ""]),
            st.sampled_from(["MNI", "", "unknown"]),
            st.sampled_from(["1", "2,5", "-0.0", "\u22123", ""]),
            st.sampled_from(["", "x"]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_rows_seen_before_are_read_as_rows_seen_first(rows):
    """A row's study, size, space and columns are checked once: a column that differs in every row undoes that."""
    text = ["study;n;space;x;y;z;tag", *(";".join([s, n, space, c, c, c, t]) for s, n, space, c, t in rows)]
    spaced = [line + " " * i for i, line in enumerate(text)]

    def read(lines):
        try:
            return contents(table_reader.read(FociFile("\n".join(lines).encode(), "t", "TAL")))
        except InputError as error:
            return str(error)

    assert read(text) == read(spaced)


@pytest.mark.integration
def test_all_of_neurosynth_in_10_seconds_and_1_gb():
    path = shared("neurosynth_v7/v7_clean.csv.gz")
    code = (
        "import resource, sys, time; from ale_dask.coordinates.readers import read_foci\n"
        "begin = time.process_time(); found = read_foci(sys.argv[1], n=20, space='MNI')\n"
        # Linux hands the peak of the process that starts another on to it: VmHWM is the new process's own.
        "status = open('/proc/self/status') if sys.platform == 'linux' else ()\n"
        "own = [int(line.split()[1]) * 1024 for line in status if line.startswith('VmHWM')]\n"
        "peak = own[0] if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(found.sizes['experiment'], found.sizes['focus'], time.process_time() - begin, peak)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    experiments, foci, seconds, peak = map(float, done.stdout.split())
    assert (experiments, foci) == (14_371, 448_255)
    assert seconds < 10
    assert peak < 1e9
