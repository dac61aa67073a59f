"""Label images of brain networks that can be fetched by name: Yeo 2011 and Schaefer 2018, under the MIT licence."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ale_dask.datasets.download import File, Progress, cache, obtain

_YEO = (
    "https://raw.githubusercontent.com/rubykong/cbig_network_correspondence/6e871d5509beacc64d013f066df20c4f0b977490/"
    "src/cbig_network_correspondence/data/atlases/FSLMNI2mm/YeoLab/"
)
_SCHAEFER = (
    "https://raw.githubusercontent.com/ThomasYeoLab/CBIG/v0.14.3-Update_Yeo2011_Schaefer2018_labelname/"
    "stable_projects/brain_parcellation/Schaefer2018_LocalGlobal/Parcellations/MNI/"
)
_INDEXED = re.compile(r"\s*(\d+)[\s,]+(\S+)")


@dataclass(frozen=True)
class AtlasImage:
    """A label image on the 2 mm grid of MNI152: its words, address and files, and the names of its labels from 1.

    Without `names` they stand in its second file.
    """

    title: str
    citation: str
    """The key of its paper in the list of references."""
    url: str
    files: tuple[File, ...]
    names: tuple[str, ...] = ()


def _yeo(number: int, sha256: str, names: str) -> AtlasImage:
    file = File(f"TY{number}.nii.gz", f"TY{number}.nii.gz", sha256)
    return AtlasImage(f"{number} networks of Yeo et al. 2011", "yeo2011", _YEO, (file,), tuple(names.split()))


def _schaefer(parcels: int, networks: int) -> AtlasImage:
    begin = f"Schaefer2018_{parcels}Parcels_{networks}Networks_order"
    # As nilearn takes them: addresses of a tag, so that the sha256 of the first copy is recorded beside it.
    files = tuple(File(name, name) for name in (f"{begin}_FSLMNI152_2mm.nii.gz", f"{begin}.txt"))
    return AtlasImage(f"{parcels} parcels of Schaefer et al. 2018", "schaefer2018", _SCHAEFER, files)


ATLAS_IMAGES = {
    "yeo7": _yeo(
        7,
        "2a06ec4765fbcdd8c87b530cc48af4202c12d48c686fb5dad0257d4cdbfea550",
        "Visual Somatomotor DorsAttn Sal/VenAttn Limbic Control Default",
    ),
    "yeo17": _yeo(
        17,
        "2e28239057cc1c80820b681b05eb51084af75f75db70e163dd1915f65701ef98",
        "VisualA VisualB SomatomotorA SomatomotorB DorsAttnA DorsAttnB Sal/VenAttnA Sal/VenAttnB LimbicA "
        "LimbicB ControlC ControlA ControlB TempPar DefaultC DefaultA DefaultB",
    ),
    **{f"schaefer{n}": _schaefer(n, 7) for n in range(100, 1001, 100)},
    **{f"schaefer{n}-17": _schaefer(n, 17) for n in range(100, 1001, 100)},
}
"""The label images by name; the parcels of Schaefer are named by 7 networks, or by 17."""


def fetch_atlas(name: str, *, folder: Path | None = None, progress: Progress | None = None) -> list[Path]:
    """Return the paths of the files of a label image, downloaded once into a folder of atlases and checked.

    The environment variable ALE_DASK_ATLASES_URL is the address of another server with the files.

    Raises
    ------
    BackendError
        if the server cannot be reached (with what to download by hand), or a file is not the published one.
    UnfinishedError
        if the connection breaks; the same call resumes.
    """
    known = ATLAS_IMAGES[name]
    server = (os.environ.get("ALE_DASK_ATLASES_URL") or known.url).rstrip("/")
    files = [File(file.name, f"{server}/{file.url}", file.sha256) for file in known.files]
    return obtain(files, folder=(cache() if folder is None else folder) / "atlases", progress=progress)


def atlas_image(name: str) -> tuple[Path, dict[int, str]]:
    """Return the path of a label image by its name, fetched where it is not there yet, and the names of its labels."""
    path, *names = fetch_atlas(name)
    known = ATLAS_IMAGES[name].names
    return path, dict(enumerate(known, 1)) if known else label_names(names[0].read_text(encoding="utf-8"))


def label_names(text: str) -> dict[int, str]:
    """Return the names of labels of a text: lines "NUMBER NAME …", or one name per line from label 1."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    pairs = [pair for line in lines if (pair := _INDEXED.match(line))]
    if pairs:
        return {int(pair[1]): pair[2] for pair in pairs if int(pair[1])}
    return {i: line.strip() for i, line in enumerate(lines, 1)}
