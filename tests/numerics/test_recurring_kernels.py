"""Rows of foci that lie alike between voxels: the same bits as those of each focus by itself."""

from __future__ import annotations

import numpy as np
import pytest

from ale_dask.numerics import ale
from ale_dask.numerics.ale import cell_index, fixed_point_rows

BITS = 26
SHAPE = (14, 17, 19)


def rows(foci, sigma, *, support=4.0, holes=0.1, **settings):
    """Return the rows of experiments in a mask with holes."""
    volume = np.random.default_rng(3).random(SHAPE) > holes
    return list(
        fixed_point_rows(
            foci,
            sigma=sigma,
            support=np.full(len(foci), support),
            voxel_of_cell=cell_index(volume),
            bits=BITS,
            **settings,
        )
    )


def one_by_one(monkeypatch, *args, **settings):
    with monkeypatch.context() as patch:
        patch.setattr(ale, "placed", lambda *args, **kwargs: None)
        return rows(*args, **settings)


def drawn(parts, *, experiments=12, beyond=6):
    """Return foci (focus, axis) of experiments at whole cells and `parts` places between, some outside the grid."""
    random = np.random.default_rng(parts)
    sizes = random.integers(1, 9, experiments)
    sigma = np.array([[1.3, 1.3, 1.3], [2.0, 1.7, 2.4]])[random.integers(0, 2, experiments)]
    cells = [random.integers(-beyond, np.array(SHAPE) + beyond, (n, 3)).astype(float) for n in sizes]
    return [c + random.integers(0, parts, c.shape) / parts for c in cells], sigma


def placed_of(foci, sigma):
    distinct, kernel = np.unique(sigma, axis=0, return_inverse=True)
    shapes = [ale.shape_of(s, support=4.0) for s in distinct]
    return ale.placed(foci, shapes, kernel.reshape(-1), bits=BITS)


@pytest.mark.parametrize(("parts", "experiments"), [(1, 12), (2, 40), (4, 160)])
def test_same_bits_as_each_focus_by_itself(monkeypatch, parts, experiments):
    foci, sigma = drawn(parts, experiments=experiments)
    # One experiment whose foci lie like no others: its row is made of each by itself, among the rest.
    foci[4] = foci[4] + 0.123
    number = placed_of(foci, sigma).number
    assert 0 < (number < 0).sum() < len(number) / 2
    made, expected = rows(foci, sigma), one_by_one(monkeypatch, foci, sigma)
    assert len(made) == len(expected)
    for (voxel, value), (other_voxel, other_value) in zip(made, expected, strict=True):
        assert voxel.dtype == value.dtype == np.int32
        assert voxel.tolist() == other_voxel.tolist()
        assert value.tolist() == other_value.tolist()


def test_a_kernel_of_whole_voxels_ends_at_its_cube(monkeypatch):
    foci, sigma = drawn(1)
    made = rows(foci, sigma, support=2.5, kernel="lattice")
    expected = one_by_one(monkeypatch, foci, sigma, support=2.5, kernel="lattice")
    assert [[part.tolist() for part in row] for row in made] == [[part.tolist() for part in row] for row in expected]
    assert sum(len(voxel) for voxel, _ in made) > 1000


def test_a_kernel_is_made_once_for_each_place_in_a_cell():
    foci, sigma = drawn(2, experiments=60)
    where = placed_of(foci, sigma)
    assert len(where.tables.corner) == 16
    # No two foci share a place: their kernels would be made for nothing.
    random = np.random.default_rng(0)
    alone = [f + random.random(f.shape) for f in foci]
    assert placed_of(alone, sigma) is None
    # Above 0.1 rounding could order two logarithms otherwise than their arguments.
    assert placed_of(foci, np.full_like(sigma, 0.6)) is None


def test_a_place_just_below_the_first_cell_is_exact(monkeypatch):
    foci = [np.array([[-0.001, 5.0, 5.0]])] * 6
    sigma = np.full((6, 3), 1.3)
    assert placed_of(foci, sigma) is not None
    (_, value), *_ = rows(foci, sigma)
    (_, expected), *_ = one_by_one(monkeypatch, foci, sigma)
    assert value.tolist() == expected.tolist()
