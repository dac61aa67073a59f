"""The examples: SIMULATED foci with the sample sizes of Nord et al. 2021, and published real foci."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ale_dask.datasets.download import Progress
from ale_dask.datasets.published import fetch_published, published
from ale_dask.storage.location import fill_folder

FILES = ("antidepressants.csv", "psychotherapy.csv", "affect.txt", "study.toml")
REAL = "children-language"
"""The published set of coordinates that the real example is made of."""


def sample_file(sample: str) -> Path:
    """Return the file of simulated foci of a sample of the example, such as "affect"."""
    return Path(str(resources.files(__name__))) / next(name for name in FILES if Path(name).stem == sample)


def write_example(folder: Path) -> None:
    """Copy the study.toml and the three files of simulated foci of the example into a folder, made if need be.

    Raises
    ------
    InputError
        when the folder cannot be written, or holds another file of one of these names: then nothing is copied.
    """
    content = {name: (resources.files(__name__) / name).read_bytes() for name in FILES}
    fill_folder(folder, content, what="the example")


def write_real_example(folder: Path, *, progress: Progress | None = None) -> None:
    """Write study.toml, two files of real foci and their attribution into a folder, made if need be.

    The foci are downloaded from their public place once and kept in the cache (see `fetch_published`).

    Raises
    ------
    BackendError
        when the foci are not in the cache and their server cannot be reached; the message says what to put where.
    InputError
        when the folder cannot be written, or holds another file of one of these names: then nothing is written.
    """
    paths = {path.name: path for path in fetch_published(REAL, progress=progress)}
    content = {name: paths[name].read_bytes() for name in ("children.txt", "adults.txt")}
    content["study.toml"] = (resources.files(__name__) / "real.toml").read_bytes()
    attribution = published()[REAL].attribution
    content["ATTRIBUTION.md"] = (
        f"# Attribution\n\n{attribution}\n\n"
        "The foci were read from the headers of the published result images and are otherwise unchanged.\n"
    ).encode()
    fill_folder(folder, content, what="the example")
