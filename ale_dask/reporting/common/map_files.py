"""Write maps as NIfTI images with a JSON sidecar each, under NiMARE's names."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.findings.model import model_of
from ale_dask.errors import InputError, did_you_mean
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.maps import MapSpec, map_specs_of, stem
from ale_dask.reporting.common.presentation import File as File
from ale_dask.reporting.common.wording import controls, setting
from ale_dask.storage.location import replace_file

MNI152 = 4
"""NIfTI's code of a transform to MNI152 space."""
SIMULATED = "SIMULATED DATA"


def write_maps(result: xr.Dataset, folder: Path) -> list[Path]:
    """Write every map of a result and its sidecar into a folder and return the images' paths.

    Equal results give equal bytes. NaN in a p map means not tested; 0 in another map means no value.
    """
    model = model_of(result)
    specs = map_specs_of(result)

    def write(spec: MapSpec) -> Path:
        base = f"{stem(result.attrs['name'])}_{spec.suffix}"
        path = folder / f"{base}.nii.gz"
        # A p of 0 outside the mask would be the smallest of all.
        fill = np.nan if spec.units == "p" else 0
        data = image_bytes(spec.read(result).astype(spec.dtype), mask=model.mask, fill=fill, simulated=model.simulated)
        replace_file(path, data)
        text = json.dumps(sidecar(result, spec), indent=2, ensure_ascii=False)
        replace_file(folder / f"{base}.json", f"{text}\n".encode())
        return path

    # gzip takes nearly all of the time and releases the interpreter lock.
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(write, specs))


def image(result: xr.Dataset, what: str = "z") -> nib.Nifti1Image:
    """Return a map of a result as a NIfTI image, for nilearn and other programs.

    Parameters
    ----------
    result
        A main effect, contrast or conjunction.
    what
        The map, by the end of the name of its file in a run, such as "z", "logp", or "stat" for ALE. "z" of a contrast
        or a conjunction is its first map of z.

    Returns
    -------
    nibabel.Nifti1Image
        The map on the grid of the mask; 0 outside the mask, NaN in a map of p.

    Raises
    ------
    InputError
        When the result has no such map; the message lists those that it has.

    Examples
    --------
    >>> foci = ale.read_foci("drug.txt")
    >>> result = ale.main_effect(foci, mask="ball.nii.gz", null="uniform", iterations=60, seed=1)
    >>> ale.image(result, "z").shape == ale.load_mask("ball.nii.gz").volume.shape
    True
    """
    specs = {spec.suffix: spec for spec in map_specs_of(result)}
    if what == "z" and what not in specs:
        what = next(spec.suffix for spec in specs.values() if spec.units == "z")
    if what not in specs:
        hint = did_you_mean(what, specs)
        raise InputError(f"'{result.attrs['name']}' has no map '{what}'{hint}; there are: {', '.join(specs)}")
    spec, model = specs[what], model_of(result)
    fill = np.nan if spec.units == "p" else 0
    return _image(spec.read(result).astype(spec.dtype), mask=model.mask, fill=fill, simulated=model.simulated)


def to_volume(values: npt.NDArray[Any], *, mask: Mask, fill: float = 0) -> npt.NDArray[Any]:
    """Return values (voxel) on the mask's grid (x, y, z), with `fill` outside the mask."""
    volume = np.full(mask.volume.shape, fill, dtype=values.dtype)
    volume[mask.volume] = values
    return volume


def image_bytes(values: npt.NDArray[Any], *, mask: Mask, fill: float = 0, simulated: bool = False) -> bytes:
    """Return values (voxel) as the bytes of a gzipped NIfTI image, equal for equal values."""
    data = _image(values, mask=mask, fill=fill, simulated=simulated).to_bytes()
    return gzip.compress(data, compresslevel=3, mtime=0)


def _image(values: npt.NDArray[Any], *, mask: Mask, fill: float, simulated: bool) -> nib.Nifti1Image:
    made = nib.Nifti1Image(to_volume(values, mask=mask, fill=fill), mask.affine)
    made.set_sform(mask.affine, code=MNI152)
    made.header.set_xyzt_units("mm")
    made.header["descrip"] = f"ale_dask {SIMULATED if simulated else ''}".strip().encode()
    return made


def _search(attrs: Mapping[Any, Any]) -> dict[str, Any] | None:
    """Return the region that thresholded maps are restricted to; None if inference was made in the whole mask."""
    if "search" not in attrs:
        return None
    attributes = {"Name": "search", "SHA256": "search_sha256", "Voxels": "search_voxels", "Volume": "search_mm3"}
    return {key: attrs[name] for key, name in attributes.items()}


def sidecar(result: xr.Dataset, spec: MapSpec) -> dict[str, Any]:
    """Return the content of the JSON file beside a map."""
    attrs = result.attrs
    entries: dict[str, Any] = {
        "Description": f"{attrs['name']}: {spec.what}",
        "Units": spec.units,
        "Space": "MNI152",
        "Analysis": attrs["name"],
        "Kind": model_of(result).kind,
        "Input": spec.source or None,
        "Arms": list(attrs.get("arms", ())) or None,
        "Of": list(attrs.get("of", ())) or None,
        "Controls": controls(result, spec),
        "Thresholds": {name: setting(result, name) for name in spec.cuts} or None,
        "Iterations": setting(result, "iterations"),
        "Mask": {"Name": Path(attrs["mask"]).name, "SHA256": attrs["mask_sha256"]},
        "Search": _search(attrs),
        "Identity": attrs["identity"],
        "Plan": attrs.get("plan"),
    }
    return {**{k: v for k, v in entries.items() if v is not None}, "Simulated": model_of(result).simulated}
