"""Published sets of coordinates, such as Neurosynth, NeuroQuery and NeuroStore, downloaded and made into tables."""

from __future__ import annotations

import gzip
import json
import logging
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ale_dask.coordinates.foci import LIMIT_MM, MAX_SUBJECTS
from ale_dask.coordinates.readers.text import as_space, shown
from ale_dask.coordinates.spreadsheet_cells import escaped
from ale_dask.datasets.atlases import ATLAS_IMAGES, fetch_atlas
from ale_dask.datasets.download import File, Progress, cache, obtain
from ale_dask.datasets.published import fetch_published, published
from ale_dask.errors import InputError
from ale_dask.storage.location import replace_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A set of coordinates in the layout of Neurosynth 7: the names of its files below `url`, and their sha256."""

    name: str
    url: str
    coordinates: str
    metadata: str
    features: str
    vocabulary: str
    sha256: Mapping[str, str] = field(default_factory=dict)
    space: str = ""
    """MNI or TAL, for sets whose metadata do not state it."""


_NEUROSYNTH = "data-neurosynth_version-7"
_NEUROQUERY = "data-neuroquery_version-1"
# The content of a URL with a commit, unlike that with a branch, cannot change.
SOURCES = {
    "neurosynth": Source(
        "neurosynth",
        "https://raw.githubusercontent.com/neurosynth/neurosynth-data/209c33cd009d0b069398a802198b41b9c488b9b7/",
        f"{_NEUROSYNTH}_coordinates.tsv.gz",
        f"{_NEUROSYNTH}_metadata.tsv.gz",
        f"{_NEUROSYNTH}_vocab-terms_source-abstract_type-tfidf_features.npz",
        f"{_NEUROSYNTH}_vocab-terms_vocabulary.txt",
        sha256={
            f"{_NEUROSYNTH}_coordinates.tsv.gz": "17135be3e08a0ab045896c77217e8463086543a0817d52a6a88c8e32c1161616",
            f"{_NEUROSYNTH}_metadata.tsv.gz": "8acde7de2a14ee2a12b406e50a8805e83288b0bc78924ddb36879d496dfb757b",
            f"{_NEUROSYNTH}_vocab-terms_source-abstract_type-tfidf_features.npz": (
                "1b3359eebcbc8557340583788b3855031ea21361e87c265cb8fc540d9b6c4edd"
            ),
            f"{_NEUROSYNTH}_vocab-terms_vocabulary.txt": (
                "71c1858c5eb1bcc79854198bbca234569731efdc382c6205a9e46495379614af"
            ),
        },
    ),
    "neuroquery": Source(
        "neuroquery",
        "https://raw.githubusercontent.com/neuroquery/neuroquery_data/4580f86267fb7c14ac1f601e298cbed898d79f2d/data/",
        f"{_NEUROQUERY}_coordinates.tsv.gz",
        f"{_NEUROQUERY}_metadata.tsv.gz",
        f"{_NEUROQUERY}_vocab-neuroquery6308_source-combined_type-tfidf_features.npz",
        f"{_NEUROQUERY}_vocab-neuroquery6308_vocabulary.txt",
        space="MNI",
    ),
}
_NEUROSTORE = "https://neurostore.org/api/"
_COLUMNS = ("study", "title", "authors", "year", "doi", "n", "space", "x", "y", "z")
# A column of a term may not have the name of another column.
_RESERVED = (*_COLUMNS, "contrast")


@dataclass(frozen=True)
class _Choice:
    """The studies of a set that a table holds, and the sample size that it states for them."""

    terms: Sequence[str] = ()
    above: float = 0.001
    n: int | None = None

    @property
    def is_given(self) -> bool:
        return bool(self.terms) or self.n is not None


def fetch(
    what: str | Source,
    *,
    out: str | os.PathLike[str] | None = None,
    terms: Sequence[str] = (),
    above: float = 0.001,
    n: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Download a published set of coordinates, unless it is in the cache, and make a table of it where asked to.

    Parameters
    ----------
    what
        "neurosynth", "neuroquery", "neurostore:ID" of a studyset, "children-language", "ptsd" or "reward" (see
        `datasets.published.published`), or a `Source`; or a label image for `null`: "yeo7", "yeo17", "schaefer100" …
        "schaefer1000", with parcels named by 17 networks "schaefer100-17" ….
    out
        CSV (or .tsv) to write, one row per focus with study, title, authors, year, doi, n, space, x, y, z in mm and
        the weight of each term; for a studyset, JSON {"studyset": …, "annotations": […]}.
    terms
        Only studies whose tf-idf for each of these terms is `above` or more.
    above
        The smallest tf-idf of a study's terms.
    n
        Number of subjects to write for every study: the sets do not have them.
    folder
        The cache; by default the environment variable ALE_DASK_DATA, or ale-dask in the user's cache.
    progress
        Is called with the name of a file, its bytes so far, and its bytes in all, None where they are not known.

    Returns
    -------
    list of Path
        `out` alone if it is given, else the files downloaded.

    Raises
    ------
    InputError
        For an unknown set, studyset or term, or terms that no study has.
    BackendError
        If the server cannot be reached, with a list of files to download by hand, or a file has another sha256.
    UnfinishedError
        If the connection breaks; the same call resumes.

    Examples
    --------
    >>> fetch("neurosynth", out="pain.csv", terms=["pain"], n=20)  # doctest: +SKIP
    [PosixPath('pain.csv')]
    """
    choice = _Choice([terms] if isinstance(terms, str) else list(terms), above, n)
    where = None if folder is None else Path(folder).expanduser()
    if isinstance(what, str) and what in published():
        if choice.is_given or out is not None:
            raise InputError(f"{what}: its files are read as they were published; give no terms, n or out for them")
        paths = fetch_published(what, folder=where, progress=progress)
        log.info(published()[what].attribution)
        return paths
    if isinstance(what, str) and what in ATLAS_IMAGES:
        if choice.is_given or out is not None:
            raise InputError(f"{what}: its image is used by its name; give no terms, n or out for it")
        return fetch_atlas(what, folder=where, progress=progress)
    kind, _, ident = ("", "", "") if isinstance(what, Source) else what.partition(":")
    if not (isinstance(what, Source) or what in SOURCES or kind == "neurostore"):
        raise InputError(
            f"{shown(str(what))} is none of {', '.join([*published(), *SOURCES])}, yeo7, yeo17, "
            "schaefer100 … and neurostore:ID"
        )
    _check(choice, studyset=kind == "neurostore", out=out)
    where = where or cache()
    if kind == "neurostore":
        return [_studyset(ident, where / "neurostore", out=out, progress=progress)]
    source = what if isinstance(what, Source) else SOURCES[what]
    if not isinstance(what, Source):
        source = replace(source, url=os.environ.get(f"ALE_DASK_{what.upper()}_URL") or source.url)
    paths = _download(source, with_terms=bool(choice.terms) or out is None, folder=where, progress=progress)
    if out is None:
        return paths
    _write_table(source, paths, choice, Path(out))
    return [Path(out)]


def _check(choice: _Choice, *, studyset: bool, out: str | os.PathLike[str] | None) -> None:
    if not (np.isfinite(choice.above) and choice.above > 0):
        raise InputError(f"above is {choice.above}; give a tf-idf above 0, such as 0.001")
    if choice.n is not None and not 1 <= choice.n <= MAX_SUBJECTS:
        raise InputError(f"n is {choice.n}; give a sample size of 1 or more")
    if choice.is_given and (studyset or out is None):
        why = "a studyset is kept as it is" if studyset else "they are for a table, so give out (-o) too"
        raise InputError(f"terms and n: {why}")


def _download(source: Source, *, with_terms: bool, folder: Path, progress: Progress | None) -> list[Path]:
    """Return the paths of coordinates and metadata and, `with_terms`, of features and vocabulary."""
    names = [source.coordinates, source.metadata]
    if with_terms:
        names += [source.features, source.vocabulary]
    files = [File(name, f"{source.url.rstrip('/')}/{name}", source.sha256.get(name)) for name in names]
    return obtain(files, folder=folder / source.name, progress=progress)


def _write_table(source: Source, paths: Sequence[Path], choice: _Choice, out: Path) -> None:
    table, misplaced = _table(source, paths, choice)
    if misplaced:
        log.info(f"{source.name}: {misplaced:,} foci without a place within {LIMIT_MM:g} mm are left out")
    delimiter = "\t" if out.suffix == ".tsv" else ","
    replace_file(out, escaped(table).to_csv(index=False, sep=delimiter, lineterminator="\n").encode())
    studies = table.drop_duplicates("study")
    unknown = int((studies["space"] == "").sum())
    log.info(
        f"{out}: {len(studies):,} studies, {len(table):,} foci"
        + (f"; {unknown:,} studies state no space: give one (--space) when reading it" if unknown else "")
        + ("; no sample sizes: give one (--n)" if choice.n is None else "")
    )


def fetched(what: str, *, called: str | None = None) -> Path:
    """Return the path of a gzipped table of the foci of a fetched database: study, space, x, y and z.

    The table is made from the downloads at the first call, and kept beside them.

    Raises
    ------
    InputError
        for a database that has not been fetched, with the command that fetches it.
    """
    source = SOURCES[what]
    folder = cache() / source.name
    downloads = [folder / source.coordinates, folder / source.metadata]
    if not all(path.is_file() for path in downloads):
        raise InputError(f"{called or what}: not in {folder} yet; `ale-dask fetch {what}` fetches it")
    path = folder / f"{what}_foci.csv.gz"
    if not path.is_file() or path.stat().st_mtime_ns < max(file.stat().st_mtime_ns for file in downloads):
        table, _ = _table(source, downloads, _Choice())
        text = escaped(table[["study", "space", "x", "y", "z"]]).to_csv(index=False, lineterminator="\n")
        replace_file(path, gzip.compress(text.encode(), compresslevel=6, mtime=0))
    return path


def _table(source: Source, paths: Sequence[Path], choice: _Choice) -> tuple[pd.DataFrame, int]:
    """Return the foci of the studies that are chosen, one row each, and the number of foci with invalid coordinates."""
    metadata = _read(paths[1], "id", "title")
    foci = _read(paths[0], "id", "x", "y", "z")
    if metadata["id"].duplicated().any():
        raise InputError(f"{paths[1]}: a study is there twice; delete the file to download it again")
    studies = pd.DataFrame({"study": metadata["id"]})
    for column in ("title", "authors", "year", "doi"):
        studies[column] = [" ".join(text.split()) for text in metadata.get(column, pd.Series([""] * len(metadata)))]
    studies["n"] = "" if choice.n is None else str(choice.n)
    stated = metadata["space"] if "space" in metadata else [source.space] * len(metadata)
    studies["space"] = [as_space(text) or "" for text in stated]
    keep = np.ones(len(studies), dtype=bool)
    weights = _weights(paths[2], paths[3], terms=choice.terms, studies=len(studies)) if choice.terms else {}
    columns = {term: f"term {term}" if term in _RESERVED else term for term in weights}
    for term, weight in weights.items():
        keep &= weight >= choice.above
        studies[columns[term]] = weight
    if weights and not keep.any():
        possible = np.min(list(weights.values()), axis=0).max()
        raise InputError(
            f"{source.name}: no study has a tf-idf of {choice.above:g} or more for {' and '.join(weights)}; "
            f"give fewer terms, or above (--above) {possible:.3g} or less"
        )
    xyz = foci[["x", "y", "z"]].apply(pd.to_numeric, errors="coerce")
    valid = (xyz.abs() <= LIMIT_MM).all(axis=1)
    joined: pd.DataFrame = xyz[valid].assign(study=foci["id"]).merge(studies[keep], on="study", how="inner")
    if joined.empty:
        raise InputError(f"{source.name}: the studies have no foci; delete {paths[0].parent} to download it again")
    return joined.loc[:, [*_COLUMNS, *columns.values()]], int((~valid).sum())


def _read(path: Path, *needed: str) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete it to download it again") from error
    missing = [column for column in needed if column not in table]
    if missing:
        raise InputError(f"{path}: has no column {', '.join(missing)}; delete it to download it again")
    return table


def _weights(
    features: Path, vocabulary: Path, *, terms: Sequence[str], studies: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the tf-idf of the studies (study), float64, by term as the vocabulary spells it."""
    words, matrix = weights(features, vocabulary, studies=studies)
    position = {word.strip().lower(): i for i, word in enumerate(words)}
    wanted = list(dict.fromkeys(" ".join(term.lower().split()) for term in terms))
    for term in wanted:
        if term not in position:
            near = ", ".join(get_close_matches(term, position, n=5)) or "none"
            raise InputError(f"no study is indexed by {shown(term)}; terms like it: {near} (all are in {vocabulary})")
    return {t: matrix[:, [position[t]]].toarray().ravel().astype(np.float64) for t in wanted}


def weights(features: Path, vocabulary: Path, *, studies: int) -> tuple[list[str], Any]:
    """Return the terms of a vocabulary and the tf-idf (study, term) of a database, a sparse matrix by columns.

    Raises
    ------
    InputError
        when a file cannot be read, or is of another number of studies or terms.
    """
    from scipy import sparse

    words = vocabulary.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    try:
        matrix = sparse.load_npz(features).tocsc()
    except (OSError, ValueError, KeyError, zlib.error) as error:
        raise InputError(f"{features}: cannot be read ({error}); delete it to download it again") from error
    if matrix.shape != (studies, len(words)):
        raise InputError(f"{features}: has {matrix.shape} weights, for {studies:,} studies and {len(words):,} terms")
    return words, matrix


def indexed(what: str) -> tuple[list[str], list[str], Any]:
    """Return the studies, the terms and the tf-idf (study, term) of a fetched database.

    Raises
    ------
    InputError
        for a database that has not been fetched with its terms, with the command that fetches it.
    """
    source = SOURCES[what]
    folder = cache() / source.name
    features, vocabulary = folder / source.features, folder / source.vocabulary
    if not (features.is_file() and vocabulary.is_file() and (folder / source.metadata).is_file()):
        raise InputError(f"{what}: its terms are not in {folder} yet; `ale-dask fetch {what}` fetches them")
    studies = _read(folder / source.metadata, "id")["id"].tolist()
    return studies, *weights(features, vocabulary, studies=len(studies))


def _studyset(ident: str, folder: Path, *, out: str | os.PathLike[str] | None, progress: Progress | None) -> Path:
    """Return the path of a studyset with its annotations, in one JSON file."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", ident):
        raise InputError(f"neurostore:{ident}: a studyset's ID is letters and digits, such as the end of its address")
    url = (os.environ.get("ALE_DASK_NEUROSTORE_URL") or _NEUROSTORE).rstrip("/")
    # By https://neurostore.org/api, an answer without nested=true has the ids of studies only.
    missing = f"neurostore:{ident}: {url} has no such studyset; check its ID"
    first = [
        File("studyset.json", f"{url}/studysets/{ident}?nested=true", missing=missing),
        File("annotations.json", f"{url}/annotations/?studyset_id={ident}&paginate=false"),
    ]
    studyset, listed = obtain(first, folder=folder / ident, progress=progress)
    answer: Any = json.loads(listed.read_bytes())
    results = answer.get("results") if isinstance(answer, dict) else answer
    names = [str(item.get("id")) for item in results if isinstance(item, dict)] if isinstance(results, list) else [""]
    if not all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names):
        raise InputError(
            f"{listed}: is not a list of annotations with IDs; delete {listed.parent} to download it again"
        )
    # The list has no notes; they are in the annotations themselves.
    annotations = [File(f"annotation-{name}.json", f"{url}/annotations/{name}") for name in names]
    notes = obtain(annotations, folder=folder / ident, progress=progress)
    path = folder / f"{ident}.json" if out is None else Path(out)
    whole = {"studyset": json.loads(studyset.read_bytes()), "annotations": [json.loads(p.read_bytes()) for p in notes]}
    data = json.dumps(whole, ensure_ascii=False).encode()
    if not (path.is_file() and path.read_bytes() == data):
        replace_file(path, data)
    log.info(f"{path}: a studyset and {len(notes):,} annotations; delete {folder / ident} to download it again")
    return path
