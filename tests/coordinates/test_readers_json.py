"""JSON of NIMADS and NiMARE and images of GingerALE are read; what is written is read back."""

import gzip
import json
import re
import struct
import tracemalloc

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import strategies as ours
from support.real_data import image_in, shared

import ale_dask as ale
from ale_dask.coordinates.foci import build, foci_of, n_foci, subset, table
from ale_dask.coordinates.readers import formats, images, nimads, nimare, parse, write_nimads, write_table
from ale_dask.coordinates.readers.foci_file import FociFile
from ale_dask.coordinates.readers.text import as_space
from ale_dask.errors import InputError
from ale_dask.schema import FOCI, check

FEW = settings(ours.QUICK, max_examples=25)
SAME = [v for v in FOCI if v not in ("experiment_source", "experiment_key")]


def one(*foci, study=None, space=None, annotations=(), **further):
    (found,) = parse(
        ours.study_set(ours.analysis(*foci, **further), study=study, annotations=list(annotations)),
        name="f.json",
        space=space,
    )
    return found


def test_experiments_of_a_study_set_are_read():
    a, b = parse(ours.STUDY_SET, name="f.json")
    assert (a.name, a.study, a.n, a.space) == ("Smith J et al. 2010; faces", "Smith J et al. 2010", 9, "MNI")
    assert a.xyz == ((1, 2, 3), (-4.5, 0, 6))
    assert a.columns == {"blind": "yes", "age": "30.5", "drug": "true", "include": "true"}
    assert a.source == "f.json: studies[0].analyses[0]"
    assert (b.name, b.n, b.space, b.xyz) == ("Smith J et al. 2010; houses", 20, "TAL", ((7, 8, 9),))
    assert b.columns == {"blind": "yes", "drug": "false"}


def test_booleans_are_tags():
    found = build(parse(ours.STUDY_SET, name="f.json"))
    assert found["tag"].values.tolist() == ["blind", "drug", "include"]
    assert found["experiment_tag"].values.tolist() == [[True, True, True], [True, False, False]]
    assert found["moderator_age"].values.tolist()[0] == 30.5


@pytest.mark.parametrize(
    ("study", "title"),
    [
        ({"authors": "Smith J", "year": 2010, "name": "On faces"}, "Smith J 2010"),
        ({"authors": "Smith J; Lee K", "year": "2010"}, "Smith J et al. 2010"),
        ({"authors": "Smith J", "year": None, "name": "On faces: a study"}, "On faces: a study"),
        ({"authors": "None", "year": 2010, "name": "On faces"}, "On faces"),
        ({"name": None, "id": "3kgA"}, "3kgA"),
        ({"name": "", "id": 17}, "17"),
        ({"name": None, "id": None}, "study 0"),
    ],
)
def test_what_a_study_is_called(study, title):
    found = one((1, 2, 3), study=study)
    assert (found.study, found.name) == (title, f"{title}; faces")


def test_two_studies_of_one_author_and_year_stay_two():
    studies = [{"id": i, "authors": "Li A", "year": 2010, "analyses": [ours.analysis((1, 2, 3))]} for i in "pq"]
    found = parse(json.dumps({"studies": studies}).encode(), name="f.json")
    assert [e.study for e in found] == ["Li A 2010 (p)", "Li A 2010 (q)"]


def test_analyses_without_a_name():
    unnamed = [ours.analysis((1, 2, 3), id=i, name=None) for i in ("a1", "a2")]
    assert [e.name for e in parse(ours.study_set(*unnamed), name="f")] == ["Smith 2010; a1", "Smith 2010; a2"]
    assert [e.name for e in parse(ours.study_set(unnamed[0]), name="f")] == ["Smith 2010"]


@pytest.mark.parametrize(
    ("metadata", "n"),
    [
        ({"sample_sizes": [20, 12]}, 12),
        ({"sample_size": 12.0}, 12),
        ({"Sample Size": "12"}, 12),
        ({"sample_sizes": None, "sample_size": 12}, 12),
        ({"sample_sizes": [None, 12, float("nan")]}, 12),
        ({"sample_size": "None"}, 30),
        ({"sample_sizes": []}, 30),
        (None, 30),
    ],
)
def test_the_sample_size_of_an_analysis_goes_before_that_of_its_study(metadata, n):
    assert one((1, 2, 3), metadata=metadata, study={"metadata": {"sample_size": 30}}).n == n


def test_a_note_knows_the_sample_size_best():
    note = {"analysis": "a1", "note": {"sample_size": 7, "include": True}}
    found = one((1, 2, 3), metadata={"sample_sizes": [12]}, annotations=[{"id": "n", "notes": [note]}])
    assert (found.n, found.columns) == (7, {"include": "true"})


def test_notes_find_their_analysis_as_in_nimare():
    studies = [{"id": s, "name": s, "analyses": [ours.analysis((1, 2, 3), id="1")]} for s in ("p", "q")]
    notes = [
        {"study": "q", "analysis": "1", "note": {"by": "pair"}},
        {"analysis": "p-1", "note": {"by": "full id"}},
        {"analysis": "1", "note": {"by": "an id that two have"}},
        {"analysis": "9", "note": {"by": "an id that none has"}},
    ]
    document = {"studyset": {"studies": studies}, "annotation": {"id": "n", "notes": notes}}
    found = parse(json.dumps(document).encode(), name="f.json")
    assert [e.columns for e in found] == [{"by": "full id"}, {"by": "pair"}]


def test_annotations_with_one_key_have_columns_of_their_own():
    two = [{"name": who, "notes": [{"analysis": "a1", "note": {"included": who == "Ada"}}]} for who in ("Ada", "Bo")]
    found = one((1, 2, 3), metadata={"age": 30}, annotations=[*two, "an id only", two[1]])
    assert found.columns == {"age": "30", "included": "true", "Bo included": "false", "Bo#2 included": "false"}


def test_what_becomes_of_notes_is_said():
    notes = [
        {"analysis": "a1", "note": {"included": True, "load": 2}},
        {"analysis": "gone", "note": {"included": True}},
    ]
    two = [{"name": "Ada", "notes": notes}, {"name": "Bo", "notes": [{"analysis": "a2", "note": {"included": False}}]}]
    data = ours.study_set(ours.analysis((1, 2, 3)), ours.analysis((4, 5, 6), id="a2"), annotations=two)
    told = []
    nimads.read(FociFile(data, "f.json", tell=told.append))
    assert {each.code: (each.count, each.message) for each in told} == {
        "unknown-analysis": (
            1,
            "notes of the annotation 'Ada' on analyses that the study set does not have are left out",
        ),
        "annotation-column": (
            1,
            "'included' is there more than once; the note of another annotation is the column 'Bo included'",
        ),
        "no-note": (1, "'included' counts as false for 1 analyses without such a note"),
    }


def test_notes_select_and_explain_experiments(tmp_path):
    rng = np.random.default_rng(1)
    studies = [
        {"id": f"s{i}", "name": f"S{i}", "analyses": [ours.analysis(*rng.uniform(-9, 9, (2, 3)).tolist(), id=f"a{i}")]}
        for i in range(6)
    ]
    notes = [{"analysis": f"a{i}", "note": {"included": i < 4, "load": 2.5 * i, "task": "n-back"}} for i in range(6)]
    other = [{"analysis": f"a{i}", "note": {"included": i % 2 == 0}} for i in range(6)]
    document = {"studyset": {"studies": studies}, "annotations": [{"notes": notes}, {"name": "Bo", "notes": other}]}
    (tmp_path / "f.json").write_text(json.dumps(document))
    foci = ale.read_foci(tmp_path / "f.json", n=20)
    columns = table(foci)
    assert columns["included"].dtype == bool
    assert columns["load"].tolist() == [0, 2.5, 5, 7.5, 10, 12.5]
    assert columns["task"].tolist() == ["n-back"] * 6
    kept = ale.select(foci, "included and `Bo included` and load > 1")
    assert kept["experiment_study"].values.tolist() == ["S2"]


def test_notes_that_an_analysis_has_itself():
    assert one((1, 2, 3), metadata={"a/b": 1}).columns == {"a_b": "1"}
    data = ours.study_set(ours.analysis((1, 2, 3), annotations={"mine": {"include": True}, "loose": 2}))
    assert parse(data, name="f.json")[0].columns == {"include": "true", "loose": "2"}


@pytest.mark.parametrize("word", [None, "", "UNKNOWN", "unknown", "NaN", "None"])
def test_an_unknown_space_is_for_the_caller_to_say(word):
    assert one((1, 2, 3), space="TAL").space == "MNI"
    data = ours.study_set(ours.analysis((1, 2, 3), space=word))
    assert parse(data, name="f.json", space="TAL")[0].space == "TAL"
    with pytest.raises(InputError, match=r"f\.json: studies\[0\]\.analyses\[0\]\.points\[0\]\.space: the space is"):
        parse(data, name="f.json")


@pytest.mark.parametrize(
    ("word", "space"),
    [
        ("MNI", "MNI"),
        (" mni152 ", "MNI"),
        ("MNI152NLin2009cAsym", "MNI"),
        ("MNI152NLin6Asym", "MNI"),
        ("MNI152Lin", "MNI"),
        ("mni152_2mm", "MNI"),
        ("ale_2mm", "MNI"),
        ("TAL", "TAL"),
        ("Talairach", "TAL"),
        ("MNI305", None),
        ("MNIColin27", None),
        ("MNI152_3mm", None),
        ("total", None),
        ("UNKNOWN", None),
    ],
)
def test_words_for_a_space(word, space):
    assert as_space(word) == space


def test_whole_numbers_and_the_last_digit_of_coordinates():
    assert one((-7, 0.1 + 0.2, -0.0), (1e-300, 999.9999999999999, "\u22124,5")).xyz == (
        (-7.0, 0.30000000000000004, 0.0),
        (1e-300, 999.9999999999999, -4.5),
    )


P = "f.json: studies[0].analyses[0].points[0]"
STUDY_SET_ERRORS = {
    "{}": "f.json:1: JSON, but neither a NIMADS study set",
    "[]": "f.json:1: JSON, but neither",
    '{"studies": [}': "f.json:1: not JSON (Expecting value)",
    '{"studies":\n []\n': "f.json:3: not JSON",
    '{"studies": []}': "f.json: no foci in the whole study set",
    '{"studies": 3}': "f.json: studies: found '3'; it must be a list",
    '{"studies": ["3kgA"]}': "f.json: studies[0]: only the id '3kgA'; download the study set with nested=true",
    '{"studies": [null]}': "f.json: studies[0]: found null; it must be an object",
    '{"studies": [{"analyses": ["6APL"]}]}': "f.json: studies[0].analyses[0]: only the id '6APL'",
    '{"studyset": {"studies": [{"analyses": 1}]}}': "f.json: studyset.studies[0].analyses: found '1'",
    '{"studyset": "3kgA", "notes": []}': "f.json:1: an annotation without its study set",
    '{"studies": [], "studies": []}': "f.json: the key 'studies' is there twice in one object",
    '{"studies": [{"name": "\\ud800"}]}': "f.json: studies[0].name: '\\ud800' holds a character that is none",
    '{"studies": [{"name": "a\\u0000"}]}': "f.json: studies[0].name: 'a\\x00' holds a character that is none",
    '{"studies": [{"name": []}]}': "f.json: studies[0].name: found a list; it must be a text",
    f'{{"studies": [{{"name": "{"n" * 501}"}}]}}': "f.json: studies[0].name: 501 characters",
    f'{{"studies": {"[" * 5000}{"1" * 50_000}{"]" * 5000}}}': "f.json:1: nested too deeply",
    '{"studies": [], "annotations": [{"notes": {}}]}': "f.json: annotations[0].notes: found an object",
    '{"studies": [], "annotation": {"notes": [1]}}': "f.json: annotation.notes[0]: found '1'",
}


@pytest.mark.parametrize(("text", "message"), STUDY_SET_ERRORS.items(), ids=range(len(STUDY_SET_ERRORS)))
def test_errors_in_study_sets(text, message):
    with pytest.raises(InputError) as caught:
        parse(text.encode(), name="f.json")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("coordinates", "message"),
    [
        ("[1, 2]", f"{P}.coordinates: found 2 values in '1 2'"),
        ("[1, 2, 3, 4]", f"{P}.coordinates: found 4 values"),
        ("[]", f"{P}.coordinates: found 0 values"),
        ("null", f"{P}.coordinates: found null; a focus is a list of three numbers"),
        ('"1 2 3"', f"{P}.coordinates: found '1 2 3'"),
        ("[1, 2, null]", f"{P}.coordinates: 'None' in '1 2 None' is not a number"),
        ("[1, 2, true]", f"{P}.coordinates: 'True' in '1 2 True' is not a number"),
        ("[1, 2, [3]]", f"{P}.coordinates: 'a list' in '1 2 a list' is not a number"),
        ("[1, 2, NaN]", f"{P}.coordinates: coordinate 'nan' is not finite"),
        ("[1, -Infinity, 3]", f"{P}.coordinates: coordinate '-inf' is not finite"),
        ("[1, 2, 1e999]", f"{P}.coordinates: coordinate 'inf' is not finite"),
        (f"[1, 2, {'9' * 5000}]", f"{P}.coordinates: coordinate 'inf' is not finite"),
        ("[1, 2, 1001]", f"{P}.coordinates: coordinate '1001' lies beyond 1000 mm"),
    ],
)
def test_coordinates_that_are_none(coordinates, message):
    data = ours.study_set(ours.analysis((1, 2, 3))).replace(b"[1, 2, 3]", coordinates.encode())
    with pytest.raises(InputError) as caught:
        parse(data, name="f.json")
    assert message in str(caught.value)


def test_an_analysis_has_one_space():
    points = ours.analysis((1, 2, 3))["points"] + ours.analysis((1, 2, 3), space="TAL")["points"]
    with pytest.raises(InputError, match=r"points\[1\]\.space: TAL after points in MNI; give an analysis one space"):
        parse(ours.study_set(ours.analysis(points=points)), name="f.json")


@pytest.mark.parametrize("metadata", [{"sample_size": 0}, {"sample_sizes": [12, -1]}, {"sample_size": "many"}])
def test_sample_sizes_that_are_none(metadata):
    with pytest.raises(InputError, match=r"^f\.json: studies\[0\]\.analyses\[0\]\.metadata: sample size '.*' *; write"):
        one((1, 2, 3), metadata=metadata)


def test_experiments_of_a_nimare_dataset_are_read():
    a, b = parse(ours.NIMARE, name="f.json")
    assert (a.name, a.study, a.n, a.space) == ("pain_01; one", "pain_01", 25, "MNI")
    assert (a.xyz, a.columns) == (((1, 2, 3), (-4.5, 0, 6)), {"pain": "0.5"})
    assert a.source == "f.json: 'pain_01'.contrasts.'one'"
    assert (b.name, b.n, b.space, b.xyz, b.columns) == ("pain_01; two", 20, "TAL", ((7, 8, 9),), {"drug": "true"})


def test_contrasts_without_coordinates_have_no_foci():
    absent = {"images": {"z": "z.nii.gz"}, "metadata": {"sample_sizes": [9]}}
    nulls = ours.contrast(coords={"space": "UNKNOWN", "x": [None], "y": [None], "z": [None]})
    found = parse(ours.nimare_dataset(a=ours.contrast((1, 2, 3)), b=absent, c=nulls), name="f.json")
    assert [len(e.xyz) for e in found] == [1, 0, 0]


DATASET_ERRORS = {
    b'{"s": {"contrasts": 1}}': "f.json: 's'.contrasts: found '1'; it must be an object",
    b'{"s": {"contrasts": {}}, "t": 1}': "f.json: 't': found '1'; it must be an object",
    b'{"s": {"contrasts": {}}}': "f.json: no foci in the whole Dataset",
    ours.nimare_dataset(a={"coords": {"x": [1], "y": [2]}}): "'a'.coords: 1 x, 1 y and 0 z; give every focus all three",
    ours.nimare_dataset(a={"coords": {"x": 1}}): "'a'.coords.x: found '1'; it must be a list",
    ours.nimare_dataset(a=ours.contrast((1, 2, 3), space=None)): "'a'.coords.space: the space is not given",
    ours.nimare_dataset(a=ours.contrast((1, 2, 3), space="Mars")): "'a'.coords.space: unknown space 'Mars'",
    ours.nimare_dataset(a=ours.contrast((1, None, 3))): "'a'.coords.x, y, z[0]: 'None' in '1 None 3' is not a number",
    ours.nimare_dataset(a=ours.contrast((1, 2, 3), metadata=1)): "'a'.metadata: found '1'",
}


@pytest.mark.parametrize(("data", "message"), DATASET_ERRORS.items(), ids=range(len(DATASET_ERRORS)))
def test_errors_in_nimare_datasets(data, message):
    with pytest.raises(InputError) as caught:
        parse(data, name="f.json")
    assert message in str(caught.value)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("size", [348, 540])
@pytest.mark.parametrize("pair", [True, False])
def test_an_image_of_gingerale(packed, order, size, pair):
    data = ours.image(ours.EXTENSION, packed=packed, order=order, size=size, pair=pair)
    a, b = parse(data, name="f.nii.gz")
    assert (a.name, a.n, a.space, a.xyz) == ("Smith 2010; faces", 12, "MNI", ((1, 2, 3), (-0.5, 0, 6)))
    assert (b.name, b.n, b.xyz, b.columns) == ("Lee 2011", 9, ((7, 8, 9),), {})
    assert (a.source, b.source) == ("f.nii.gz:extension:4", "f.nii.gz:extension:9")


def test_an_image_as_nibabel_writes_it(tmp_path):
    made = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    made.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"ours"))
    made.header.extensions.append(nib.nifti1.Nifti1Extension("afni", ours.EXTENSION))
    nib.save(made, tmp_path / "f.nii.gz")
    assert ale.read_foci(tmp_path / "f.nii.gz")["experiment_name"].values.tolist() == ["Smith 2010; faces", "Lee 2011"]


def test_both_samples_of_a_contrast_are_told_apart():
    foci = ours.EXTENSION[ours.EXTENSION.index(b"<foci>") :]
    found = parse(ours.image(ours.EXTENSION + foci), name="f.nii")
    assert [(e.name, e.columns["foci_set"]) for e in found] == [
        (name, i) for i in "12" for name in ("Smith 2010; faces", "Lee 2011")
    ]


def test_the_space_of_an_image():
    assert parse(ours.image(ours.EXTENSION.replace(b"MNI", b"Talairach")), name="f.nii")[0].space == "TAL"
    silent = ours.image(ours.EXTENSION.replace(b"Reference", b"Origin"))
    assert parse(silent, name="f.nii", space="TAL")[0].space == "TAL"
    with pytest.raises(InputError, match=r"^f\.nii:extension:4: no Reference line above 'Smith 2010; faces'"):
        parse(silent, name="f.nii")


PLAIN = ours.image(ours.EXTENSION, packed=False)
IMAGE_ERRORS = {
    ours.image(b"<AFNI_attributes/>"): "f.nii: a NIfTI image without foci in its header",
    PLAIN[:348] + b"\0" + PLAIN[349:]: "without foci in its header",
    PLAIN[:400]: "f.nii: the file is cut off inside its header",
    gzip.compress(PLAIN)[:60]: "f.nii: the file is cut off inside its header",
    PLAIN[:108] + struct.pack(">f", np.nan) + PLAIN[112:]: "f.nii: the header says that its volume begins at byte nan",
    PLAIN[:108] + struct.pack(">f", -1) + PLAIN[112:]: "begins at byte -1",
    PLAIN[:352] + struct.pack(">i", 1 << 20) + PLAIN[356:]: "f.nii: a header extension of 1048576 bytes at byte 352",
    PLAIN[:352] + struct.pack(">i", 0) + PLAIN[356:]: "a header extension of 0 bytes",
    ours.image(ours.EXTENSION.replace(b"</foci>", b"")): "f.nii:extension:4: <foci> without its end </foci>",
    ours.image(ours.EXTENSION.replace(b"MNI", b"Mars")): "f.nii:extension:2: unknown space 'Mars'",
    ours.image(
        ours.EXTENSION.replace(b"9\n\n</", b"x\n\n</")
    ): "f.nii:extension:11: 'x' in '7\\t8\\tx' is not a number",
    ours.image(b"<foci>" + b"\n" * 50_000_000): "f.nii: 50,000,368 bytes of header, more than",
}


@pytest.mark.parametrize(("data", "message"), IMAGE_ERRORS.items(), ids=range(len(IMAGE_ERRORS)))
def test_errors_in_images(data, message):
    with pytest.raises(InputError) as caught:
        parse(data, name="f.nii")
    assert message in str(caught.value)


def test_the_volume_of_an_image_is_not_unpacked():
    data = gzip.compress(PLAIN + bytes(50_000_000))
    tracemalloc.start()
    try:
        assert len(parse(data, name="f.nii.gz")) == 2
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


BIG = 200_000
COSTLY = {
    "lists": b"[" + b"[]," * (BIG // 3) + b"1]",
    "objects": b"[" + b"{}," * (BIG // 3) + b"1]",
    "open lists": b"[" * BIG,
    "keys": json.dumps({str(i): 1 for i in range(BIG // 10)} | {"s": {"contrasts": {}}}).encode(),
    "escapes": b'{"studies": [{"id": "' + b"\\u0041" * (BIG // 6) + b'"}]}',
    "analyses": ours.study_set(*[{} for _ in range(BIG // 4)]),
    "names": ours.study_set(*[ours.analysis((1, 2, 3))] * (BIG // 150), study={"name": "n" * 500}),
    "metadata": ours.study_set(
        *[ours.analysis((1, 2, 3))] * (BIG // 300), study={"metadata": {str(i): 1 for i in range(BIG // 24)}}
    ),
    "sparse": ours.study_set(*[ours.analysis((1, 2, 3), metadata={f"k{i}": 1}) for i in range(BIG // 180)]),
    "foci": ours.nimare_dataset(a=ours.contrast(*[(1, 2, 3)] * (BIG // 9))).replace(b" ", b""),
}


@pytest.mark.parametrize("data", COSTLY.values(), ids=COSTLY)
def test_no_document_fills_the_memory(data):
    tracemalloc.start()
    try:
        parse(data, name="f.json")
    except InputError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # The free megabyte of small files is on top.
    assert peak < 20 * len(data) + (1 << 20)


@pytest.mark.parametrize("text", ["3", "1.5", '"studies"', "null", "NaN"])
def test_a_document_that_is_one_value(text):
    for reader in (nimads, nimare):
        with pytest.raises(InputError, match=r"^f:1: JSON, but"):
            reader.read(FociFile(text.encode(), "f"))


@pytest.mark.parametrize("reader", [formats, nimads, nimare])
@ours.QUICK
@given(
    data=st.binary(max_size=200)
    | ours.damaged(files=st.sampled_from([ours.STUDY_SET, ours.NIMARE]))
    | ours.damaged_json(data=ours.STUDY_SET)
    | ours.damaged_json(data=ours.NIMARE)
)
def test_any_bytes_give_foci_or_an_input_error(reader, data):
    foci_or_input_error(reader, data)


@pytest.mark.parametrize("reader", [formats, images])
@ours.QUICK
@given(
    data=ours.damaged(files=st.just(PLAIN))
    | ours.damaged(files=st.just(ours.image(ours.EXTENSION)))
    | ours.damaged(files=st.just(ours.EXTENSION)).map(ours.image)
    | st.binary(max_size=400).map(lambda tail: PLAIN[:360] + tail)
)
def test_any_bytes_of_an_image_give_foci_or_an_input_error(reader, data):
    foci_or_input_error(reader, data)


COUNTS = {
    "metalang_p001_C05_1k_clust": (27, 453, 616),
    "children_conj_adults_clust": (50, 560, 1047),
    "children-adults_10k-p05_clust": (50, 560, 1047),
    "adults-children_10k-p05_clust": (50, 560, 1047),
}


@pytest.mark.parametrize(("name", "counts"), COUNTS.items())
def test_counts_of_real_images(name, counts):
    found = ale.read_foci(image_in(shared("language_children"), name))
    subjects = int(found["experiment_n_subjects"].sum())
    assert (found.sizes["experiment"], found.sizes["focus"], subjects) == counts


def test_a_real_image_has_the_foci_of_its_file():
    image = ale.read_foci(image_in(shared("language_children"), "metalang_p001_C05_1k_clust"))
    file = ale.read_foci(shared("language_children") / "children_comprehension.txt")
    assert all(np.array_equal(image[name].values, file[name].values) for name in (*SAME, "experiment_key"))


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".tsv", ".json"])
def test_real_foci_are_written_and_read_back(suffix, tmp_path):
    before = ale.read_foci(shared("language_children") / "children.txt")
    ale.write_foci(before, tmp_path / f"deeper/foci{suffix}")
    after = ale.read_foci(tmp_path / f"deeper/foci{suffix}")
    assert all(np.array_equal(before[name].values, after[name].values) for name in (*SAME, "experiment_key"))
    assert [path.name for path in (tmp_path / "deeper").iterdir()] == [f"foci{suffix}"]


SIZED = b"study,n,space,x,y,z,Sample_Size\nA,9,MNI,1,2,3,yes\n"


def small(*, names=("A; one", "B"), **columns):
    listed = ours.nimare_dataset(a=ours.contrast((1, 2, 3)), b=ours.contrast((4, 5, 0.1)))
    found = build(parse(listed, name="f.json"))
    for name, values in columns.items():
        found[f"moderator_{name}"] = ("experiment", np.array(values, dtype=object))
    return found.assign(
        experiment_name=("experiment", np.array(names, dtype=object)),
        experiment_study=("experiment", np.array([n.partition(";")[0] for n in names], dtype=object)),
    )


def test_a_written_table_has_a_row_per_focus():
    assert write_table(small(drug=["a", "b"])).splitlines() == [
        "study,contrast,n,space,x,y,z,drug",
        "A,one,25,MNI,1.0,2.0,3.0,a",
        "B,,25,MNI,4.0,5.0,0.1,b",
    ]


def test_a_table_holds_any_name_of_one_line():
    columns = {'a,"b";\u00a0c': ["x\ny", "=1"], "sample_size": ["many", "few"]}
    found = build(parse(write_table(small(names=('A,"a"\n', "B;c"), **columns)).encode(), name="f.csv"))
    # A line break within a cell is read as a space.
    expected = {'a,"b";\u00a0c': ["x y", "=1"], "sample_size": ["many", "few"]}
    assert {c: found[f"moderator_{c}"].values.tolist() for c in columns} == expected
    assert found["experiment_name"].values.tolist() == ['A,"a"', "B;c"]


def test_a_written_study_set():
    studies = json.loads(write_nimads(small(names=("A; one", "A; two"), drug=["a", "b"])))["studies"]
    assert [study["name"] for study in studies] == ["A"]
    assert [analysis["name"] for analysis in studies[0]["analyses"]] == ["one", "two"]
    assert studies[0]["analyses"][1]["metadata"] == {"sample_sizes": [25], "drug": "b"}
    assert studies[0]["analyses"][1]["points"][0]["coordinates"] == [4.0, 5.0, 0.1]


@pytest.mark.parametrize(
    ("name", "dataset", "message"),
    [
        ("f.xlsx", small(), "unknown kind of file; end its name in .txt"),
        ("f.csv", subset(small(), [False, False]), "no foci to write"),
        ("f.csv", small(names=("A", "A")), "a table joins 'pain_01; b' to another of its name"),
        ("f.tsv", small(names=("", "B")), "experiment 'pain_01; a' has no name"),
        ("f.csv", small(X=["1", "2"]), "a table cannot have a column 'X'"),
        ("f.csv", small(**{"a\nb": ["1", "2"]}), "a table cannot have a column 'a\\nb'"),
        ("f.csv", small(contrast=["1", "2"]), "the column contrast of 'pain_01; a' is not what its name says"),
        ("f.csv", small(note=["n" * 200_000, ""]), "a table cannot hold the value 'nnn"),
        ("f.json", small(sample_size=["1", "2"]), "the column 'sample_size' would be read as a sample size"),
        ("f.json", build(parse(SIZED, name="f.csv")), "the column 'Sample_Size' would be read as a sample size"),
        ("f.json", small(names=("n" * 501, "B")), "experiment 'pain_01; a': 501 characters"),
        ("f.txt", small(names=("Subjects=3", "B")), "cannot be written to Sleuth text"),
    ],
)
def test_what_cannot_be_written_leaves_the_file_as_it_was(name, dataset, message, tmp_path):
    (tmp_path / name).write_text("before")
    with pytest.raises(InputError) as caught:
        ale.write_foci(dataset, tmp_path / name)
    assert message in str(caught.value)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "before"}


def foci_or_input_error(reader, data):
    try:
        found = build(reader.read(FociFile(data, "f", "MNI")))
    except InputError as error:
        found, message = None, str(error)
    if found is None:
        assert re.match(r"f(:extension)?(:\d+)?: .*[;,)]", message, re.DOTALL)
        message.encode()
    else:
        check(found, *FOCI)
        assert int(n_foci(found).sum()) == found.sizes["focus"] > 0
        for name in ("experiment_name", "experiment_study", "experiment_source"):
            "".join(found[name].values).encode()


@FEW
@given(ours.documents())
def test_study_sets_read_the_same_in_any_form(file):
    data, listed = file
    found = parse(data, name="f.json")
    assert [(e.n, e.xyz) for e in found] == [(e.n, e.xyz) for e in listed]
    assert [e.space for e in found if e.xyz] == [e.space for e in listed if e.xyz]
    named = [e.name or f"s{i}" for i, e in enumerate(listed)]
    assert all(e.study in (name, f"{name} (s{i})") for i, (e, name) in enumerate(zip(found, named, strict=True)))


@FEW
@given(ours.experiments())
def test_round_trip_through_a_study_set(listed):
    before = build([e for e in listed if e.name])
    if before.sizes["focus"]:
        same(before, build(parse(write_nimads(before).encode(), name="f.json")))


@FEW
@given(ours.experiments(), st.sampled_from(",\t"))
def test_round_trip_through_a_table(listed, delimiter):
    before = build([e for i, e in enumerate(listed) if e.name and e.name not in {o.name for o in listed[:i]}])
    if before.sizes["focus"]:
        after = build(parse(write_table(before, delimiter=delimiter).encode(), name="f.csv"))
        # What stands in a name behind its study is a column too.
        same(before, after, but=["contrast"])
        same(after, build(parse(write_table(after).encode(), name="f.csv")))


def same(before, after, *, but=()):
    """Compare experiments by their id: study sets keep those of one study together."""
    rows = [
        table(d).drop(columns=["source", "study", *but], errors="ignore").sort_values("id") for d in (before, after)
    ]
    pd.testing.assert_frame_equal(*[r.reset_index(drop=True) for r in rows], check_like=True)
    foci = [
        dict(zip(d["experiment_id"].values, (f.tolist() for f in foci_of(d)), strict=True)) for d in (before, after)
    ]
    assert foci[0] == foci[1]
