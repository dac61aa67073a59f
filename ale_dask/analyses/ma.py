"""Modelled activation maps as a chunked array, and the ALE union as a lazy reduction over it."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from ale_dask.analyses.sample import Sample
from ale_dask.data.places import Place, zarr_store
from ale_dask.data.store import open_store, writing
from ale_dask.numerics.ale import cell_index, modelled_activation, scratch_of, support_for_floor
from ale_dask.numerics.elementary import fixed_point_sum

VOXEL_CHUNK = 16384
UNION_BITS = 40
_ATTEMPTS = 10


def experiment_chunk(n_voxels: int) -> int:
    """Return the experiments of a chunk: 64 at 2 mm, fewer on finer grids, so that a task holds 64 MB at most."""
    return max(1, min(64, 2**24 // n_voxels))


def _block(experiments: npt.NDArray[np.int64], sample: Sample) -> npt.NDArray[np.float32]:
    index = cell_index(sample.mask.volume)
    scratch = scratch_of(index)
    out = np.zeros((len(experiments), sample.mask.n_voxels), dtype=np.float32)
    for row, e in enumerate(experiments):
        sigma = sample.sigma[e]
        voxel, ma = modelled_activation(
            sample.points[e],
            sigma=sigma,
            support=support_for_floor(sigma),
            voxel_of_cell=index,
            additive=sample.additive,
            scratch=scratch,
        )
        out[row, voxel] = ma
    return out


def ma_maps(sample: Sample, *, experiments_per_chunk: int | None = None) -> xr.Dataset:
    """Return the lazy MA maps (experiment, voxel), float32 probabilities, one Dask task per chunk of experiments.

    MA_i(v) = max over the experiment's foci of K(v) (Turkeltaub 2012); nothing is computed here.
    """
    n = len(sample.key)
    chunk = experiments_per_chunk or experiment_chunk(sample.mask.n_voxels)
    which = da.from_array(np.arange(n), chunks=chunk)
    ma = da.map_blocks(
        _block,
        which,
        sample=sample,
        new_axis=1,
        chunks=(which.chunks[0], (sample.mask.n_voxels,)),
        dtype=np.float32,
        meta=np.empty((0, 0), dtype=np.float32),
    )
    dataset = xr.Dataset(
        {
            "ma": (("experiment", "voxel"), ma),
            "voxel_ijk": (("voxel", "axis"), sample.mask.voxel_ijk),
            "experiment_key": ("experiment", sample.key),
        },
        attrs={
            "affine": sample.mask.affine.reshape(-1).tolist(),
            "shape": list(sample.mask.volume.shape),
            "mask_sha256": sample.mask.sha256,
            "space": "MNI",
        },
    )
    dataset["ma"].attrs.update(units="probability", long_name="modelled activation")
    return dataset


def store_ma(out: Place, name: str, sample: Sample, *, identity: str) -> xr.Dataset:
    """Return the MA maps as stored in OUT, writing them in parallel first unless they are there.

    Each Dask task writes its own whole chunks; a mark set after the last one makes them count.
    """
    root = open_store(out)
    group = f"{name}/maps"
    path = zarr_store(out / "store.zarr")
    kept = root.get(group)
    if kept is None or kept.attrs.get("complete") != identity:
        maps = ma_maps(sample)
        chunks = (experiment_chunk(sample.mask.n_voxels), VOXEL_CHUNK)
        encoding = {
            "ma": {
                "chunks": tuple(min(size, n) for size, n in zip(chunks, maps["ma"].shape, strict=True)),
                "compressors": [zarr.codecs.ZstdCodec(level=1), zarr.codecs.Crc32cCodec()],
            }
        }
        with writing(f"{out}/store.zarr/{group}"):
            for attempt in range(_ATTEMPTS):
                # Arrays that are there are written over in place: another driver may be reading them.
                there = isinstance(kept, zarr.Group) and "ma" in kept
                new: dict[str, Any] = {} if there else {"encoding": encoding}
                try:
                    maps.to_zarr(path, group=group, mode="a", consolidated=False, zarr_format=3, **new)
                    break
                except ValueError:
                    # Another driver has made an array since we looked.
                    if attempt + 1 == _ATTEMPTS:
                        raise
                    kept = open_store(out).get(group)
            open_store(out)[group].attrs["complete"] = identity
    stored: xr.Dataset = xr.open_zarr(path, group=group, consolidated=False)
    return stored


def ale_union(*maps: xr.Dataset) -> xr.DataArray:
    """Return the lazy ALE (voxel), float64 probability, of MA maps on one mask.

    ALE = 1 - prod(1 - MA), as -expm1 of an integer sum of rint(-log1p(-MA) * 2^40): a sum of integers is the
    same for any chunking, a sum of floats is not.
    """
    total = sum(_union_sum(dataset["ma"].data) for dataset in maps)
    return xr.DataArray(-np.expm1(-(total / 2.0**UNION_BITS)), dims="voxel", name="ale")


def _union_sum(ma: Any) -> da.Array:
    """Return the lazy sum (voxel), int64: each chunk of MA maps becomes one row of it at once."""

    def of_chunk(ma: npt.NDArray[np.float32], axis: tuple[int, ...], keepdims: bool) -> npt.NDArray[np.int64]:
        return fixed_point_sum(ma, bits=UNION_BITS)[None, :]

    return da.reduction(
        da.asarray(ma), chunk=of_chunk, aggregate=np.sum, axis=0, dtype=np.int64, meta=np.empty(0, np.int64)
    )
