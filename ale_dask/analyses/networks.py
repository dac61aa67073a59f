"""Tell the network of each voxel, or its region in another label image, so that tables can say where a cluster lies."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.findings.atlas import LEAST
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.keyed import Keyed
from ale_dask.analyses.statistics.images import GridImage, on_grid
from ale_dask.config.inference import Inference
from ale_dask.numerics.space import Mask
from ale_dask.schema import describe

NETWORK = "network_of_voxel"
UNLABELLED = "unlabelled"


def check_networks(inference: Inference, mask: Mask) -> None:
    """Raise an InputError where the label image of some settings cannot be used on a mask, before anything is run."""
    if inference.networks is not None:
        _image(inference.networks, mask)


def with_networks(result: xr.Dataset) -> xr.Dataset:
    """Return a result with the label of each voxel (voxel), int64, in the image that its settings name, if any."""
    model = model_of(result)
    if model.inference.networks is None:
        return result
    image = _image(model.inference.networks, model.mask)
    labels = np.zeros(model.mask.n_voxels, dtype=np.int64)
    labels[model.mask.searched] = image.values
    about = {
        "image": image.name,
        "labels": json.dumps(image.labels),
        "sha256": hashlib.sha256(labels.tobytes()).hexdigest(),
        "note": image.note,
        "citation": image.citation,
    }
    return describe(result.assign({NETWORK: ("voxel", labels, about)}))


def network_shares(result: xr.Dataset, voxels: npt.NDArray[np.int64]) -> dict[str, float]:
    """Return the share of some voxels in each network by its name, the largest first; those in none are one more."""
    variable = result[NETWORK]
    names = {int(label): str(name) for label, name in json.loads(variable.attrs["labels"]).items()}
    labels, counts = np.unique(variable.values[voxels], return_counts=True)
    found = zip(counts.tolist(), labels.tolist(), strict=True)
    return {names.get(i, UNLABELLED): n / len(voxels) for n, i in sorted(found, key=lambda pair: (-pair[0], pair[1]))}


def share_words(shares: dict[str, float]) -> str:
    """Return shares of networks in one text, from the largest down to 5 %."""
    return "; ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= LEAST)


def _image(name: str, mask: Mask) -> GridImage:
    # A file may have been written again under its name.
    path = Path(name)
    changed = path.stat().st_mtime_ns if path.is_file() else 0
    return _on_mask(Keyed((name, changed, mask.sha256, mask.searched.tobytes()), (name, mask)))


@lru_cache(maxsize=8)
def _on_mask(of: Keyed[tuple[str, Mask]]) -> GridImage:
    name, mask = of.value
    return on_grid(name, mask, wanted="labels")
