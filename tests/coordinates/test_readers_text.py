"""Text files in the forms that people write: they are read with a note, or refused with one error that helps."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from ale_dask.config.study import load_study
from ale_dask.coordinates.decisions import decisions
from ale_dask.coordinates.foci import build
from ale_dask.coordinates.readers import parse, read_foci, write_sleuth
from ale_dask.errors import InputError


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


def test_a_misspelt_sample_size_may_be_in_words():
    found, said = read(f"{HEAD}// Beta 2020\n// N: 14 (12 f)\n26 -22 -16\n")
    assert (found[1].name, found[1].n) == ("Beta 2020", 14)
    assert set(said) == {"subjects-line", "n-in-words"}


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
    assert message.startswith("f.txt:3,8,13,18,23 and 20 more: found 'one’s own turn)'")
    assert "begin the line with // if it is part of a name" in message
    assert "25 lines in all" in message


def test_all_bad_lines_of_a_file_are_told_at_once():
    message = refused("// Reference=Mars\n// A\n// Subjects=many\n1 2\n1 2 3 4 5\n// B\n// Subjects=0\n1 2 x\n4 5 6\n")
    assert [line.partition(" ")[0] for line in message.splitlines()[:-1]] == [
        *("f.txt:1:", "f.txt:3:", "f.txt:4:", "f.txt:5:", "f.txt:8:", "f.txt:7:")
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


def write_three(folder):
    """Write three files of one experiment each, a hidden file and a folder beside them."""
    folder.mkdir()
    for i in range(3):
        (folder / f"Study{i}-StopS.txt").write_text(
            f"// Reference=MNI\n// Study{i}, 2010: stop > go\n// Subjects={14 + i}\n-40 20 {2 * i}\n"
        )
    (folder / ".hidden.txt").write_text("none of ours")
    (folder / "inner").mkdir()
    return folder


@pytest.mark.parametrize("files", ["foci", "foci/", "foci/*StopS*.txt", "foci/Study[0-2]*"])
def test_the_files_of_a_folder_or_pattern_are_one_sample(files, tmp_path):
    write_three(tmp_path / "foci")
    found = read_foci(tmp_path / files)
    assert found["experiment_n_subjects"].values.tolist() == [14, 15, 16]
    assert found["focus_xyz"].values.tolist() == [[-40, 20, 0], [-40, 20, 2], [-40, 20, 4]]
    (said,) = decisions(found)
    assert (said.code, said.count) == ("files", 3)
    (tmp_path / "study.toml").write_text(
        f'[foci.stop]\nfiles = "{files}"\n[analysis.stop]\nkind = "main-effect"\nfoci = "stop"\n'
    )
    study = load_study(tmp_path / "study.toml")
    assert [Path(file).name for file in study.foci["stop"].files] == [f"Study{i}-StopS.txt" for i in range(3)]


def test_a_name_with_the_signs_of_a_pattern_is_a_name(tmp_path):
    (tmp_path / "a[1].txt").write_text(HEAD)
    (tmp_path / "a1.txt").write_text(HEAD.replace("22", "23"))
    assert read_foci(tmp_path / "a[1].txt")["experiment_n_subjects"].values.tolist() == [22]
    assert read_foci(tmp_path / "a[1-9].txt")["experiment_n_subjects"].values.tolist() == [23]


def test_folders_and_patterns_without_files_are_errors(tmp_path):
    with pytest.raises(InputError, match="no files in the folder"):
        read_foci(tmp_path)
    with pytest.raises(InputError, match=r"/\*\.txt: no file fits the pattern"):
        read_foci(tmp_path / "*.txt")


SDM = {
    "smith2010.mni.txt": "-24,-4,-18,3.52\n10,20,30,4.1\n",
    "jones2011.spm_tal.txt": "x,y,z,t\n26 -22 -16 -2.1\n",
    "ab.no_peaks.txt": "",
    "c.d.fsl_mni.txt": "1.5\t2\t3\n",
}


def test_files_of_sdm(tmp_path):
    for name, text in SDM.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="3 of 4 experiments have no sample size"):
        read_foci(tmp_path)
    found = read_foci(tmp_path, n=20, talairach="spm")
    assert found["experiment_name"].values.tolist() == ["ab", "c.d", "jones2011", "smith2010"]
    assert found["experiment_space"].values.tolist() == ["MNI", "MNI", "TAL-spm", "MNI"]
    assert np.bincount(found["focus_experiment"].values, minlength=4).tolist() == [0, 1, 1, 2]
    said = {d.code: (d.where, d.count) for d in decisions(found)}
    assert said["sdm-text"][1] == 4
    assert said["negative-t"] == said["sdm-software"] == ("jones2011.spm_tal.txt", 1)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.mni.txt", "", "a.mni.txt:1: no foci in the whole file"),
        ("a.mni.txt", "1 2 3\n1 2\n1 b 3\n", "2 lines in all"),
        ("a.no_peaks.txt", "1 2 3 4\n", "the name says that the study has no peaks"),
    ],
)
def test_errors_in_files_of_sdm(name, text, said):
    assert said in refused(text, name=name)


def test_a_sleuth_file_with_the_name_of_one_of_sdm_is_sleuth_text():
    assert read(HEAD, name="a.mni.txt")[0][0].name == "Alpha 2018"


def test_what_never_ends_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.txt"))
        for path, kind in (
            ("/dev/zero", "a device"),
            (tmp_path / "pipe.txt", "a pipe"),
            (tmp_path / "s.txt", "a socket"),
        ):
            with pytest.raises(
                InputError,
                match=rf"{path}: cannot read the file \(it is {kind}.*; give a file, or a copy of its content in one$",
            ):
                read_foci(path)
            with pytest.raises(
                InputError,
                match=rf"{path}: cannot read the file \(it is {kind}.*; give a file, or a copy of its content in one$",
            ):
                load_study(path)
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match="more than"):
        read_foci(tmp_path / "huge.txt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04\xff\xfe", "not a study.toml"),
        (b"a=" + 100_000 * b"[", "nested too deeply"),
        (b".".join(20_000 * [b"a"]) + b"=1", "keys of more than 100 parts"),
        (b"#" + (1 << 24) * b"a", "more than"),
        (b"\x80\x04\x95\x10", "not a study.toml"),
    ],
)
def test_what_is_no_study_is_one_error(content, said, tmp_path):
    (tmp_path / "study.toml").write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        load_study(tmp_path / "study.toml")
    assert "\n" not in str(caught.value)


def test_a_file_name_that_is_no_text(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    try:
        with open(path, "wb") as file:
            file.write(HEAD.encode())
    except OSError:
        # Some disks have only names that are UTF-8.
        return
    found = read_foci(os.fsdecode(path))
    assert found["experiment_source"].values.tolist() == ["caf\ufffd.txt:2"]


@pytest.mark.parametrize("name", [",;" * 500_000 + "x", "=" * 1_000_000, "Reference " * 100_000, ":a" * 500_000])
def test_a_name_of_a_million_signs_takes_no_time(name):
    # A pattern that looks for the end of a line from each of its signs would need 10^12 steps.
    assert read(f"// Reference=MNI\n// a{name}\n// Subjects=9\n1 2 3\n")[0][0].name == f"a{name}".strip()
