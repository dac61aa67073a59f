"""Philox against its published vectors; draws that depend on nothing but their key."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support import reference

from ale_dask.numerics.draws import NULL, RELABEL, draw_keys, draw_voxels, permutation_keys, philox

FEW = settings(deadline=None, max_examples=60)
WORD, KEY = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)

# Random123, kat_vectors, philox4x32 10.
PUBLISHED = [
    ((0,) * 4, (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@numba.njit
def words(counter, key):
    return philox(counter[0], counter[1], counter[2], counter[3], key)


def ours(counter, key):
    found = words(np.array(counter, dtype=np.uint64), np.uint64(key[0] + (key[1] << 32)))
    return [int(w) for w in found]


def draw(key, iteration, n_voxels, n_foci):
    out = np.full(n_foci, -1, dtype=np.int64)
    draw_voxels(np.uint64(key), iteration, n_voxels, out, 0, n_foci)
    return out.tolist()


@pytest.mark.parametrize(("counter", "key", "published"), PUBLISHED)
def test_philox_gives_the_published_words(counter, key, published):
    expected = [int(w, 16) for w in published.split()]
    assert ours(counter, key) == expected
    assert reference.philox(counter, key) == expected


@FEW
@given(st.tuples(WORD, WORD, WORD, WORD), st.tuples(WORD, WORD))
def test_philox_equals_plain_integers(counter, key):
    assert ours(counter, key) == reference.philox(counter, key)


@FEW
@given(KEY, st.integers(0, 2**40), st.integers(1, 2**31), st.integers(0, 9))
def test_draws_equal_plain_integers(key, iteration, n_voxels, n_foci):
    assert draw(key, iteration, n_voxels, n_foci) == reference.draw_voxels(key, iteration, n_voxels, n_foci)


@FEW
@given(KEY, st.integers(0, 2**40), st.integers(0, 12), st.integers(0, 12))
def test_fewer_foci_are_a_prefix_of_more(key, iteration, a, b):
    few, many = sorted((a, b))
    assert draw(key, iteration, 999, few) == draw(key, iteration, 999, many)[:few]


def test_draws_fill_their_own_part_only():
    out = np.full(7, -1, dtype=np.int64)
    draw_voxels(np.uint64(5), 3, 1000, out, 2, 5)
    assert out.tolist() == [-1, -1, *draw(5, 3, 1000, 3), -1, -1]


def test_draws_are_uniform_and_uncorrelated():
    n, foci = 97, 4
    found = np.array([draw(0x9E3779B97F4A7C15, i, n, foci) for i in range(5000)])
    # Seeded: the p-values are fixed numbers; a skewed draw sends them to 0.
    assert stats.chisquare(np.bincount(found.reshape(-1), minlength=n)).pvalue > 1e-3
    for i in range(foci):
        assert stats.chisquare(np.bincount(found[:, i], minlength=n)).pvalue > 1e-3
    pairs = found[:, :2] // 10  # neighbours within one Philox block
    cells = np.bincount(pairs[:, 0] * 10 + pairs[:, 1], minlength=100)
    width = np.bincount(np.arange(n) // 10)
    assert stats.chisquare(cells, np.outer(width, width).reshape(-1) / n**2 * 5000).pvalue > 1e-3


def test_keys_follow_the_experiment_not_its_place():
    keys = np.array([7, 2**64 - 1, 0], dtype=np.uint64)
    found = draw_keys(keys, seed=3, stream=NULL)
    assert draw_keys(keys[::-1], seed=3, stream=NULL).tolist() == found[::-1].tolist()
    assert draw_keys(keys[1:], seed=3, stream=NULL).tolist() == found[1:].tolist()


def test_seed_stream_and_experiment_each_change_the_key():
    streams = (NULL, RELABEL, "simulation", "noise")
    all_keys = np.array(
        [draw_keys(np.arange(50, dtype=np.uint64), seed=s, stream=t) for s in (0, 1, 11) for t in streams]
    )
    assert len(np.unique(all_keys)) == all_keys.size


def test_rank_words_depend_on_iteration_and_key_only():
    key = np.array([3, 2**63, 12345], dtype=np.uint64)
    out = np.empty((4, 3), dtype=np.uint64)
    permutation_keys(key, 10, out)
    for b in range(4):
        for e, k in enumerate(key.tolist()):
            w = reference.philox((10 + b, 0, 0, 0), (k % 2**32, k >> 32))
            assert int(out[b, e]) == (w[0] << 32) + w[1]
