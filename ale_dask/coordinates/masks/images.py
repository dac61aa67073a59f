"""Image files, read within a limit of memory; whatever is no 3-D image of numbers is an InputError."""

from __future__ import annotations

import contextlib
import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import nibabel as nib
import numpy as np
import numpy.typing as npt

from ale_dask.errors import InputError

MAX_BYTES = 2**30
"""Size to which an image may unpack: a brain of 0.5 mm voxels in 64-bit numbers takes half of it."""
MAX_EDGE = 32_767
"""Number of voxels along an axis, so that positions fit into 16 bits."""
_MAX_HEADER = 16 * 2**20
_PADDING = 16
_GZIP = b"\x1f\x8b"
_CHUNK = 2**20


class Image(NamedTuple):
    """The voxels above 0 (x, y, z), the affine (4, 4) in mm, and notes for the user on how they were read."""

    volume: npt.NDArray[np.bool_]
    affine: npt.NDArray[np.float64]
    notes: tuple[str, ...]


def read_image(path: Path, *, what: str) -> Image:
    """Return the voxels of an image file that are above 0; voxels without a finite number count as outside.

    Raises
    ------
    InputError
        beginning with `what`, for a file that is no 3-D image of numbers, is damaged, holds less or more than its
        header says, or unpacks to more than 1 GB.
    """
    with _reading(what):
        image = _opened(path, what=what)
        volume, not_finite = _above(image, what=what)
        affine = np.asarray(image.affine, dtype=np.float64)
    notes = [f"{not_finite:,} voxels of {what} that hold no finite number count as outside"] if not_finite else []
    if isinstance(image.header, nib.Nifti1Header) and not (image.header["sform_code"] or image.header["qform_code"]):
        notes.append(f"the header of {what} does not say where the image lies: it was taken to be centred on 0 0 0")
    return Image(volume, affine, tuple(notes))


def read_numbers(path: Path, *, what: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the voxels (x, y, z), float64, of an image file of numbers and its affine (4, 4) in mm.

    Raises
    ------
    InputError
        as `read_image`.
    """
    with _reading(what):
        image = _opened(path, what=what)
        volume = np.asarray(image.dataobj, dtype=np.float64)
        return volume.reshape(volume.shape[:3]), np.asarray(image.affine, dtype=np.float64)


@contextlib.contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{what}: does not fit into memory; give an image of fewer voxels") from error
    except Exception as error:
        # For a damaged file nibabel raises nearly anything, from its own errors to struct.error and OverflowError.
        raise InputError(f"{what}: cannot be read as an image ({error}); write or copy it again") from error


def _opened(path: Path, *, what: str) -> Any:
    """Return the image of a file whose header was checked; its voxels are not read yet."""
    if not path.is_file():
        problem = "this is no regular file" if path.exists() else "no such file"
        raise InputError(f"{what}: {problem}; give a NIfTI image")
    _check_file(path, what=what)
    image: Any = nib.load(path)
    _check_shape(image, what=what)
    return image


def _unpacked(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
    return cast("IO[bytes]", gzip.open(path) if packed else path.open("rb"))


def _check_file(path: Path, *, what: str) -> None:
    """Raise an InputError for a file that is too large, or a NIfTI file of another size than its header says."""
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{what}: more than {MAX_BYTES:,} bytes; give an image of fewer voxels")
    try:
        with _unpacked(path) as file:
            head = file.read(544)
            promised = _bytes_of(head, what=what)
            if promised is None:
                return
            remaining = promised + _PADDING + 1 - len(head)
            while remaining > 0 and (part := file.read(min(remaining, _CHUNK))):
                remaining -= len(part)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{what}: the gzip file is damaged or cut off ({error}); copy it again") from error
    size = promised + _PADDING + 1 - remaining
    if size < promised or remaining <= 0:
        raise InputError(
            f"{what}: its header promises {promised:,} bytes, but the file has "
            f"{'more' if remaining <= 0 else f'{size:,}'}; write or copy it again"
        )


def _bytes_of(head: bytes, *, what: str) -> int | None:
    """Return the size in bytes that a NIfTI image in one file has by its header; None for other files."""
    for order in "<>":
        size = struct.unpack(f"{order}i", head[:4])[0] if len(head) >= 4 else 0
        if size == 348 and len(head) >= 348 and head[344:347] == b"n+1":
            dim = struct.unpack(f"{order}8h", head[40:56])
            bits = struct.unpack(f"{order}h", head[72:74])[0]
            offset = struct.unpack(f"{order}f", head[108:112])[0]
        elif size == 540 and len(head) >= 540 and head[4:7] == b"n+2":
            bits = struct.unpack(f"{order}h", head[14:16])[0]
            dim = struct.unpack(f"{order}8q", head[16:80])
            offset = float(struct.unpack(f"{order}q", head[168:176])[0])
        else:
            continue
        if not 1 <= dim[0] <= 7 or any(n < 1 for n in dim[1 : dim[0] + 1]) or bits < 1:
            shown = " x ".join(map(str, dim[1 : 1 + min(max(dim[0], 1), 7)]))
            raise InputError(f"{what}: its header says {dim[0]} axes of {shown} voxels of {bits} bits; write it again")
        if not 0 <= offset <= _MAX_HEADER:
            raise InputError(f"{what}: its header says that the voxels begin at byte {offset:g}; write it again")
        promised = max(int(offset), size) + -(-math.prod(dim[1 : dim[0] + 1]) * bits // 8)
        if promised > MAX_BYTES:
            raise InputError(
                f"{what}: unpacks to {promised:,} bytes, more than the {MAX_BYTES:,} that an image may have; give one "
                "of fewer voxels"
            )
        return int(promised)
    return None


def _check_shape(image: Any, *, what: str) -> None:
    shape = tuple(int(n) for n in image.shape)
    dtype = np.dtype(image.get_data_dtype())
    if len(shape) < 3 or any(n != 1 for n in shape[3:]) or any(not 1 <= n <= MAX_EDGE for n in shape):
        raise InputError(f"{what}: its shape is {' x '.join(map(str, shape))}; need one 3-D image")
    if dtype.kind not in "biuf":
        raise InputError(f"{what}: its voxels are of type {dtype}; need numbers")
    if math.prod(shape) * dtype.itemsize > MAX_BYTES:
        raise InputError(f"{what}: unpacks to more than {MAX_BYTES:,} bytes; give an image of fewer voxels")


def _above(image: Any, *, what: str) -> tuple[npt.NDArray[np.bool_], int]:
    """Return the voxels (x, y, z) above 0, bool, and the number of voxels without a finite number."""
    proxy = image.dataobj
    slope, inter = float(getattr(proxy, "slope", 1.0)), float(getattr(proxy, "inter", 0.0))
    raw = proxy.get_unscaled() if hasattr(proxy, "get_unscaled") else np.asanyarray(proxy)
    raw = raw.reshape(raw.shape[:3])
    if not (math.isfinite(slope) and math.isfinite(inter)):
        raise InputError(f"{what}: its header scales voxels by {slope:g} and {inter:g}; write it again")
    volume = np.zeros(raw.shape, dtype=bool)
    not_finite = 0
    # Plane by plane, so that the numbers in 64 bits never take the memory of a whole image.
    with np.errstate(all="ignore"):
        for k in range(raw.shape[2]):
            plane = raw[:, :, k].astype(np.float64) * slope + inter
            finite = np.isfinite(plane)
            not_finite += int(finite.size - np.count_nonzero(finite))
            volume[:, :, k] = finite & (plane > 0)
    return volume, not_finite
