"""Images that are no masks: one error each, that names the file and the reason, in bounded memory."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ale_dask.coordinates.masks import load_mask
from ale_dask.coordinates.masks.images import MAX_BYTES, read_image
from ale_dask.errors import InputError
from ale_dask.numerics.space import check_affine


def written(path: Path, *, dtype: str = "u1", shape: tuple[int, ...] = (6, 7, 8), affine: object = None) -> bytearray:
    """Return the bytes of a good NIfTI image, not gzipped, that were also written to a file."""
    volume = np.ones(shape, dtype=dtype)
    nib.save(nib.Nifti1Image(volume, np.diag([2.0, 2, 2, 1]) if affine is None else affine), path)
    return bytearray(path.read_bytes())


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_mask(path)
    said = str(caught.value)
    assert path.name in said
    return said


def changed(path: Path, *, at: int, form: str, value: object) -> Path:
    data = written(path)
    struct.pack_into(form, data, at, *(value if isinstance(value, tuple) else (value,)))
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_good_image_is_read_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"good{suffix}"
    written(path)
    mask = load_mask(path)
    assert mask.n_voxels == 6 * 7 * 8
    assert mask.notes == ()


@pytest.mark.parametrize(
    ("at", "form", "value", "reason"),
    [
        (42, "<h", 60, "promises"),
        (42, "<h", 3, "promises"),
        (42, "<h", 0, "its header says 3 axes of 0 x 7 x 8"),
        (42, "<h", -6, "its header says"),
        (40, "<h", 0, "its header says 0 axes"),
        (40, "<8h", (3, 32000, 32000, 32000, 1, 1, 1, 1), "unpacks to"),
        (70, "<h", 999, "cannot be read as an image"),
        (72, "<h", 0, "of 0 bits"),
        (108, "<f", 1e30, "begin at byte"),
        (108, "<f", float("nan"), "begin at byte"),
        (280, "<f", float("nan"), "not finite"),
        (280, "<f", 0.0, "voxels of 0 x 2 x 2 mm"),
        (284, "<f", 1.0, "not at right angles"),
        (112, "<f", float("nan"), ""),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, at: int, form: str, value: object, reason: str) -> None:
    path = changed(tmp_path / "lies.nii", at=at, form=form, value=value)
    if not reason:
        # A scale that is not a number stands for none.
        assert load_mask(path).n_voxels == 6 * 7 * 8
        return
    assert reason in refused(path)


def test_axes_may_deviate_from_right_angles_by_a_thousandth() -> None:
    for cosine, fine in ((5e-4, True), (2e-3, False)):
        affine = np.diag([2.0, 2, 2, 1])
        affine[0, 1] = 2 * cosine
        if fine:
            check_affine(affine, what="mask")
        else:
            with pytest.raises(InputError, match="not at right angles"):
                check_affine(affine, what="mask")
    turned = np.eye(4)
    turned[:3, :3] = 2 * np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, -1]])
    check_affine(turned, what="mask")


def test_four_axes_colours_and_complex_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.nii.gz"
    written(path, shape=(6, 7, 8, 2))
    assert "6 x 7 x 8 x 2" in refused(path)
    written(path, shape=(6, 7, 8, 1))
    assert load_mask(path).volume.shape == (6, 7, 8)
    written(path, dtype="c8")
    assert "need numbers" in refused(path)
    written(path, shape=(6, 7))
    assert "need one 3-D image" in refused(path)


def test_what_is_not_a_number_counts_as_outside_and_is_said(tmp_path: Path) -> None:
    path = tmp_path / "nan.nii.gz"
    volume = np.ones((5, 5, 5), dtype=np.float32)
    volume[0] = np.nan
    volume[1, 0, 0] = np.inf
    nib.save(nib.Nifti1Image(volume, np.eye(4)), path)
    mask = load_mask(path)
    assert mask.n_voxels == 99
    assert "26 voxels" in mask.notes[0]
    nib.save(nib.Nifti1Image(np.full((5, 5, 5), np.nan, dtype=np.float32), np.eye(4)), path)
    assert "no voxel of it is above 0" in refused(path)


def test_an_image_without_a_place_is_read_and_said(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.nii"
    data = written(path)
    struct.pack_into("<2h", data, 252, 0, 0)
    path.write_bytes(data)
    assert "does not say where" in load_mask(path).notes[0]


def test_cut_off_damaged_and_no_images(tmp_path: Path) -> None:
    path = tmp_path / "image.nii.gz"
    written(tmp_path / "whole.nii", shape=(30, 30, 30), dtype="f8")
    whole = gzip.compress((tmp_path / "whole.nii").read_bytes())
    for data in (whole[: len(whole) // 2], whole[:100] + b"\0" * 60 + whole[160:], b"", b"\x1f\x8b", b"text"):
        path.write_bytes(data)
        refused(path)
    path.unlink()
    assert "no such file" in refused(path)
    path.mkdir()
    assert "no regular file" in refused(path)
    fifo = tmp_path / "fifo.nii"
    os.mkfifo(fifo)
    assert "no regular file" in refused(fifo)
    with pytest.raises(InputError, match="no regular file"):
        read_image(Path("/dev/zero"), what="mask '/dev/zero'")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """Zeros of 4 GB behind a header of a small image, and a header that promises them."""
    import tracemalloc

    head = bytes(written(tmp_path / "small.nii"))
    path = tmp_path / "bomb.nii.gz"
    zeros = gzip.compress(bytes(2**24), mtime=0)
    path.write_bytes(gzip.compress(head) + zeros * 256)
    tracemalloc.start()
    try:
        assert "the file has more" in refused(path)
        big = bytearray(head)
        struct.pack_into("<8h", big, 40, 3, 1600, 1600, 1600, 1, 1, 1, 1)
        path.write_bytes(gzip.compress(bytes(big)) + zeros * 256)
        assert f"more than the {MAX_BYTES:,}" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
