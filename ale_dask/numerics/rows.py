"""Rows of kernels added to a plane, in pieces of 8 cells; usual numbers of pieces at 2 mm without a loop over them.

All work on the table of `Stamps`: row r of a slab is read from load(entries, entry + r) on, `back` cells early.
"""

from __future__ import annotations

import numba
import numpy as np

from ale_dask.numerics.simd import WIDTH, add8, excess8, gain8, load, max8


@numba.njit(cache=True, nogil=True, inline="always")
def add_rows(plane, at, stride, table, entries, entry, count, back, pieces) -> None:  # type: ignore[no-untyped-def]
    """Add `count` rows of so many pieces."""
    if pieces == 3:
        for r in range(count):
            source = load(entries, entry + r) - back
            add8(plane, at, table, source)
            add8(plane, at + WIDTH, table, source + WIDTH)
            add8(plane, at + 2 * WIDTH, table, source + 2 * WIDTH)
            at += stride
    elif pieces == 2:
        for r in range(count):
            source = load(entries, entry + r) - back
            add8(plane, at, table, source)
            add8(plane, at + WIDTH, table, source + WIDTH)
            at += stride
    else:
        for r in range(count):
            source = load(entries, entry + r) - back
            for p in range(pieces):
                add8(plane, at + p * WIDTH, table, source + p * WIDTH)
            at += stride


@numba.njit(cache=True, nogil=True, inline="always")
def raise_rows(local, at, stride, table, entries, entry, count, ahead, pieces) -> None:  # type: ignore[no-untyped-def]
    """Raise `count` rows of `local` to those of an earlier focus."""
    if pieces == 2:
        for r in range(count):
            source = load(entries, entry + r) + ahead
            max8(local, at, table, source)
            max8(local, at + WIDTH, table, source + WIDTH)
            at += stride
    else:
        for r in range(count):
            source = load(entries, entry + r) + ahead
            for p in range(pieces):
                max8(local, at + p * WIDTH, table, source + p * WIDTH)
            at += stride


@numba.njit(cache=True, nogil=True, inline="always")
def add_excess(plane, at, stride, local, table, entries, entry, count, back, pieces) -> None:  # type: ignore[no-untyped-def]
    """Add max(k, m) - m for `count` rows, m in `local`, and zero `local`."""
    to = 0
    if pieces == 3:
        for r in range(count):
            source = load(entries, entry + r) - back
            excess8(plane, at, table, source, local, to)
            excess8(plane, at + WIDTH, table, source + WIDTH, local, to + WIDTH)
            excess8(plane, at + 2 * WIDTH, table, source + 2 * WIDTH, local, to + 2 * WIDTH)
            at += stride
            to += 3 * WIDTH
    else:
        for r in range(count):
            source = load(entries, entry + r) - back
            for p in range(pieces):
                excess8(plane, at + p * WIDTH, table, source + p * WIDTH, local, to + p * WIDTH)
            at += stride
            to += pieces * WIDTH


@numba.njit(cache=True, nogil=True, inline="always")
def _inside(here, length):  # type: ignore[no-untyped-def]
    """Return -1 where a piece `here` cells into a row meets it, else 0: `& 0` leads to the zeros at the beginning."""
    return -np.int64((here > -WIDTH) & (here < length))


@numba.njit(cache=True, nogil=True, inline="always")
def add_gain(plane, at, stride, table, entries, entry, count, back, pieces, other, ahead, length) -> None:  # type: ignore[no-untyped-def]
    """Add max(k, m) - m for `count` rows, m the row of one earlier focus, `length` cells, zero before and after."""
    a, b, c = _inside(ahead, length), _inside(ahead + WIDTH, length), _inside(ahead + 2 * WIDTH, length)
    if pieces == 3:
        for r in range(count):
            source = load(entries, entry + r) - back
            earlier = load(entries, other + r) + ahead
            gain8(plane, at, table, source, earlier & a)
            gain8(plane, at + WIDTH, table, source + WIDTH, (earlier + WIDTH) & b)
            gain8(plane, at + 2 * WIDTH, table, source + 2 * WIDTH, (earlier + 2 * WIDTH) & c)
            at += stride
    elif pieces == 2:
        for r in range(count):
            source = load(entries, entry + r) - back
            earlier = load(entries, other + r) + ahead
            gain8(plane, at, table, source, earlier & a)
            gain8(plane, at + WIDTH, table, source + WIDTH, (earlier + WIDTH) & b)
            at += stride
    else:
        for r in range(count):
            source = load(entries, entry + r) - back
            earlier = load(entries, other + r) + ahead
            for p in range(pieces):
                step = p * WIDTH
                gain8(plane, at + step, table, source + step, (earlier + step) & _inside(ahead + step, length))
            at += stride
