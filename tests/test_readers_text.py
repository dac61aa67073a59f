"""Text files as people have them: the right reading and a word on it, or one error that says what to do."""

from __future__ import annotations

import pytest

from ale_dask.data.decisions import decisions
from ale_dask.data.foci import build
from ale_dask.data.readers import parse, read_foci, write_sleuth
from ale_dask.words.errors import InputError


def read(text, *, name="f.txt", **options):
    """Return the experiments of a text and the decisions made about it, by code."""
    made = []
    data = text if isinstance(text, bytes) else text.encode()
    found = parse(data, name=name, tell=made.append, **options)
    return found, {one.code: one for one in made}


def refused(text, **options):
    """Return the message of the error that a text is refused with."""
    with pytest.raises(InputError) as caught:
        read(text, **options)
    return str(caught.value)


HEAD = "// Reference=MNI\n// Alpha 2018\n// Subjects=22\n-24 -20 -16\n\n"


@pytest.mark.parametrize(
    "line",
    [
        "// Refrence=Talairach",
        "// Reference: Talairach",
        "// Space=Talairach",
        "// Reference Talairach",
        "// Referance = TAL",
        "// Talairach",
        "// Coordinate space: tal",
        "// template=talairach",
    ],
)
def test_a_misspelt_reference_line_is_one_and_never_part_of_a_name(line, tmp_path):
    found, said = read(f"{HEAD}{line}\n// Beta 2020\n// Subjects=18\n26 -22 -16\n")
    assert [(e.name, e.n, e.space) for e in found] == [("Alpha 2018", 22, "MNI"), ("Beta 2020", 18, "TAL")]
    assert said["reference-line"].where == "f.txt:6"
    assert line in said["reference-line"].message
    assert build(found)["focus_xyz"].values[1].round(2).tolist() == [28.82, -23.30, -20.29]


def test_the_format_s_own_words_need_no_word():
    assert read(f"{HEAD}// reference = TAL\n// Beta\n//subject= 18\n26 -22 -16\n")[1] == {}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("// Refrence=Talairch", "cannot tell the space"),
        ("// Space: MNI or Talairach", "cannot tell the space"),
        ("// Reference: Smith 2010", "cannot tell the space"),
        ("// Reference=Mars", "unknown space 'Mars'"),
        ("// Beta 2020, Reference=Talairach", "stands inside the name"),
        ("// Beta 2020 (Subjects=12)", "stands inside the name"),
        ("// Subjcts=many", "cannot tell the sample size"),
        ("// 12 -34 5 left amygdala", "a focus left out or a name"),
    ],
)
def test_lines_that_could_mean_two_things_are_errors(line, said):
    message = refused(f"{HEAD}{line}\n// Beta 2020\n// Subjects=18\n26 -22 -16\n")
    assert message.startswith("f.txt:6: ")
    assert said in message


@pytest.mark.parametrize(
    "name",
    [
        "Preference: sweet > sour",
        "Space: near > far",
        "Subjects: patients > controls",
        "n-back: 2 > 0",
        "N 2001",
        "1 2",
    ],
)
def test_names_that_look_like_other_lines_stay_names(name):
    found, said = read(f"{HEAD}// {name}\n// Subjects=18\n26 -22 -16\n")
    assert found[1].name == name
    assert said == {}


@pytest.mark.parametrize(
    "line", ["// Subjets=14", "// Subjects: 14", "// N=14", "// n: 14", "// Sample size = 14", "// 14 subjects"]
)
def test_a_stated_sample_size_wins_over_the_one_given(line, tmp_path):
    path = tmp_path / "f.txt"
    path.write_text(f"{HEAD}// Beta 2020\n{line}\n26 -22 -16\n")
    found = read_foci(path, n=20)
    assert found["experiment_n_subjects"].values.tolist() == [22, 14]
    assert [(d.code, d.where) for d in decisions(found)] == [("subjects-line", "f.txt:7")]


@pytest.mark.parametrize("options", [{}, {"n": 20}])
def test_sample_sizes_above_the_names_are_those_of_what_follows(options, tmp_path):
    path = tmp_path / "f.txt"
    path.write_text(
        "//Reference=MNI\n//Subjects=12\n//Alpha 2018\n-24 -20 -16\n-24 -20 -10\n"
        "//Subjects=14\n//Beta 2019\n-22 -4 -16\n"
    )
    found = read_foci(path, **options)
    assert found["experiment_name"].values.tolist() == ["Alpha 2018", "Beta 2019"]
    assert found["experiment_n_subjects"].values.tolist() == [12, 14]
    assert [(d.code, d.count) for d in decisions(found)] == [("subjects-above-name", 2)]


def test_sample_sizes_above_the_names_of_experiments_without_foci():
    found, _ = read("//Reference=MNI\n//Subjects=12\n//A\n//faces\n//Subjects=14\n//B\n1 2 3\n")
    assert [(e.name, e.n, len(e.xyz)) for e in found] == [("A; faces", 12, 0), ("B", 14, 1)]


def test_a_focus_behind_slashes_is_left_out_and_told():
    found, said = read("// Reference=MNI\n// A\n// Subjects=9\n1 2 3\n// 12 -34 5\n//-1,5; 2; 3; 4.1\n4 5 6\n")
    assert [(e.name, e.xyz) for e in found] == [("A", ((1, 2, 3), (4, 5, 6)))]
    assert (said["focus-left-out"].where, said["focus-left-out"].count) == ("f.txt:5, f.txt:6", 2)


@pytest.mark.parametrize("above", ["1 2 3\n", ""])
def test_a_comment_inside_an_experiment_is_an_error_and_starts_none(above):
    text = f"// Reference=MNI\n// A\n// Subjects=9\n{above}// right hemisphere\n4 5 6\n"
    assert "'// right hemisphere' stands inside an experiment" in refused(text)
    # Where no experiment has a sample size, it is one as all others.
    assert len(read("// Reference=MNI\n// A\n1 2 3\n// B\n4 5 6\n")[0]) == 2


def test_headings_are_in_no_name():
    found, said = read("// My meta-analysis\n// of faces\n// Reference=MNI\n// Alpha\n// Subjects=9\n1 2 3\n")
    assert [(e.name, e.source) for e in found] == [("Alpha", "f.txt:4")]
    assert "My meta-analysis; of faces" in said["heading"].message
    # Here the Reference line stands below the name.
    found, said = read("// Alpha\n// Reference=MNI\n// Subjects=9\n1 2 3\n")
    assert (found[0].name, said) == ("Alpha", {})


def test_a_banner_without_slashes_is_told_what_to_do():
    message = refused("My meta-analysis\nx y z\n\n" + HEAD)
    assert message.count("neither a focus nor a line that begins with //") == 2
    assert "f.txt:1: " in message
    assert "f.txt:2: " in message


def test_names_with_a_blank_line_inside_are_told():
    found, said = read("// Reference=MNI\n// Alpha\n\n// Beta\n// Subjects=9\n1 2 3\n")
    assert found[0].name == "Alpha; Beta"
    assert said["names-apart"].where == "f.txt:4"


def test_wrapped_names_are_told_all_at_once():
    one = "// Alpha, 2011. waiting (the other player’s turn,\none’s own turn)\n// Subjects=18\n0\t8\t36\n\n"
    message = refused("// Reference=MNI\n" + 25 * one)
    assert message.count("begin the line with // if it is part of a name") == 20
    assert "f.txt:3: found 'one’s own turn)'" in message
    assert "25 lines in all" in message


def test_all_bad_lines_of_a_file_are_told_at_once():
    message = refused("// Reference=Mars\n// A\n// Subjects=many\n1 2\n1 2 3 4 5\n// B\n// Subjects=0\n1 2 x\n4 5 6\n")
    assert [line.partition(" ")[0] for line in message.splitlines()[:-1]] == [
        *("f.txt:1:", "f.txt:3:", "f.txt:4:", "f.txt:5:", "f.txt:8:", "f.txt:7:", "f.txt:2:")
    ]


def test_windows_quotes_are_quotes():
    text = "// Reference=MNI\r\n// Alpha, 2011. the other player’s turn – A\r\n// Subjects=18\r\n0\t8\t36\r\n"
    found, said = read(text.encode("cp1252"))
    assert found[0].name == "Alpha, 2011. the other player’s turn – A"
    assert said["encoding"].where == "f.txt:2"
    # The same after a program took it for Latin-1 and saved it as UTF-8.
    found, said = read(text.encode("cp1252").decode("latin-1").encode())
    assert found[0].name == "Alpha, 2011. the other player’s turn – A"
    assert "encoding" in said
    assert read(text)[1] == read(text.encode("utf-16"))[1] == read(text.encode("utf-8-sig"))[1] == {}


def test_bytes_of_two_encodings_or_of_none_are_errors():
    text = "// Reference=MNI\n// Müller\n// Subjects=9\n1 2 3\n"
    assert "f.txt:6: not UTF-8, as other lines" in refused(text.encode() + "\n// Strauß\n".encode("cp1252"))
    assert "f.txt:5: the byte 0x8f" in refused(text.replace("ü", "u").encode() + b"// caf\x8f\n")
    assert "UTF-16 without its mark" in refused(text.encode("utf-16-le"))


def test_cells_of_a_spreadsheet():
    text = '"// Reference=MNI",,\n"// Smith, 2010 ""A"": faces",,\n// Subjects=12,,\n1,2,3\n'
    found, said = read(text)
    assert [(e.name, e.n, e.xyz) for e in found] == [('Smith, 2010 "A": faces', 12, ((1, 2, 3),))]
    assert said["spreadsheet-line"].count == 3


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (rb"{\rtf1\ansi\deff0 {\fonttbl} // Reference=MNI\par 1 2 3\par}", "RTF document"),
        (b"%PDF-1.7\n1 0 obj\n", "PDF"),
        (b"<!DOCTYPE html>\n<html><body>// Reference=MNI</body></html>", "web page"),
        (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.", "not a text file"),
    ],
)
def test_other_documents_are_told_from_text(data, said):
    message = refused(data)
    assert said in message
    assert "save" in message or "give" in message


def test_no_subjects_and_no_foci_is_an_experiment_without_foci(tmp_path):
    path = tmp_path / "f.txt"
    path.write_text(f"{HEAD}// Beta 2020\n// Subjects=0\n\n// Gamma 2021\n// Subjects=18\n1 2 3\n")
    for options in ({}, {"n": 20}):
        found = read_foci(path, **options)
        assert found["experiment_n_subjects"].values.tolist() == [22, 0, 18]
        assert [(d.code, d.where) for d in decisions(found)] == [("no-subjects", "f.txt:6")]


@pytest.mark.parametrize("name", ["Space: MNI", "N=12", "1 2 3", "A (Subjects=3)", "Reference: A", "A,,"])
def test_a_name_is_written_only_if_it_is_read_as_one(name):
    found, _ = read(f'study,n,space,x,y,z\n"{name}",9,MNI,1,2,3\n', name="t.csv")
    with pytest.raises(InputError, match="cannot be written"):
        write_sleuth(build(found))
