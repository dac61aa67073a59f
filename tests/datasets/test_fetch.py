"""Published sets of coordinates, from a real web server that breaks off, lies, changes and is down."""

import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from support import strategies as ours
from support.messages import messages
from support.webserver import Asked, serve

import ale_dask as ale
from ale_dask.coordinates.foci import foci_of, table
from ale_dask.datasets.download import File, obtain
from ale_dask.datasets.fetch import SOURCES, Source

WORDS = ["pain", "painful", "memory", "working memory", "contrast"]
SPACES = ["MNI", "TAL", "UNKNOWN", "MNI"]
# tf-idf of the four studies for the five words.
WEIGHTS = np.array(
    [[0.2, 0, 0, 0, 0], [0.001, 0, 0.3, 0, 0.1], [0.0009, 0.1, 0.2, 0.1, 0], [0, 0, 0.5, 0.4, 0.3]], dtype=np.float64
)
XYZ = [[(-12, 4.5, 30), (40, -20, 8)], [(1, 2, 3)], [(4, 5, 6), (7, 8, 9)], [(-1, -2, -3)]]


def tsv(rows, *columns):
    return gzip.compress(pd.DataFrame(rows, columns=list(columns)).to_csv(sep="\t", index=False).encode(), mtime=0)


def neurosynth(web, **options):
    """Put four studies in Neurosynth's layout on a server, and return their Source."""
    metadata = [
        (100 + i, f"10.1/{i}", space, f'A "study", {i}', "Doe J, Roe R", 2000 + i, "Brain")
        for i, space in enumerate(SPACES)
    ]
    foci = [(100 + i, 1, "t1", j, *p) for i, study in enumerate(XYZ) for j, p in enumerate(study)]
    npz = io.BytesIO()
    sparse.save_npz(npz, sparse.csc_matrix(WEIGHTS))
    files = {
        "c.tsv.gz": tsv(foci, "id", "table_id", "table_num", "peak_id", "x", "y", "z"),
        "m.tsv.gz": tsv(metadata, "id", "doi", "space", "title", "authors", "year", "journal"),
        "f.npz": npz.getvalue(),
        "v.txt": "\n".join(WORDS).encode(),
    }
    web.files.update(files)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return replace(Source("tiny", web.url, *files, sha256=digests), **options)


@pytest.fixture
def web(monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("ALE_DASK_DATA", str(tmp_path / "cache"))
    with serve() as running:
        yield running


def big(web, *, seed=1, size=1_000_000, **options):
    """Put a file of random bytes on a server, and return it."""
    data = np.random.default_rng(seed).bytes(size)
    web.files["big.bin"] = data
    return File("big.bin", f"{web.url}big.bin", hashlib.sha256(data).hexdigest(), **options)


def kept(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def cut_off(file, folder, web, at):
    web.cut = at
    with pytest.raises(ale.UnfinishedError, match=r"broke after .* of 1,000,000 bytes.*the same command resumes"):
        obtain([file], folder=folder)
    web.cut = None
    return (folder / "big.bin.partial").stat().st_size


def test_a_term_is_a_study_set_in_one_line(web, tmp_path):
    out = tmp_path / "pain.csv"
    with messages() as said:
        assert ale.fetch(neurosynth(web), terms=["Pain"], n=20, out=out) == [out]
    found = ale.read_foci(out)
    rows = table(found)
    assert rows["study"].tolist() == ["100", "101"]
    assert rows["n"].tolist() == [20, 20]
    assert rows["pain"].tolist() == [0.2, 0.001]
    assert rows[["title", "authors", "year", "doi"]].iloc[1].tolist() == [
        'A "study", 1',
        "Doe J, Roe R",
        2001,
        "10.1/1",
    ]
    assert foci_of(found)[0].tolist() == [[-12, 4.5, 30], [40, -20, 8]]
    assert said == [f"{out}: 2 studies, 3 foci"]


def test_the_columns_of_the_table_and_its_delimiter(web, tmp_path):
    (out,) = ale.fetch(neurosynth(web), terms="pain", out=tmp_path / "pain.tsv")
    columns = ["study", "title", "authors", "year", "doi", "n", "space", "x", "y", "z", "pain"]
    assert out.read_text().splitlines()[0].split("\t") == columns


def test_several_terms_must_all_hold_and_above_is_the_least_weight(web, tmp_path):
    source = neurosynth(web)

    def studies(**options):
        return pd.read_csv(*ale.fetch(source, out=tmp_path / "o.csv", **options))["study"].unique().tolist()

    assert studies(terms=["pain", "memory"]) == [101]
    assert studies(terms=["pain", "memory"], above=0.0009) == [101, 102]
    assert studies(terms=["memory", "Working  Memory"], above=0.2) == [103]
    assert studies() == [100, 101, 102, 103]


def test_a_term_named_as_a_column_does_not_become_that_column(web, tmp_path):
    (out,) = ale.fetch(neurosynth(web), terms="contrast", n=9, out=tmp_path / "o.csv")
    rows = table(ale.read_foci(out))
    assert rows["name"].tolist() == ["101", "103"]
    assert rows["term contrast"].tolist() == [0.1, 0.3]


def test_what_the_set_does_not_know_stays_empty_and_is_said(web, tmp_path):
    with messages() as said:
        (out,) = ale.fetch(neurosynth(web), out=tmp_path / "all.csv")
    assert "4 studies, 6 foci; 1 studies state no space" in said[-1]
    assert "no sample sizes: give one (--n)" in said[-1]
    with pytest.raises(ale.InputError, match="no space"):
        ale.read_foci(out, n=10)
    assert table(ale.read_foci(out, n=10, space="MNI"))["n"].tolist() == [10] * 4


def test_foci_without_a_place_are_left_out_and_counted(web, tmp_path):
    source = neurosynth(web, sha256={})
    web.files["c.tsv.gz"] = tsv([(100, 1, 2, 3), (100, "", 2, 3), (101, 9000, 2, 3)], "id", "x", "y", "z")
    with messages() as said:
        (out,) = ale.fetch(source, out=tmp_path / "o.csv")
    assert len(pd.read_csv(out)) == 1
    assert any("2 foci without a place within 1000 mm are left out" in text for text in said)


def test_an_unknown_term_is_told_its_neighbours(web, tmp_path):
    with pytest.raises(ale.InputError, match=r"no study is indexed by 'paim'; terms like it: pain"):
        ale.fetch(neurosynth(web), terms="paim", out=tmp_path / "o.csv")


def test_terms_that_no_study_has_together(web, tmp_path):
    with pytest.raises(ale.InputError, match=r"0\.15 or more for pain and memory; .* 0\.001 or less"):
        ale.fetch(neurosynth(web), terms=["pain", "memory"], above=0.15, out=tmp_path / "o.csv")
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        (
            "brainmap",
            {},
            "'brainmap' is none of children-language, ptsd, reward, neurosynth, neuroquery, yeo7, yeo17, schaefer100",
        ),
        ("neurosynth", {"terms": "pain"}, r"give out \(-o\)"),
        ("neurosynth", {"n": 0, "out": "o.csv"}, "n is 0"),
        ("neurosynth", {"above": float("nan"), "terms": "pain", "out": "o.csv"}, "above is nan"),
        ("neurostore:x", {"terms": "pain", "out": "o.json"}, "a studyset is kept as it is"),
        ("neurostore:../x", {}, "letters and digits"),
        ("neurostore", {}, "letters and digits"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(web, what, options, message):
    with pytest.raises(ale.InputError, match=message):
        ale.fetch(what, **options)
    assert not web.asked


def test_features_of_another_size_are_refused(web, tmp_path):
    source = neurosynth(web, sha256={})
    web.files["v.txt"] = b"pain\nmemory"
    with pytest.raises(ale.InputError, match=r"f\.npz: has \(4, 5\) weights, for 4 studies and 2 terms"):
        ale.fetch(source, terms="pain", out=tmp_path / "o.csv")


def test_the_raw_files_are_downloaded_once(web, tmp_path):
    source = neurosynth(web)
    paths = ale.fetch(source)
    assert {path.name: path.read_bytes() for path in paths} == web.files
    assert paths[0].parent == tmp_path / "cache" / "tiny"
    assert kept(paths[0].parent) == sorted(web.files)
    asked = len(web.asked)
    assert ale.fetch(source) == paths
    assert len(web.asked) == asked == 4


def test_every_published_file_of_neurosynth_has_its_sha256():
    source = SOURCES["neurosynth"]
    names = {source.coordinates, source.metadata, source.features, source.vocabulary}
    assert names == set(source.sha256)
    assert all(len(bytes.fromhex(digest)) == 32 for digest in source.sha256.values())


def test_a_file_with_another_sha256_is_refused_and_not_kept(web, tmp_path):
    file = big(web)
    web.files["big.bin"] = b"not it" * 1000
    with pytest.raises(ale.BackendError, match="so it was not kept"):
        obtain([file], folder=tmp_path)
    assert kept(tmp_path) == []


def test_a_broken_download_is_continued_where_it_broke(web, tmp_path):
    file = big(web)
    there = cut_off(file, tmp_path, web, 700_000)
    assert 600_000 < there <= 700_000
    calls = []
    (path,) = obtain([file], folder=tmp_path, progress=lambda *call: calls.append(call))
    assert path.read_bytes() == web.files["big.bin"]
    assert web.asked[1:] == [Asked("big.bin", f"bytes={there}-", sent=1_000_000 - there)]
    assert calls[0] == ("big.bin", there, 1_000_000)
    assert calls[-1] == ("big.bin", 1_000_000, 1_000_000)
    assert kept(tmp_path) == ["big.bin"]


def test_a_killed_download_leaves_no_file_and_the_next_reads_only_the_rest(web, tmp_path):
    file = big(web)
    web.hold = 700_000
    text = (
        "import sys; from pathlib import Path; from ale_dask.datasets.download import File, obtain\n"
        "obtain([File(*sys.argv[2:])], folder=Path(sys.argv[1]))"
    )
    child = subprocess.Popen([sys.executable, "-c", text, str(tmp_path), file.name, file.url, file.sha256])
    assert web.held.wait(30)
    partial = tmp_path / "big.bin.partial"
    while not partial.exists() or partial.stat().st_size < 600_000:
        assert child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert kept(tmp_path) == ["big.bin.partial", "big.bin.partial.version"]
    there = partial.stat().st_size
    web.hold = None
    web.go.set()
    (path,) = obtain([file], folder=tmp_path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
    assert web.asked[1:] == [Asked("big.bin", f"bytes={there}-", sent=1_000_000 - there)]
    assert kept(tmp_path) == ["big.bin"]


@pytest.mark.parametrize("behaviour", [{}, {"if_range": False}, {"weak": True, "if_range": False}])
def test_a_file_that_changed_in_between_starts_anew(web, tmp_path, behaviour):
    for name, value in behaviour.items():
        setattr(web, name, value)
    file = replace(big(web), sha256=None)
    cut_off(file, tmp_path, web, 700_000)
    big(web, seed=2)
    (path,) = obtain([file], folder=tmp_path)
    assert path.read_bytes() == web.files["big.bin"]


@pytest.mark.parametrize("behaviour", [{"ranges": False}, {"tags": False}])
def test_a_server_without_ranges_or_versions_starts_over(web, tmp_path, behaviour):
    for name, value in behaviour.items():
        setattr(web, name, value)
    file = replace(big(web), sha256=None)
    cut_off(file, tmp_path, web, 700_000)
    (path,) = obtain([file], folder=tmp_path)
    assert path.read_bytes() == web.files["big.bin"]


def test_a_partial_file_that_is_all_there_needs_its_name_only(web, tmp_path):
    file = big(web)
    (tmp_path / "big.bin.partial").write_bytes(web.files["big.bin"])
    (tmp_path / "big.bin.partial.version").write_text(web.tag(web.files["big.bin"]))
    (path,) = obtain([file], folder=tmp_path)
    assert path.read_bytes() == web.files["big.bin"]
    assert [each.sent for each in web.asked] == [0]


@settings(ours.QUICK, max_examples=30)
@given(
    cuts=st.lists(st.integers(0, 300_000), max_size=4),
    flags=st.fixed_dictionaries({name: st.booleans() for name in ("ranges", "if_range", "tags", "weak")}),
    known=st.booleans(),
    change=st.none() | st.integers(0, 3),
)
def test_however_often_it_breaks_the_file_is_the_servers_last(tmp_path_factory, cuts, flags, known, change):
    folder = tmp_path_factory.mktemp("any")
    with serve() as web:
        for name, value in flags.items():
            setattr(web, name, value)
        file = big(web, size=300_001)
        for i, cut in enumerate(cuts):
            if i == change:
                file = big(web, seed=2, size=300_001)
            web.cut = cut
            try:
                obtain([file if known else replace(file, sha256=None)], folder=folder)
            except ale.UnfinishedError:
                assert not (folder / "big.bin").exists()
            else:
                # The rest was shorter than the cut.
                break
        web.cut = None
        (path,) = obtain([file if known else replace(file, sha256=None)], folder=folder)
        assert path.read_bytes() == web.files["big.bin"]


def test_a_server_that_refuses_or_is_down_leaves_nothing_and_says_what_to_do(web, tmp_path):
    source = neurosynth(web)
    web.status = 503
    with pytest.raises(ale.BackendError, match="answered 503 Service Unavailable; run the same command later"):
        ale.fetch(source)
    down = replace(source, url="http://127.0.0.1:9/")
    with pytest.raises(ale.BackendError, match=r"cannot be reached \(Connection refused\)") as caught:
        ale.fetch(down)
    for name in web.files:
        assert f"http://127.0.0.1:9/{name}\n    as {tmp_path / 'cache' / 'tiny' / name}" in str(caught.value)
    assert kept(tmp_path / "cache" / "tiny") == []


def test_files_put_there_by_hand_are_found_without_a_server_and_checked(web, tmp_path):
    source = replace(neurosynth(web), url="http://127.0.0.1:9/")
    folder = tmp_path / "cache" / "tiny"
    folder.mkdir(parents=True)
    for name, data in web.files.items():
        (folder / name).write_bytes(data)
    assert len(ale.fetch(source)) == 4
    assert not (folder / ".lock").exists()
    (folder / "v.txt").write_bytes(b"pain")
    with pytest.raises(ale.BackendError) as caught:
        ale.fetch(source)
    assert str(caught.value).count("\n    as ") == 1
    assert f"as {folder / 'v.txt'} (the file there has another sha256)" in str(caught.value)
    assert (folder / "v.txt").read_bytes() == b"pain"


def test_of_two_at_once_one_downloads_and_the_other_waits(web, tmp_path):
    file = big(web)
    web.hold = 500_000
    found = []
    threads = [threading.Thread(target=lambda: found.extend(obtain([file], folder=tmp_path))) for _ in range(2)]
    with messages() as said:
        for thread in threads:
            thread.start()
        assert web.held.wait(30)
        while not said:
            assert threads[0].is_alive()
        web.go.set()
        for thread in threads:
            thread.join()
    assert said == [f"another process downloads into {tmp_path}; waiting for it"]
    assert len(web.asked) == 1
    assert [path.read_bytes() for path in found] == [web.files["big.bin"]] * 2


def test_without_locks_each_process_has_a_partial_file_of_its_own(web, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    file = big(web)
    web.cut = 500_000
    with pytest.raises(ale.UnfinishedError):
        obtain([file], folder=tmp_path)
    assert kept(tmp_path) == []
    web.cut = None
    assert obtain([file], folder=tmp_path)[0].read_bytes() == web.files["big.bin"]


def test_where_no_sha256_is_published_the_first_download_is_recorded_and_holds(web, tmp_path):
    file = replace(big(web), sha256=None)
    with messages() as said:
        (path,) = obtain([file], folder=tmp_path)
    record = tmp_path / "big.bin.sha256"
    assert record.read_text() == f"{hashlib.sha256(web.files['big.bin']).hexdigest()}  big.bin\n"
    assert len(said) == 1
    assert "no sha256 is published" in said[0]
    path.write_bytes(b"damaged")
    with messages() as said:
        obtain([file], folder=tmp_path)
    assert path.read_bytes() == web.files["big.bin"]
    assert "downloaded anew" in said[0]
    path.unlink()
    big(web, seed=2)
    with pytest.raises(ale.BackendError, match=r"or delete .*big\.bin\.sha256 to accept"):
        obtain([file], folder=tmp_path)
    record.unlink()
    obtain([file], folder=tmp_path)
    assert path.read_bytes() == web.files["big.bin"]


@pytest.mark.parametrize("name", ["c.tsv.gz", "f.npz", "v.txt"])
def test_a_login_page_is_not_taken_for_the_file(web, name):
    source = neurosynth(web, sha256={})
    web.files[name] = b"<!DOCTYPE html><p>Please log in to the guest network</p>"
    with pytest.raises(ale.BackendError, match=f"sent something else than {name}"):
        ale.fetch(source)


def test_a_folder_that_cannot_be_written(web, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ale.StoreError, match="set ALE_DASK_DATA"):
        ale.fetch(neurosynth(web), folder=tmp_path / "file")


def studyset(web, monkeypatch):
    monkeypatch.setenv("ALE_DASK_NEUROSTORE_URL", web.url)
    made = {
        "studysets/aB3?nested=true": {"id": "aB3", "studies": [{"id": "s1", "analyses": []}]},
        "annotations/?studyset_id=aB3&paginate=false": {"metadata": {"total_count": 1}, "results": [{"id": "n1"}]},
        "annotations/n1": {"id": "n1", "notes": [{"analysis": "a1", "note": {"include": True}}]},
    }
    web.files.update({path: json.dumps(answer).encode() for path, answer in made.items()})
    return {"studyset": made["studysets/aB3?nested=true"], "annotations": [made["annotations/n1"]]}


def test_a_studyset_with_its_annotations_is_one_json(web, tmp_path, monkeypatch):
    whole = studyset(web, monkeypatch)
    (out,) = ale.fetch("neurostore:aB3", out=tmp_path / "set.json")
    assert json.loads(out.read_text()) == whole
    asked = len(web.asked)
    (cached,) = ale.fetch("neurostore:aB3")
    assert cached == tmp_path / "cache" / "neurostore" / "aB3.json"
    assert json.loads(cached.read_text()) == whole
    assert len(web.asked) == asked == 3


def test_a_studyset_that_is_not_there(web, monkeypatch):
    studyset(web, monkeypatch)
    with pytest.raises(ale.InputError, match=r"neurostore:none: .* has no such studyset; check its ID"):
        ale.fetch("neurostore:none")


@pytest.mark.parametrize("answer", [b"{}", b'{"results": [{"id": "../n1"}]}', b'{"results": 3}'])
def test_a_list_of_annotations_that_is_none(web, monkeypatch, answer):
    studyset(web, monkeypatch)
    web.files["annotations/?studyset_id=aB3&paginate=false"] = answer
    with pytest.raises(ale.InputError, match="is not a list of annotations"):
        ale.fetch("neurostore:aB3")


def cli(*arguments, code=0, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "ale_dask.cli", "fetch", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=1200,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.mark.integration
def test_the_command_makes_a_study_set_and_ends_with_the_codes_it_documents(web, tmp_path):
    source, published = neurosynth(web), SOURCES["neuroquery"]
    for part in ("coordinates", "metadata", "features", "vocabulary"):
        web.files[getattr(published, part)] = web.files[getattr(source, part)]
    out = tmp_path / "pain.csv"
    options = ["--term", "pain", "--term", "memory", "--above", "0.0005", "--n", 12, "-o", out]
    done = cli("neuroquery", *options, ALE_DASK_NEUROQUERY_URL=web.url)
    assert done.stdout == f"{out}\n"
    assert f"{published.coordinates}: 0.0 of 0.0 MB" in done.stderr
    assert "2 studies, 3 foci" in done.stderr
    assert pd.read_csv(out)["n"].tolist() == [12] * 3
    wrong = cli("neuroquery", "--term", "paim", "-o", out, "-q", code=65).stderr
    assert wrong.startswith("ale-dask: no study is indexed by 'paim'")
    down = cli("neurosynth", ALE_DASK_NEUROSYNTH_URL="http://127.0.0.1:9", code=69).stderr
    assert "127.0.0.1:9 cannot be reached" in down
