"""Grids, distances and Lancaster's matrices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ale_dask.errors import InputError
from ale_dask.numerics.space import Mask, talairach_to_mni

# Lancaster 2007, icbm2tal, copied from method.md: MNI -> Talairach.
ICBM2TAL = {
    "fsl": "0.9464 0.0034 -0.0026 -1.0680 -0.0083 0.9479 -0.0580 -1.0239 0.0053 0.0617 0.9010 3.1883",
    "spm": "0.9254 0.0024 -0.0118 -1.0207 -0.0048 0.9316 -0.0871 -1.7667 0.0152 0.0883 0.8924 4.0926",
    "other": "0.9357 0.0029 -0.0072 -1.0423 -0.0065 0.9396 -0.0726 -1.3940 0.0103 0.0752 0.8967 3.6475",
}
ANGLE = 0.3
ROTATED = np.eye(4)
ROTATED[:3, :3] = (
    np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]])
    @ np.array([[1, 0, 0], [0, np.cos(ANGLE), -np.sin(ANGLE)], [0, np.sin(ANGLE), np.cos(ANGLE)]])
    @ np.diag([-2.0, 3.0, 4.0])
)
ROTATED[:3, 3] = [40, -50, 10]
MNI = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
POINTS = st.lists(st.tuples(*[st.floats(-100, 100)] * 3), min_size=1, max_size=5)


def solid(affine, shape=(6, 5, 4)):
    return Mask(np.ones(shape, dtype=bool), affine)


@settings(deadline=None, max_examples=50)
@given(POINTS, st.sampled_from(sorted(ICBM2TAL)))
def test_talairach_to_mni_inverts_lancaster(points, variant):
    rows = np.array(ICBM2TAL[variant].split(), dtype=float).reshape(3, 4)
    mni = np.array(points)
    talairach = np.array([[row[:3] @ p + row[3] for row in rows] for p in mni])
    np.testing.assert_allclose(talairach_to_mni(talairach, variant=variant), mni, rtol=0, atol=1e-10)


def test_the_default_variant_is_other_and_unknown_ones_are_refused():
    point = np.array([[10.0, 20.0, 30.0]])
    assert np.array_equal(talairach_to_mni(point), talairach_to_mni(point, variant="other"))
    with pytest.raises(InputError, match="other, fsl, spm"):
        talairach_to_mni(point, variant="afni")


def test_coordinates_of_the_mni_grid_equal_known_voxels():
    mask = solid(MNI)
    assert mask.to_grid(np.array([[0.0, 0, 0], [90, -126, -72], [-21.0, -1, -24]])).tolist() == [
        [45, 63, 36],
        [0, 0, 0],
        [55.5, 62.5, 24],
    ]
    assert mask.to_mm([[45, 63, 36]]).tolist() == [[0, 0, 0]]
    assert mask.voxel_volume == 8


@settings(deadline=None, max_examples=50)
@given(POINTS, st.sampled_from([0, 1]))
def test_to_mm_inverts_to_grid(points, which):
    mask = solid((MNI, ROTATED)[which])
    xyz = np.array(points)
    np.testing.assert_allclose(mask.to_mm(mask.to_grid(xyz)), xyz, rtol=0, atol=1e-11)
    np.testing.assert_allclose(mask.to_grid(mask.to_mm(xyz)), xyz, rtol=0, atol=1e-11)


def test_voxel_size_of_a_rotated_anisotropic_grid():
    mask = solid(ROTATED)
    np.testing.assert_allclose(mask.voxel_size, [2, 3, 4], rtol=1e-14)
    assert mask.voxel_volume == pytest.approx(24)


def test_to_grid_takes_no_foci():
    assert solid(MNI).to_grid(np.empty((0, 3))).shape == (0, 3)
    assert solid(MNI).distance(np.empty((0, 3))).shape == (0,)


@pytest.mark.parametrize("affine", [MNI, ROTATED], ids=["MNI", "rotated"])
def test_distance_is_0_inside_a_voxel_and_else_to_the_nearest_centre(affine):
    random = np.random.default_rng(7)
    volume = random.random((6, 5, 4)) < 0.5
    mask = Mask(volume, affine)
    ijk = random.uniform(-3, 8, (200, 3))
    xyz = mask.to_mm(ijk)
    centres = mask.to_mm(np.argwhere(volume))
    for found, point, at in zip(mask.distance(xyz), xyz, np.rint(ijk).astype(int), strict=True):
        inside = all(0 <= a < n for a, n in zip(at, volume.shape, strict=True)) and volume[tuple(at)]
        expected = 0 if inside else np.sqrt(((centres - point) ** 2).sum(axis=1)).min()
        assert found == pytest.approx(expected, abs=1e-9)
    assert 0 < np.count_nonzero(mask.distance(xyz) == 0) < 200


def test_voxels_are_listed_in_c_order():
    volume = np.random.default_rng(8).random((3, 4, 5)) < 0.5
    mask = Mask(volume, MNI)
    assert mask.voxel_ijk.tolist() == [
        [i, j, k] for i in range(3) for j in range(4) for k in range(5) if volume[i, j, k]
    ]
    assert mask.n_voxels == volume.sum()


def test_the_hash_covers_voxels_and_affine_but_not_the_name():
    volume = np.ones((2, 2, 2), dtype=bool)
    fewer = volume.copy()
    fewer[0, 0, 0] = False
    base = Mask(volume, MNI, name="a").sha256
    assert base == Mask(volume.copy(), MNI.copy(), name="b").sha256
    assert len({base, Mask(fewer, MNI).sha256, Mask(volume, ROTATED).sha256, Mask(volume[:1], MNI).sha256}) == 4


@pytest.mark.parametrize("volume", [np.zeros((2, 2, 2), dtype=bool), np.ones((2, 2), dtype=bool)])
def test_an_empty_or_flat_mask_is_refused(volume):
    with pytest.raises(InputError, match="3-D image with at least one voxel"):
        Mask(volume, MNI)


def test_a_singular_affine_is_refused():
    with pytest.raises(InputError, match="voxels of 2 x 2 x 0 mm"):
        solid(np.diag([2.0, 2.0, 0.0, 1.0]))
