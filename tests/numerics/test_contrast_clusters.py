"""Contrast clusters against their definition: every sum, every cluster, by plain loops."""

from fractions import Fraction
from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ale_dask.numerics import contrast_clusters
from ale_dask.numerics.contrast import by_voxel, n_relabellings, relabellings
from ale_dask.numerics.contrast_clusters import (
    Region,
    allowed_beyond,
    edges,
    keep_extremes,
    largest_clusters,
    neighbours_before,
)

SOME = settings(deadline=None, max_examples=60)


class Case:
    """A few experiments on a few voxels of a small grid, with many ties, and what the kernels make of them."""

    def __init__(self, seed, *, n=None, count=100, enumerate_all=False, voxel_p=0.1, connectivity=6):
        random = np.random.default_rng(seed)
        grid = np.argwhere(random.random((4, 3, 5)) < 0.6).astype(np.int16)
        self.ijk = grid if len(grid) else np.zeros((1, 3), dtype=np.int16)
        n = n or int(random.integers(2, 8))
        self.s_q = random.integers(0, 4, (n, len(self.ijk))) << int(random.integers(0, 20))
        if n > 2:
            self.s_q[1] = self.s_q[0]
        self.size = int(random.integers(1, n))
        self.in_a = np.arange(n) < self.size
        self.key = random.integers(0, 2**63, n).astype(np.uint64)
        self.count = n_relabellings(n, self.size) if enumerate_all else count
        self.enumerate_all, self.voxel_p, self.connectivity = enumerate_all, voxel_p, connectivity
        self.component = np.empty(len(self.ijk), dtype=np.int64)
        for number, voxels in enumerate(self.clusters(np.ones(len(self.ijk), dtype=bool))):
            self.component[voxels] = number

    def clusters(self, above):
        """Connected sets of voxels, by walking from each to its neighbours."""
        left, most = set(np.flatnonzero(above).tolist()), 2 if self.connectivity == 18 else 1
        while left:
            found, new = set(), {left.pop()}
            while new:
                found |= new
                apart = {v: [np.abs(self.ijk[v].astype(int) - self.ijk[u]) for u in new] for v in left}
                new = {v for v, steps in apart.items() if any(s.max() == 1 and s.sum() <= most for s in steps)}
                left -= new
            yield sorted(found)

    def labels(self, first=0, count=None):
        return relabellings(
            self.key, size=self.size, first=first, count=count or self.count, enumerate_all=self.enumerate_all
        )

    def rows(self, s_q=None):
        s_q = self.s_q if s_q is None else s_q
        voxel = [np.flatnonzero(row) for row in s_q]
        begin = np.r_[0, np.cumsum([len(v) for v in voxel])].astype(np.int64)
        value = np.concatenate([row[v] for row, v in zip(s_q, voxel, strict=True)]).astype(np.int32)
        flat = np.concatenate(voxel).astype(np.int32)
        return by_voxel(begin, flat, value, candidate=np.arange(s_q.shape[1]), n_voxels=s_q.shape[1])

    @property
    def observed(self):
        return self.s_q[self.in_a].sum(axis=0)

    def values(self):
        """All sums that count for the cluster-forming p (value, voxel)."""
        sums = self.labels().astype(np.int64) @ self.s_q
        return sums if self.enumerate_all else np.concatenate([sums, self.observed[None]])

    def edges(self, threads=1):
        allowed = allowed_beyond(self.voxel_p, values=len(self.values()))
        return edges(
            self.rows(),
            observed=self.observed,
            draw=partial(relabellings, self.key, size=self.size, enumerate_all=self.enumerate_all),
            count=self.count,
            complete=self.enumerate_all,
            allowed=allowed,
            threads=threads,
        )

    def region(self, edge):
        return Region(*self.rows(), edge, self.component, neighbours_before(self.ijk, connectivity=self.connectivity))

    def largest(self, chosen, edge):
        out = np.zeros((len(chosen), 2, 2, self.component.max() + 1), dtype=np.int64)
        largest_clusters(chosen, self.region(edge), out)
        return out


def significant(values, voxel_p):
    """Whether each value has #{as large among all} / all < p (value, voxel)."""
    as_large = (values[None, :, :] >= values[:, None, :]).sum(axis=1)
    return np.array([[Fraction(int(r), len(values)) < Fraction(str(voxel_p)) for r in row] for row in as_large])


CASES = st.builds(
    Case,
    st.integers(0, 10**6),
    count=st.sampled_from([1, 63, 64, 65, 100]),
    enumerate_all=st.booleans(),
    voxel_p=st.sampled_from([0.01, 0.05, 0.1, 0.3]),
    connectivity=st.sampled_from([6, 18]),
)


@SOME
@given(CASES)
def test_edges_part_what_is_below_the_p_from_what_is_not(case):
    values, edge = case.values(), case.edges()
    assert np.array_equal(values > edge[0], significant(values, case.voxel_p))
    assert np.array_equal(values < edge[1], significant(-values, case.voxel_p))
    # Edges are values themselves, so nothing lies between them and what is significant.
    assert np.all((values == edge[0]).any(axis=0) & (values == edge[1]).any(axis=0))


@SOME
@given(CASES)
def test_largest_clusters_are_those_of_the_definition(case):
    edge, chosen = case.edges(), case.labels()
    out = case.largest(chosen, edge)
    sums = chosen.astype(np.int64) @ case.s_q
    for b in range(0, len(chosen), 7):
        for side, excess in enumerate((sums[b] - edge[0], edge[1] - sums[b])):
            expected = np.zeros((2, out.shape[3]), dtype=np.int64)
            for found in case.clusters(excess > 0):
                part = case.component[found[0]]
                expected[:, part] = np.maximum(expected[:, part], [len(found), excess[found].sum()])
            assert np.array_equal(out[b, side], expected)


@SOME
@given(CASES, st.integers(1, 70))
def test_blocks_of_any_size_give_the_same(case, size):
    edge = case.edges()
    whole = case.largest(case.labels(), edge)
    starts = range(0, case.count, size)
    parts = [case.largest(case.labels(first, min(size, case.count - first)), edge) for first in starts]
    assert np.array_equal(np.concatenate(parts), whole)


@SOME
@given(CASES)
def test_exchanging_the_arms_exchanges_the_directions(case):
    edge, chosen = case.edges(), case.labels()
    total = case.s_q.sum(axis=0)
    other = (total - edge[::-1]).astype(np.int32)
    assert np.array_equal(case.largest(~chosen, other), case.largest(chosen, edge)[:, ::-1])


def test_edges_do_not_depend_on_threads_or_on_how_voxels_and_relabellings_are_cut(monkeypatch):
    case = Case(4, n=7, count=900, voxel_p=0.02)
    edge = case.edges()
    monkeypatch.setattr(contrast_clusters, "_CELLS", 60)
    assert np.array_equal(case.edges(threads=2), edge)
    kept = np.full((2, len(case.ijk), 4), contrast_clusters.SMALLEST, dtype=np.int32)
    values = case.labels().astype(np.int64) @ case.s_q
    for first in range(0, 900, 100):
        keep_extremes(case.labels(first, 100), *case.rows(), kept)
    assert np.array_equal(np.sort(kept[0], axis=1), np.sort(values, axis=0)[-4:].T)
    assert np.array_equal(np.sort(-kept[1], axis=1), np.sort(values, axis=0)[:4].T)


def test_a_list_that_outgrows_its_room_loses_nothing():
    case = Case(8, n=6, count=64)
    edge = np.stack([np.full(len(case.ijk), -1), np.full(len(case.ijk), 2**31 - 1)]).astype(np.int32)
    out = case.largest(case.labels(), edge)
    assert 2 * 64 * len(case.ijk) > 2 * 1024
    whole = max(map(len, case.clusters(np.ones(len(case.ijk), dtype=bool))))
    assert np.all(out[:, :, 0].max(axis=2) == whole)


@pytest.mark.parametrize(
    ("p", "values", "allowed"),
    [(0.001, 10_001, 10), (0.001, 10_000, 9), (0.001, 1_001, 1), (0.001, 1_000, 0), (0.07, 100, 6), (0.29, 100, 28)],
)
def test_as_many_may_lie_beyond_as_leave_p_below(p, values, allowed):
    assert allowed_beyond(p, values=values) == allowed


def test_neighbours_before_share_a_face():
    ijk = np.array(list(product(range(2), range(2), range(2))), dtype=np.int16)[[0, 1, 2, 5, 7]] + 3
    assert neighbours_before(ijk).tolist() == [[-1, -1, -1, 1, -1], [-1, -1, 0, -1, 3], [-1, 0, -1, -1, -1]]
