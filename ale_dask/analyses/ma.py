"""Compute modelled activation (MA) maps as a chunked array, store them, and reduce them to ALE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from ale_dask.analyses.sample import Sample
from ale_dask.config.inference import Kernel
from ale_dask.errors import StoreError
from ale_dask.numerics.ale import cell_index, full_support, modelled_activation, scratch_of
from ale_dask.numerics.elementary import fixed_point_sum
from ale_dask.storage.checksums import broken_below, hash_of, read_seal, seal_below
from ale_dask.storage.location import Place, remove, remove_file, storage_errors, zarr_store
from ale_dask.storage.zarr_store import open_store, writing

if TYPE_CHECKING:
    import dask.array as da

VOXEL_CHUNK = 65536
UNION_BITS = 40
_ATTEMPTS = 10


def experiment_chunk(n_voxels: int) -> int:
    """Return the number of experiments per chunk of MA maps: 18 on a grid of 2 mm, fewer on finer grids.

    A chunk then has at most 17 MB, and a thread that writes holds two; 64 experiments took 240 MB in two threads.
    """
    return max(1, min(64, 2**22 // n_voxels))


def per_experiment(
    sample: Sample, block: Callable[..., npt.NDArray[Any]], *, size: int, dtype: npt.DTypeLike, **more: Any
) -> da.Array:
    """Return a lazy array (experiment, voxel) with one Dask task per `size` experiments.

    `block` is called with the foci of these experiments in voxels, sigma (experiment, axis), the mask voxel of each
    cell of the grid, whether the foci of an experiment add up, and the arguments `more`. The graph holds the foci of
    each experiment once: with all of 14,000 experiments in each of 225 tasks it would hold 20 MB 225 times.
    """
    import dask.array as da

    index = dask.delayed(cell_index)(sample.mask.volume)
    task = dask.delayed(block)
    more = {name: dask.delayed(value) for name, value in more.items()}
    chunks = []
    for first in range(0, len(sample.key), size):
        points, sigma = sample.points[first : first + size], sample.sigma[first : first + size]
        shape = (len(points), sample.mask.n_voxels)
        chunks.append(da.from_delayed(task(points, sigma, index, sample.additive, **more), shape, dtype=dtype))
    return da.concatenate(chunks)


def _ma_block(
    points: Sequence[npt.NDArray[np.float64]],
    sigma: npt.NDArray[np.float64],
    index: npt.NDArray[np.int32],
    additive: bool,
    *,
    support: float,
    kernel: Kernel,
) -> npt.NDArray[np.float32]:
    scratch = scratch_of(index)
    out = np.zeros((len(points), int(index.max()) + 1), dtype=np.float32)
    for row, foci, width in zip(out, points, sigma, strict=True):
        voxel, ma = modelled_activation(
            foci,
            sigma=width,
            support=full_support(width, support=support, kernel=kernel),
            voxel_of_cell=index,
            additive=additive,
            kernel=kernel,
            scratch=scratch,
        )
        row[voxel] = ma
    return out


def ma_maps(sample: Sample, *, experiments_per_chunk: int | None = None) -> xr.Dataset:
    """Return the lazy MA maps (experiment, voxel), float32 probabilities, with one Dask task per chunk of experiments.

    MA_i(v) is the largest kernel value K(v) of the foci of experiment i (Turkeltaub 2012), or with additive foci
    1 - prod(1 - K(v)).
    """
    size = experiments_per_chunk or experiment_chunk(sample.mask.n_voxels)
    i = sample.inference
    ma = per_experiment(sample, _ma_block, size=size, dtype=np.float32, support=i.support, kernel=i.kernel)
    dataset = xr.Dataset(
        {
            "ma": (("experiment", "voxel"), ma),
            "voxel_ijk": (("voxel", "axis"), sample.mask.voxel_ijk),
            "experiment_key": ("experiment", sample.key),
        },
        attrs=grid_attrs(sample),
    )
    dataset["ma"].attrs.update(units="probability", long_name="modelled activation")
    return dataset


def grid_attrs(sample: Sample) -> dict[str, Any]:
    """Return the attributes of a Dataset of maps that place its voxels in space."""
    mask = sample.mask
    affine = mask.affine.reshape(-1).tolist()
    return {"affine": affine, "shape": list(mask.volume.shape), "mask_sha256": mask.sha256, "space": "MNI"}


def store_ma(out: Place, name: str, sample: Sample, *, identity: str) -> xr.Dataset:
    """Write the MA maps of a sample that OUT lacks or has damaged, and return the stored maps."""
    write_ma(out, name, sample, identity=identity)
    # Two stored chunks, 9 MB, per task: with one, the union of 14,000 experiments would be 3,000 tasks.
    path, chunks = zarr_store(out / "store.zarr"), {"voxel": 2 * VOXEL_CHUNK}
    stored: xr.Dataset = xr.open_zarr(path, group=f"{name}/maps", consolidated=False, chunks=chunks)
    return stored


def write_ma(out: Place, name: str, sample: Sample, *, identity: str) -> None:
    """Write the MA maps of a sample that OUT lacks or has damaged.

    Each Dask task writes whole chunks, and no two tasks the same. A file with the sha256 of all files is written last;
    maps without it, or that differ from it, are computed and written again. Objects whose tag is that of the seal are
    not read again.
    """
    open_store(out)
    group = f"{name}/maps"
    broken = broken_maps(out, name, identity=identity, every_byte=False)
    if broken is None or broken:
        for file in broken or ():
            array, _, last = file.rpartition("/")
            # Writing into an existing array keeps its zarr.json, so that a damaged but readable one would stay: the
            # whole array is removed, because chunks without zarr.json are no part of a store.
            if last == "zarr.json" and array:
                remove(out / "store.zarr" / group / array)
            else:
                remove_file(out / "store.zarr" / group / file)
        _write_maps(out, group, ma_maps(sample), identity=identity)
        seal_below(out / "store.zarr" / group, out / "plans" / name / "maps.json", identity=identity)


def broken_maps(out: Place, name: str, *, identity: str, every_byte: bool = True) -> list[str] | None:
    """Return the files of stored MA maps that differ from their checksums, or None if there are none for these maps.

    Without `every_byte`, an object is not read while its tag in object storage is the one of the seal.
    """
    sealed = _seal_of(out, name, identity)
    where = out / "store.zarr" / name / "maps"
    return None if sealed is None else list(broken_below(where, sealed, every_byte=every_byte))


def _seal_of(out: Place, name: str, identity: str) -> dict[str, Any] | None:
    """Return the seal of stored MA maps, or None where it is missing, damaged or of other maps."""
    try:
        sealed = read_seal(out / "plans" / name / "maps.json")
    except StoreError:
        return None
    return None if sealed is None or sealed.get("identity") != identity else sealed


def content_of_maps(out: Place, name: str, *, identity: str) -> str:
    """Return a hash over the names and hashes of all files of sealed MA maps, and the precision of their ALE."""
    sealed = _seal_of(out, name, identity) or {"files": {}}
    return hash_of({"files": sealed["files"], "bits": UNION_BITS})


def _write_maps(out: Place, group: str, maps: xr.Dataset, *, identity: str) -> None:
    n_experiments, n_voxels = maps["ma"].shape
    voxels = min(VOXEL_CHUNK, n_voxels)
    encoding = {
        "ma": {
            "chunks": (min(experiment_chunk(n_voxels), n_experiments), voxels),
            "compressors": [zarr.codecs.ZstdCodec(level=1), zarr.codecs.Crc32cCodec()],
        },
        "voxel_ijk": {"chunks": (voxels, 3)},
    }
    path = zarr_store(out / "store.zarr")
    # Earlier versions write this attribute, and two drivers of one run must write the same bytes.
    maps = maps.assign_attrs(complete=identity)
    with writing(f"{out}/store.zarr/{group}"):
        for attempt in range(_ATTEMPTS):
            try:
                stored = open_store(out).get(group)
                # Existing arrays are written in place: another driver may have created them, and may be reading them.
                existing = set(stored.array_keys()) if isinstance(stored, zarr.Group) else set()
                new = {variable: settings for variable, settings in encoding.items() if variable not in existing}
                maps.to_zarr(path, group=group, mode="a", consolidated=False, zarr_format=3, encoding=new)
                return
            except StoreError:
                raise
            except storage_errors():
                raise
            except Exception as error:
                # Another driver has created an array meanwhile. If that happens every time, a zarr.json is damaged.
                if attempt + 1 == _ATTEMPTS:
                    raise StoreError(
                        f"{out}/store.zarr/{group}: cannot be written over ({error}); delete it and run again"
                    ) from error


def ale_union(*maps: xr.Dataset) -> xr.DataArray:
    """Return the lazy ALE (voxel), float64 probability, of MA maps on one mask.

    ALE = 1 - prod(1 - MA), as -expm1 of an integer sum of rint(-log1p(-MA) * 2^40): a sum of integers is the
    same for any chunking, a sum of floats is not.
    """
    total = sum(_union_sum(dataset["ma"].data) for dataset in maps)
    return xr.DataArray(-np.expm1(-(total / 2.0**UNION_BITS)), dims="voxel", name="ale")


def stored_ale(out: Place, name: str) -> npt.NDArray[np.float64]:
    """Return the ALE (voxel) of the MA maps that OUT holds under a name, read chunk by chunk of experiments.

    It has the bits of `ale_union`, which for few experiments takes ten times as long to plan as to compute.
    """
    ma: Any = open_store(out)[f"{name}/maps/ma"]
    rows = ma.chunks[0]
    total = sum(_sum_of_chunk(ma[i : i + rows], (0,), False)[0] for i in range(0, ma.shape[0], rows))
    return np.asarray(-np.expm1(-(total / 2.0**UNION_BITS)))


def _sum_of_chunk(ma: npt.NDArray[np.float32], axis: tuple[int, ...], keepdims: bool) -> npt.NDArray[np.int64]:
    # zarr returns NaN for a missing chunk.
    if np.isnan(ma).any():
        raise StoreError("a chunk of the stored MA maps was lost while they were read; run the same command again")
    return fixed_point_sum(ma, bits=UNION_BITS)[None, :]


def _union_sum(ma: Any) -> da.Array:
    """Return the lazy fixed-point sum (voxel), int64, of MA maps; a task turns each chunk into one row."""
    import dask.array as da

    return da.reduction(
        da.asarray(ma),
        chunk=_sum_of_chunk,
        aggregate=np.sum,
        axis=0,
        split_every=8,
        dtype=np.int64,
        meta=np.empty(0, dtype=np.int64),
    )
