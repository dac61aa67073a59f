"""Hypothesis strategies: experiments, Sleuth text, tables, workbooks, JSON, images and damaged files."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zipfile

import openpyxl
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from ale_dask.coordinates.foci import Experiment
from ale_dask.coordinates.readers.text import clean

# A shared machine stalls now and then: no deadlines; the counts keep all of these tests under 25 s.
QUICK = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

NAMES = st.text(st.sampled_from('aB7 /:;,"#\u00e9\u00df\u03b1\u2212\U0001f9e0\u00a0\ufeff'), max_size=8).map(clean)
# A focus behind // and the empty cells of a spreadsheet are no names.
NAMES = NAMES.filter(lambda name: name.count("7") < 3 and not re.search("[,;]{2}$", name))
COORDINATES = st.floats(-90, 90, allow_nan=False) | st.integers(-90, 90).map(float)
FOCI = st.lists(st.tuples(COORDINATES, COORDINATES, COORDINATES), max_size=5).map(tuple)
VALUES = st.sampled_from(["", "yes", "no", "1", "0", "x", "3.5", "drug", "NA"])


@st.composite
def experiments(draw, *, space=None, columns=True):
    """Lists of one or more experiments, the first with a focus, some identical."""
    one = st.builds(
        Experiment,
        name=NAMES,
        n=st.integers(1, 200),
        xyz=FOCI,
        space=st.sampled_from(["MNI", "TAL"]) if space is None else st.just(space),
        source=st.integers(1, 99).map("f.txt:{}".format),
        columns=st.dictionaries(st.sampled_from(["age", "drug"]), VALUES) if columns else st.just({}),
    )
    some = draw(st.lists(one, max_size=6))
    first = draw(one.filter(lambda e: e.xyz))
    return [first, *some, *draw(st.lists(st.sampled_from([first, *some]), max_size=2))]


@st.composite
def sleuth_files(draw):
    """Sleuth files, as bytes, of several line ends, separators and encodings, and their experiments."""
    listed = draw(experiments(columns=False))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    separator = draw(st.sampled_from(["\t", " ", ", ", ",", "  ", ";"]))
    blank = draw(st.booleans())
    lines = []
    for e in listed:
        reference = draw(st.sampled_from(["// Reference={}", "//Reference = {}", "//reference={}"]))
        lines += [reference.format("Talairach" if e.space == "TAL" else "MNI"), f"// {e.name}"]
        lines += [draw(st.sampled_from(["// Subjects={}", "//subjects = {}.0"])).format(e.n)]
        tail = draw(st.sampled_from(["", " // peak", "\t"]))
        lines += [separator.join(map(repr, focus)) + tail for focus in e.xyz]
        lines += [""] * blank
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    return end.join(lines).encode(encoding), listed


@st.composite
def damaged(draw, *, files):
    """Valid files with a few spans of bytes replaced."""
    data = draw(files)
    for _ in range(draw(st.integers(1, 3))):
        at, width = draw(st.integers(0, len(data))), draw(st.integers(0, 6))
        data = data[:at] + draw(st.binary(max_size=6) | SCRAPS) + data[at + width :]
    return data


def workbook(sheets):
    """The bytes of an Excel workbook of these sheets, title to rows."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(out := io.BytesIO())
    return out.getvalue()


def repacked(data, change):
    """A zip file again, each member's name and content as `change` gives them."""
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(out := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for member in old.namelist():
            new.writestr(member, change(member, old.read(member)))
    return out.getvalue()


def shared_strings(data):
    """A workbook of openpyxl's again, its text in a table of its own as Excel writes it."""
    texts = []
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"

    def moved(found):
        texts.append(found[1])
        return b't="s"><v>%d</v></c>' % (len(texts) - 1)

    def change(member, content):
        if member == "[Content_Types].xml":
            part = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}" /></Types>'
            return content.replace(b"</Types>", part.encode())
        return re.sub(rb't="inlineStr"><is>(.*?)</is></c>', moved, content)

    with zipfile.ZipFile(out := io.BytesIO(repacked(data, change)), "a", zipfile.ZIP_DEFLATED) as archive:
        space = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
        archive.writestr("xl/sharedStrings.xml", b"<sst %s><si>%s</si></sst>" % (space, b"</si><si>".join(texts)))
    return out.getvalue()


@st.composite
def damaged_workbooks(draw, *, data):
    """Workbooks whose zip file is whole, but one of the files in it is damaged."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        chosen = draw(st.sampled_from(archive.namelist()))
        inside = draw(damaged(files=st.just(archive.read(chosen))))
    return repacked(data, lambda member, content: inside if member == chosen else content)


SCRAPS = st.sampled_from(
    [
        b"//",
        b"// Subjects=",
        b"// Reference=",
        b"\n",
        b"\r",
        b",",
        b";",
        b'"',
        b"nan",
        b"1e999",
        b"-",
        b"\x00",
        b"9" * 40,
    ]
)
TABLE = (
    b"study,contrast,n,space,x,y,z,age,drug\n"
    b"Ab,one,12,MNI,1,2,3,30.5,yes\nAb,one,11,MNI,4,5,6,30.5,yes\nAb,two,9,TAL,,,,,\n"
    b'"C, D",,20,MNI,-7.5,8,9,41,no\n'
)


def study_set(*analyses, study=None, **further):
    """The bytes of a NIMADS study set of one study with these analyses."""
    studies = [{"id": "s1", "name": "Smith 2010"} | (study or {}) | {"analyses": list(analyses)}]
    return json.dumps({"id": "set", "name": "", "studies": studies} | further).encode()


def analysis(*foci, space="MNI", **further):
    """An analysis of NIMADS with these foci."""
    points = [{"coordinates": list(focus), "space": space, "values": []} for focus in foci]
    return {"id": "a1", "name": "faces", "points": points, "conditions": [], "images": []} | further


def nimare_dataset(**contrasts):
    """The bytes of a NiMARE Dataset of one study with these contrasts."""
    return json.dumps({"pain_01": {"contrasts": contrasts}}).encode()


def contrast(*foci, space="MNI", **further):
    """A contrast of a NiMARE Dataset with these foci."""
    x, y, z = zip(*foci, strict=True) if foci else ((), (), ())
    return {"coords": {"space": space, "x": x, "y": y, "z": z}, "metadata": {"sample_sizes": [25]}} | further


def image(text, *, order=">", packed=True, code=4, size=348, pair=False):
    """The bytes of a NIfTI image of one voxel with one header extension, big-endian as GingerALE writes them."""
    content = text + b"\0" * (-(len(text) + 8) % 16)
    at, offset, kind, number = {348: (344, 108, "f", b"1"), 540: (4, 168, "q", b"2")}[size]
    header = bytearray(size + 4)
    struct.pack_into(f"{order}i", header, 0, size)
    struct.pack_into(f"{order}{kind}", header, offset, 0 if pair else len(header) + 8 + len(content))
    header[at : at + 4] = (b"ni" if pair else b"n+") + number + b"\0"
    header[size] = 1
    data = bytes(header) + struct.pack(f"{order}ii", len(content) + 8, code) + content + b"\0" * (not pair)
    return gzip.compress(data, mtime=0) if packed else data


STUDY_SET = study_set(
    analysis((1, 2, 3), (-4.5, 0, 6), metadata={"sample_sizes": [12, 9], "age": 30.5, "drug": True}),
    analysis((7, 8, 9), id="a2", name="houses", space="TAL", metadata={"sample_size": 20, "drug": False}),
    study={"authors": "Smith J, Lee K", "year": 2010, "metadata": {"blind": "yes"}},
    annotations=[{"id": "n", "name": "mine", "notes": [{"analysis": "a1", "note": {"include": True}}]}],
)
NIMARE = nimare_dataset(
    one=contrast((1, 2, 3), (-4.5, 0, 6), labels={"pain": 0.5}),
    two=contrast((7, 8, 9), space="TAL", metadata={"sample_sizes": [20], "drug": True}),
)
EXTENSION = (
    b"<mask>\nReference=MNI\n</mask>\n<foci>// Smith 2010; faces\n// Subjects=12\n1\t2\t3\n-.5\t0\t6\n\n"
    b"// Lee 2011\n// Subjects=9\n7\t8\t9\n\n</foci>\n<ALEmethod>Random Effects, Non-additive</ALEmethod>\n"
)
JSON_SCRAPS = st.sampled_from(
    [b'"', b'"\\ud800"', b'"UNKNOWN"', b'"TAL"', b'"12"', b'"points"', b'"studies"', b"9" * 40]
) | st.sampled_from(b"{ } [ ] : , null NaN -Infinity true 1e999 -0 0 1001 {} [] [[[[ \xff".split())


@st.composite
def damaged_json(draw, *, data):
    """Documents with values or keys replaced, most of them still JSON."""
    for _ in range(draw(st.integers(1, 3))):
        tokens = [i for i in range(len(data)) if data[i : i + 1] in b'{}[]",:0123456789']
        at = draw(st.sampled_from(tokens)) if tokens else 0
        end = next((i for i in tokens if i > at), len(data))
        data = data[:at] + draw(JSON_SCRAPS) + data[draw(st.sampled_from([at, at + 1, end])) :]
    return data


@st.composite
def documents(draw):
    """NIMADS study sets, as bytes, bare or with an annotation beside them, and their experiments."""
    listed = draw(experiments(columns=False))
    studies = []
    for i, e in enumerate(listed):
        spelled = st.sampled_from(
            ["MNI", "mni152_2mm", "MNI152NLin6Asym"] if e.space == "MNI" else ["TAL", "Talairach"]
        )
        sizes = draw(
            st.sampled_from([{"sample_sizes": [e.n, e.n + 1]}, {"sample_size": e.n}, {"Sample_size": str(e.n)}])
        )
        inside = draw(st.booleans())
        one = analysis(
            *e.xyz, space=draw(spelled), id=f"a{i}", name=draw(st.sampled_from(["", None])), metadata=inside and sizes
        )
        if not inside:
            one["metadata"] = None
        studies.append({"id": f"s{i}", "name": e.name, "analyses": [one], "metadata": None if inside else sizes})
    bare = {"id": "set", "name": None, "studies": studies}
    document = draw(
        st.sampled_from([bare, {"studyset": bare, "annotation": None}, {"studyset": bare, "annotations": []}])
    )
    return json.dumps(
        document, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))
    ).encode(), listed
