"""Compute the ALE map without each experiment by subtraction of its fixed-point values: S_{-i} = S - X_i."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from zarr.codecs import Crc32cCodec, ZstdCodec

from ale_dask.analyses.ma import experiment_chunk, grid_attrs, per_experiment
from ale_dask.analyses.sample import Sample
from ale_dask.config.inference import Kernel
from ale_dask.numerics.ale import ale_from_s, fixed_point_rows
from ale_dask.schema import describe
from ale_dask.storage.checksums import broken_below, read_seal, seal_below
from ale_dask.storage.location import Place, remove_file, zarr_store
from ale_dask.storage.zarr_store import open_store, writing

GROUP = "leave_one_out"


def leave_one_out(sample: Sample, *, s: npt.NDArray[Any], bits: int) -> xr.Dataset:
    """Return lazy ALE, float32 probability, and sums S, int32, without each experiment (experiment, voxel).

    S_{-i} = S - X_i with X_i = rint(-log1p(-MA_i) 2^bits) and S (voxel) of the plan. The integers equal those of an
    analysis without experiment i at the same scale, with kernels cut off as in its null.
    """
    import dask.array as da

    without = per_experiment(
        sample,
        _block,
        size=experiment_chunk(sample.mask.n_voxels),
        dtype=np.int32,
        support=sample.inference.support,
        kernel=sample.inference.kernel,
        s=s.astype(np.int32),
        bits=bits,
    )
    dims = ("experiment", "voxel")
    dataset = xr.Dataset(
        {
            "ale_without": (dims, da.map_blocks(_ale, without, bits=bits, dtype=np.float32)),
            "s_without": (dims, without),
            "voxel_ijk": (("voxel", "axis"), sample.mask.voxel_ijk),
            "experiment_key": ("experiment", sample.key),
            "experiment_id": ("experiment", sample.foci["experiment_id"].values),
        },
        attrs={**grid_attrs(sample), "scale_bits": bits},
    )
    return describe(dataset)


def store_leave_one_out(out: Place, name: str, dataset: xr.Dataset) -> str:
    """Write the ALE maps without each experiment in parallel, each chunk by one task, and return where they are."""
    open_store(out)
    where = f"{name}/{GROUP}"
    remove_file(out / "plans" / where / "files.json")
    maps = dataset.drop_vars(["s_without", "experiment_id"])
    maps.attrs["experiment_id"] = [str(i) for i in dataset["experiment_id"].values]
    encoding = {"ale_without": {"compressors": [ZstdCodec(level=1), Crc32cCodec()]}}
    with writing(f"{out}/store.zarr/{where}"):
        maps.to_zarr(
            zarr_store(out / "store.zarr"), group=where, mode="w", consolidated=False, zarr_format=3, encoding=encoding
        )
    seal_below(out / "store.zarr" / where, out / "plans" / where / "files.json")
    return f"{out}/store.zarr/{where}"


def broken_leave_one_out(out: Place, name: str) -> list[str]:
    """Return the files of stored leave-one-out maps that differ from their checksums; none if there are no maps."""
    where = f"{name}/{GROUP}"
    sealed = read_seal(out / "plans" / where / "files.json")
    return [] if sealed is None else list(broken_below(out / "store.zarr" / where, sealed))


def _block(
    points: Sequence[npt.NDArray[np.float64]],
    sigma: npt.NDArray[np.float64],
    index: npt.NDArray[np.int32],
    additive: bool,
    *,
    support: float,
    kernel: Kernel,
    s: npt.NDArray[np.int32],
    bits: int,
) -> npt.NDArray[np.int32]:
    out = np.repeat(s[None, :], len(points), axis=0)
    rows = fixed_point_rows(
        points,
        sigma=sigma,
        support=np.full(len(points), support),
        voxel_of_cell=index,
        bits=bits,
        additive=additive,
        kernel=kernel,
    )
    for without, (voxel, value) in zip(out, rows, strict=True):
        without[voxel] -= value
    return out


def _ale(without: npt.NDArray[np.int32], *, bits: int) -> npt.NDArray[np.float32]:
    return ale_from_s(without, bits=bits).astype(np.float32)
