"""Seeds of meta-analytic connectivity modelling: a sphere, an image, a region of an atlas, or a cluster of a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.findings.atlas import ATLASES, atlas, belongs
from ale_dask.config.inference import BUILT_IN
from ale_dask.config.names import name_from
from ale_dask.coordinates.masks import load_mask
from ale_dask.coordinates.masks.images import read_numbers
from ale_dask.errors import BackendError, InputError, StoreError, did_you_mean
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.extra import LABELS, missing_extra
from ale_dask.reporting.common.map_files import image_bytes
from ale_dask.reporting.tables.contributions import surviving_clusters
from ale_dask.storage.location import place
from ale_dask.workflows.run import collect

FORMS = (
    "a sphere x,y,z,radius in mm, an image, image:LABEL of an image of labels, "
    f"ATLAS:REGION ({', '.join(ATLASES)}), or OUT:ANALYSIS:NUMBER, a cluster of a finished run"
)
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]*)=(.+)", re.DOTALL)
_NUMBER = r"\s*([-+]?\d+(?:\.\d*)?)\s*"
_SPHERE = re.compile(rf"\(?{','.join([_NUMBER] * 4)}\)?")
_LABELLED = re.compile(r"(.+\.(?:nii|nii\.gz|img|hdr|mgz)):(.+)", re.IGNORECASE)
_CLUSTER = re.compile(r"(.+):([a-z0-9][a-z0-9_-]*):(\d+)")
_ROW = re.compile(r'\s*"?(\d+)"?[\s,;]+"?([^",;\t]+)')
_MOST_NAMED = 12


@dataclass(frozen=True, eq=False)
class Seed:
    """A place in the brain: its name, what it is in words, and the rule of selection that asks for a focus in it."""

    name: str
    words: str
    rule: dict[str, Any]
    """The keys of a rule of selection; `inside` is the name of the file with `image`."""
    region: Mask | None
    """Its voxels; None of a sphere."""

    @property
    def image(self) -> dict[str, bytes]:
        """The image that the rule names, by its name; {} of a sphere."""
        if self.region is None:
            return {}
        return {self.rule["inside"]: image_bytes(np.ones(self.region.n_voxels, dtype=np.uint8), mask=self.region)}

    def holds(self, xyz: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Return whether foci (focus, axis), in mm MNI, lie in it (focus), as the rule of selection does."""
        if self.region is not None:
            return np.asarray(self.region.voxel_at(xyz) >= 0)
        return np.asarray(np.sqrt(((xyz - np.array(self.rule["near"])) ** 2).sum(axis=1)) <= self.rule["mm"])


def read_seed(text: str, *, mask: Mask) -> Seed:
    """Return the seed that a text describes; NAME= before it gives it a name.

    Raises
    ------
    InputError
        for a text of another form, an empty seed, one outside the mask, and a region or a cluster that is not there.
    """
    named = _NAMED.fullmatch(text)
    name, rest = (named[1].lower(), named[2]) if named else ("", text)
    if sphere := _SPHERE.fullmatch(rest):
        return _sphere(name, [float(number) for number in sphere.groups()], mask=mask)
    volume, affine, words, own = _region(rest, mask=mask)
    if not volume.any():
        raise InputError(f"seed '{rest}': has no voxel in mask '{mask.name}'; give another seed")
    region = Mask(volume, affine, name="seed", what="seed")
    if not (region.voxel_at(mask.to_mm(mask.voxel_ijk)) >= 0).any():
        raise InputError(f"seed '{rest}': none of its voxels lies in mask '{mask.name}'; is it in MNI space?")
    name = name_from(name or own, otherwise="seed")
    mm3 = region.n_voxels * region.voxel_volume
    return Seed(name, f"{words}, {mm3:,.0f} mm³", {"inside": f"{name}_seed.nii.gz"}, region)


def _sphere(name: str, numbers: list[float], *, mask: Mask) -> Seed:
    *center, radius = numbers
    if not 0 < radius <= 100:
        raise InputError(f"seed: a sphere of {radius:g} mm; give a radius above 0 and up to 100 mm, as x,y,z,radius")
    at = np.array(center)
    inside = ((mask.to_mm(mask.voxel_ijk) - at) ** 2).sum(axis=1) <= radius**2
    where = " ".join(f"{c:g}" for c in center)
    if not inside.any():
        raise InputError(f"seed '{where}': no voxel of mask '{mask.name}' lies within {radius:g} mm of it")
    words = f"the sphere of {radius:g} mm around {where}"
    return Seed(name_from(name or f"at {where}"), words, {"near": center, "mm": radius}, None)


_Region = tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64], str, str]
"""Voxels (x, y, z), the affine (4, 4) in mm, what they are in words, and a name for them."""


def _region(text: str, *, mask: Mask) -> _Region:
    if found := _LABELLED.fullmatch(text):
        return _labelled(Path(found[1]), found[2].strip())
    atlases = {name.lower(): name for name in ATLASES}
    head, colon, label = text.partition(":")
    if colon and head.strip().lower() in atlases:
        return _of_atlas(atlases[head.strip().lower()], label.strip(), mask=mask)
    if (found := _CLUSTER.fullmatch(text)) and not Path(text).exists():
        return _cluster(found[1], found[2], int(found[3]))
    if not Path(text).exists() and text not in BUILT_IN:
        raise InputError(f"seed '{text}': no such file; give {FORMS}")
    image = load_mask(text, key="seed")
    stem = Path(text).name.split(".")[0]
    return image.volume, image.affine, f"the image {Path(text).name}", stem


def _labelled(path: Path, wanted: str) -> _Region:
    """Return the voxels of an image of labels with a number, or with a name in the table of labels beside it."""
    volume, affine = read_numbers(path, what=f"seed '{path}'")
    names = _names_beside(path)
    if wanted.isdigit():
        numbers = [int(wanted)]
    else:
        numbers = [number for number, name in names.items() if name.lower() == wanted.lower()]
    if not numbers:
        raise InputError(
            f"seed '{path}:{wanted}': no label has this name{did_you_mean(wanted, names.values())}; "
            + (f"{len(names)} labels are named beside it" if names else "there is no table of labels beside the image")
        )
    inside = np.isin(volume, numbers)
    if not inside.any():
        present = sorted({int(v) for v in np.unique(volume[np.isfinite(volume)]) if v})
        shown = ", ".join(map(str, present[:_MOST_NAMED])) + (" …" if len(present) > _MOST_NAMED else "")
        raise InputError(f"seed '{path}:{wanted}': no voxel has label {numbers[0]}; there are {shown or 'none'}")
    label = names.get(numbers[0], wanted)
    stem = path.name.split(".")[0]
    return inside, affine, f"region {label} of {path.name}", label if label in names.values() else f"{stem} {label}"


def _names_beside(path: Path) -> dict[int, str]:
    """Return the names of labels in the text file that is named as their image is: rows of a number and a name."""
    stem = path.name.split(".")[0]
    for suffix in (".tsv", ".csv", ".txt"):
        table = path.with_name(stem + suffix)
        if table.is_file():
            rows = (_ROW.match(line) for line in table.read_text(encoding="utf-8-sig").splitlines())
            return {int(row[1]): row[2].strip() for row in rows if row}
    return {}


def _of_atlas(column: str, wanted: str, *, mask: Mask) -> _Region:
    """Return the voxels of a mask in a region of an atlas; a name without its side takes both sides."""
    if missing := missing_extra(*LABELS):
        raise BackendError(f"seed '{column}:{wanted}': {missing}")
    names = {number: name for number, name in atlas(column).names.items() if belongs(name, column)}
    sides = {wanted.lower(), f"{wanted.lower()} l", f"{wanted.lower()} r"}
    numbers = [number for number, name in names.items() if name.lower() in sides]
    if not numbers:
        raise InputError(
            f"seed '{column}:{wanted}': the atlas has no such region{did_you_mean(wanted, names.values())}; it has "
            f"{', '.join(sorted(names.values())[:_MOST_NAMED])} …"
        )
    volume = np.zeros(mask.volume.shape, dtype=bool)
    volume[mask.volume] = np.isin(atlas(column).at(mask.to_mm(mask.voxel_ijk)), numbers)
    return volume, mask.affine, f"{' and '.join(names[n] for n in numbers)} of {column}", wanted


def _cluster(out: str, analysis: str, number: int) -> _Region:
    """Return a surviving cluster of a finished run, by its number in the table of clusters."""
    if not (place(out) / "study.toml").is_file():
        raise InputError(f"seed '{out}:{analysis}:{number}': {out} holds no run; give {FORMS}")
    try:
        _, results, _ = collect(out)
    except StoreError as error:
        raise InputError(f"seed '{out}:{analysis}:{number}': {error}") from error
    if analysis not in results:
        hint = did_you_mean(analysis, results)
        raise InputError(f"seed '{out}:{analysis}:{number}': no such analysis{hint}; there are {', '.join(results)}")
    clusters = surviving_clusters(results[analysis], "cluster-fwe")
    cluster = next((c for c in clusters if c.number == number), None)
    if cluster is None:
        raise InputError(f"seed '{out}:{analysis}:{number}': '{analysis}' has {len(clusters)} surviving cluster(s)")
    shape = tuple(int(n) for n in results[analysis].attrs["shape"])
    volume = np.zeros(shape, dtype=bool)
    volume[tuple(results[analysis]["voxel_ijk"].values[cluster.voxels].T)] = True
    affine = np.array(results[analysis].attrs["affine"], dtype=np.float64).reshape(4, 4)
    return volume, affine, f"cluster {number} of {analysis} in {Path(out).name}", f"{analysis} {number}"
