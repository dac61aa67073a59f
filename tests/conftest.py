"""A study small enough to run whole in a second: a ball on a 4 mm grid and three samples."""

from __future__ import annotations

import sys
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ale_dask.config.study import Study, load_study
from ale_dask.datasets.download import cache as downloads
from ale_dask.datasets.published import fetch_published, published
from ale_dask.errors import AleError

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

STUDY = """
title = "tiny"
simulated = true
[foci.drug]
files = "drug.txt"
[foci.therapy]
files = "therapy.txt"
[inference]
mask = "ball.nii.gz"
iterations = 60
voxel_p = 0.01
seed = 3
null = "uniform"
[analysis.drug]
kind = "main-effect"
foci = "drug"
[analysis.therapy]
kind = "main-effect"
foci = "therapy"
[analysis.drug-vs-therapy]
kind = "contrast"
arms = ["drug", "therapy"]
[analysis.drug-and-therapy]
kind = "conjunction"
of = ["drug", "therapy"]
"""


def write_ball(path: Path, *, radius: float = 9.0) -> None:
    """Write a ball-shaped mask on a 4 mm grid centred on the origin."""
    n = int(2 * radius + 5)
    centre = (n - 1) / 2
    ijk = np.indices((n, n, n)).reshape(3, -1).T
    inside = (((ijk - centre) ** 2).sum(axis=1) <= radius**2).reshape(n, n, n)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -4.0 * centre
    nib.save(nib.Nifti1Image(inside.astype(np.uint8), affine), path)


def experiments(seed: int, *, number: int, planted: tuple[float, float, float], prefix: str) -> list[str]:
    """Return Sleuth paragraphs of experiments with 2-9 random foci, two thirds of them with one near a place."""
    rng = np.random.default_rng(seed)
    paragraphs = []
    for i in range(number):
        xyz = rng.uniform(-20, 20, size=(int(rng.integers(2, 10)), 3))
        if i % 3:
            xyz[0] = np.array(planted) + rng.normal(0, 3, 3)
        rows = "\n".join("\t".join(f"{v:.2f}" for v in row) for row in xyz)
        paragraphs.append(f"// {prefix} {i}\n// Subjects={int(rng.integers(8, 40))}\n{rows}\n")
    return paragraphs


def write_sample(path: Path, paragraphs: list[str]) -> None:
    """Write a Sleuth file in MNI space."""
    path.write_text("// Reference=MNI\n" + "\n".join(paragraphs))


def write_tiny(folder: Path) -> Path:
    """Write study.toml, two samples of 8 and 6 experiments and a mask of about 3,000 voxels."""
    folder.mkdir()
    write_ball(folder / "ball.nii.gz")
    write_sample(folder / "drug.txt", experiments(1, number=8, planted=(12, 4, 0), prefix="drug"))
    write_sample(folder / "therapy.txt", experiments(2, number=6, planted=(-12, 0, 8), prefix="therapy"))
    (folder / "study.toml").write_text(STUDY)
    return folder


def write_one_place(folder: Path, *, number: int) -> None:
    """Write ball.nii.gz and drug.txt, a sample of so many experiments of which two thirds report one place."""
    write_ball(folder / "ball.nii.gz")
    write_sample(folder / "drug.txt", experiments(1, number=number, planted=(12, 4, 0), prefix="drug"))


def one_place(*, null: str, iterations: int, settings: str = "", rest: str = "") -> str:
    """Return the study.toml of that sample; `settings` are further lines of [inference], `rest` further tables."""
    return f"""
title = "one place"
simulated = true
[foci.drug]
files = "drug.txt"
[inference]
mask = "ball.nii.gz"
iterations = {iterations}
voxel_p = 0.01
null = "{null}"
{settings}
[analysis.drug]
kind = "main-effect"
foci = "drug"
{rest}
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return a folder with a study of two samples."""
    return write_tiny(tmp_path / "tiny")


@pytest.fixture
def tiny_study(tiny: Path) -> Study:
    """Return the study of the tiny folder."""
    return load_study(tiny / "study.toml")


PUBLISHED = {"language_children": "children-language", "ptsd_mixed_space": "ptsd", "reward_talairach": "reward"}
"""Folders of real coordinates that `ale-dask fetch` gets from their public place, with its name for each."""


@cache
def _fetched(name: str) -> Path | str:
    """Return the folder of a published set in the user's cache, downloaded if need be, or why it cannot be had."""
    try:
        return fetch_published(name)[0].parent
    except AleError as error:
        return str(error).splitlines()[0]


def _in_cache(name: str) -> Path | None:
    folder = downloads() / name
    wanted = published()[name]
    names = [*(file.name for file in wanted.files), *(header.name for header in wanted.headers)]
    return folder if all((folder / file).is_file() for file in names) else None


def shared(name: str) -> Path:
    """Return a folder or file of real coordinates, or skip with the reason: they are not part of the repository.

    They are looked for in the cache of `ale-dask fetch`, then in ../shared/data, and then fetched where published.
    """
    top, _, rest = name.partition("/")
    known = PUBLISHED.get(top)
    places = [_in_cache(known) if known else None, SHARED / top]
    found = next((place / rest for place in places if place is not None and (place / rest).exists()), None)
    if found is None and known:
        got = _fetched(known)
        if isinstance(got, str):
            pytest.skip(f"real coordinates '{name}' are neither in the cache nor beside the repository: {got}")
        found = got / rest
    if found is None or not found.exists():
        pytest.skip(f"real coordinates '{name}' are not here (expected in ../shared/data beside the repository)")
    return found


def image_in(folder: Path, stem: str) -> Path:
    """Return the image of this name in a folder of real coordinates, gzipped or not."""
    return next(path for path in (folder / f"{stem}.nii.gz", folder / f"{stem}.nii") if path.is_file())


@pytest.fixture(scope="module")
def load_script():
    """A function that gives one of scripts/ as a module; without .pyc files beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)

        def load(name):
            loader = SourceFileLoader(name, str(SCRIPTS / name))
            module = module_from_spec(spec_from_loader(name, loader))
            # dataclasses look their module up by name.
            patch.setitem(sys.modules, name, module)
            loader.exec_module(module)
            return module

        yield load
