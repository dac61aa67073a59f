"""Published data sets by name, from a real web server on loopback, and the real example that is made of one."""

from __future__ import annotations

import gzip
import hashlib
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support.commands import ale
from support.real_data import PUBLISHED, image_in, shared
from support.webserver import Web, serve

import ale_dask
from ale_dask.config.study import load_study
from ale_dask.datasets.download import File
from ale_dask.datasets.example import FILES, write_real_example
from ale_dask.datasets.published import Header, Published, fetch_published, published
from ale_dask.errors import BackendError, InputError

FIRST = b"// Smith 2010\n// Subjects=12\n-24\t-4\t-18\n"
SECOND = b"// Jones 2011\n// Subjects=15\n24\t-4\t-18\n"


def image(*parts: bytes) -> bytes:
    """Return the bytes of a result image as GingerALE writes it: the foci stand in an extension of the header."""
    text = b"<mask>\nReference=MNI\n</mask>\n" + b"\n".join(b"<foci>" + part + b"</foci>" for part in parts)
    made = nib.Nifti1Image(np.zeros((2, 2, 2), dtype=np.uint8), np.eye(4))
    made.header.extensions.append(nib.nifti1.Nifti1Extension(4, text))
    return made.to_bytes()


def own(web: Web, *, sha256: str | None = None) -> Published:
    """Return a set of one image with two parts of foci and one text file, put on the server."""
    web.files |= {"1a/maps/result.nii": image(FIRST, SECOND), "2b/foci.txt": FIRST}
    second = b"// Reference=MNI\n" + SECOND
    return Published(
        name="own",
        title="Made up",
        citation="Nobody 2020",
        licence="CC0",
        repository="nowhere",
        base=web.url,
        files=(
            File("result.nii", "1a/maps/result.nii"),
            File("foci.txt", "2b/foci.txt", hashlib.sha256(FIRST).hexdigest()),
        ),
        headers=(Header("second.txt", "result.nii", 2, sha256 or hashlib.sha256(second).hexdigest()),),
    )


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Web]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("ALE_DASK_DATA", str(tmp_path / "cache"))
    with serve() as running:
        yield running


def test_files_and_the_foci_in_headers_are_fetched_once(web: Web) -> None:
    known = own(web)
    paths = fetch_published(known)
    assert [path.name for path in paths] == ["result.nii", "foci.txt", "second.txt"]
    assert paths[2].read_bytes() == b"// Reference=MNI\n" + SECOND
    assert ale_dask.read_foci(paths[2])["experiment_n_subjects"].values.tolist() == [15]
    asked = len(web.asked)
    assert fetch_published(known) == paths
    assert len(web.asked) == asked


def test_an_image_with_other_foci_is_refused_with_what_to_do(web: Web, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"result\.nii: does not hold the published foci; delete it"):
        fetch_published(own(web, sha256="0" * 64))
    assert not (tmp_path / "cache" / "own" / "second.txt").exists()


def test_a_file_with_other_bytes_is_refused_and_not_kept(web: Web, tmp_path: Path) -> None:
    known = own(web)
    web.files["2b/foci.txt"] = SECOND
    with pytest.raises(BackendError, match="sha256"):
        fetch_published(known)
    assert not (tmp_path / "cache" / "own" / "foci.txt").exists()


def test_offline_the_message_says_what_to_put_where(web: Web, tmp_path: Path) -> None:
    known = replace(own(web), base="http://127.0.0.1:9/")
    with pytest.raises(BackendError) as caught:
        fetch_published(known)
    for file in known.files:
        assert f"http://127.0.0.1:9/{file.url}\n    as {tmp_path / 'cache' / 'own' / file.name}" in str(caught.value)


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(InputError, match="children-language, ptsd, reward"):
        fetch_published("children")


def test_every_published_set_says_whose_it_is_and_pins_its_commits() -> None:
    entries = tomllib.loads((resources.files("ale_dask.datasets") / "published.toml").read_text())
    assert set(entries) == set(published()) == set(PUBLISHED.values())
    for one in published().values():
        assert all(word in one.attribution for word in (one.citation, one.licence, one.repository))
        assert all(len(file.url.split("/")[0]) == 40 for file in one.files)
        # A file without a sha256 is an image whose foci have one.
        images = {header.image for header in one.headers}
        assert all(file.sha256 or file.name.endswith(".nii") for file in one.files)
        assert all(len(header.sha256) == 64 and header.image in {f.name for f in one.files} for header in one.headers)
        assert images <= {file.name for file in one.files}


@pytest.mark.parametrize(("folder", "name"), PUBLISHED.items())
def test_the_real_files_have_the_registered_content(folder: str, name: str, web: Web, tmp_path: Path) -> None:
    here, known = shared(folder), published()[name]
    for file in known.files:
        path = here / file.name if file.sha256 else image_in(here, file.name.removesuffix(".nii"))
        data = path.read_bytes()
        web.files[file.url] = gzip.decompress(data) if path.suffix == ".gz" else data
    for path in fetch_published(replace(known, base=web.url)):
        if path.suffix == ".txt":
            assert path.read_bytes() == (here / path.name).read_bytes()


@pytest.mark.integration
def test_the_real_example_runs(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, known = shared("language_children"), published()["children-language"]
    for file in known.files:
        data = image_in(here, file.name.removesuffix(".nii")).read_bytes()
        web.files[file.url] = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    monkeypatch.setenv("ALE_DASK_CHILDREN_LANGUAGE_URL", web.url)
    write_real_example(tmp_path / "study")
    study = load_study(tmp_path / "study" / "study.toml")
    assert list(study.analysis) == ["children", "adults", "children-vs-adults", "children-and-adults"]
    assert not study.simulated
    assert "CC BY 4.0" in (tmp_path / "study" / "ATTRIBUTION.md").read_text()
    checked = ale("check", tmp_path / "study").stdout
    assert "children: 27 experiments, 453 foci" in checked
    assert "adults: 23 experiments, 107 foci" in checked


def test_the_real_example_offline_leaves_nothing(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALE_DASK_CHILDREN_LANGUAGE_URL", "http://127.0.0.1:9")
    done = ale("example", "--real", tmp_path / "study", code=69)
    assert "download by hand" in done.stderr
    assert not (tmp_path / "study").exists()
    ale("example", tmp_path / "simulated")
    assert set(FILES) == {path.name for path in (tmp_path / "simulated").iterdir()}
