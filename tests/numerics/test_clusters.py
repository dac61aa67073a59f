"""Cluster labels, sizes and masses against breadth-first search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import reference

from ale_dask.numerics.clusters import at_least, keep_clusters, label_clusters, masses, sizes

SHAPE = (5, 4, 6)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.2, 0.5, 0.8]),
    st.sampled_from([0.5, 1.0]),
    st.sampled_from([6, 18]),
)
def test_labels_sizes_and_masses_equal_breadth_first_search(seed, share, inside, connectivity):
    random = np.random.default_rng(seed)
    volume = random.random(SHAPE) < inside
    volume[2, 2, 2] = True
    ijk = np.argwhere(volume)
    keep = random.random(len(ijk)) < share
    s = random.integers(100, 2**31, len(ijk))
    labels = label_clusters(keep, volume=volume, connectivity=connectivity)
    groups = reference.clusters(map(tuple, ijk[keep].tolist()), edges=connectivity == 18)
    found = [set(map(tuple, ijk[labels == k].tolist())) for k in range(1, labels.max(initial=0) + 1)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, groups))
    assert not labels[~keep].any()
    assert sizes(labels).tolist() == [len(g) for g in found]
    value = dict(zip(map(tuple, ijk.tolist()), s.tolist(), strict=True))
    assert masses(labels, s=s, threshold=100).tolist() == [sum(value[v] - 100 for v in g) for g in found]
    for minimum in (1, 3):
        expected = [len(next((g for g in groups if tuple(v) in g), ())) >= minimum for v in ijk.tolist()]
        found_now = at_least(keep, volume=volume, minimum=minimum, connectivity=connectivity)
        assert found_now.tolist() == expected


@pytest.mark.parametrize(
    ("second", "n"), [((1, 2, 2), 1), ((2, 3, 2), 1), ((2, 2, 1), 1), ((1, 1, 2), 2), ((3, 2, 3), 2), ((3, 3, 3), 2)]
)
def test_only_faces_join_or_edges_too(second, n):
    volume = np.ones(SHAPE, dtype=bool)
    keep = np.zeros(SHAPE, dtype=bool)
    keep[2, 2, 2] = keep[second] = True
    assert label_clusters(keep.reshape(-1), volume=volume).max() == n
    corner = second == (3, 3, 3)
    assert label_clusters(keep.reshape(-1), volume=volume, connectivity=18).max() == (2 if corner else 1)


def test_a_voxel_outside_the_mask_joins_nothing():
    volume = np.array([True, True, False, True]).reshape(1, 1, 4)
    assert label_clusters(np.ones(3, dtype=bool), volume=volume).tolist() == [1, 1, 2]


def test_keep_clusters_keeps_whole_clusters():
    labels = np.array([0, 1, 2, 2, 0, 3, 1], dtype=np.int32)
    kept = keep_clusters(labels, np.array([True, False, True]))
    assert kept.tolist() == [False, True, False, False, False, True, True]
