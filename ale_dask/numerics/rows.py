"""Rows of kernels added to two planes at once, in pieces of 8 cells.

All work on the table of `Stamps`: row r of the first plane is read from load(entries, one + r) + shift on, that of the
second, `far` cells behind the first, from load(entries, two + r) + shift. Earlier foci are rows of `met`, (one, two,
shift) of each. Their maximum stays in registers: a focus takes 55 ns with none of them, 110, 150 and 200 ns
with one, two and three.
"""

from __future__ import annotations

import numba

from ale_dask.numerics.simd import WIDTH, add8, gain8, larger8, load, read8


@numba.njit(cache=True, nogil=True, inline="always")
def _add(plane, at, stride, far, table, entries, one, two, shift, count, pieces) -> None:  # type: ignore[no-untyped-def]
    for r in range(count):
        first = load(entries, one + r) + shift
        second = load(entries, two + r) + shift
        for p in range(pieces):
            add8(plane, at + p * WIDTH, table, first + p * WIDTH)
        for p in range(pieces):
            add8(plane, at + far + p * WIDTH, table, second + p * WIDTH)
        at += stride


@numba.njit(cache=True, nogil=True, inline="always")
def add_rows(plane, at, stride, far, table, entries, one, two, shift, count, pieces) -> None:  # type: ignore[no-untyped-def]
    """Add `count` rows of so many pieces."""
    # The compiler writes out a loop over a constant: usual numbers of pieces at 2 mm.
    if pieces == 3:
        _add(plane, at, stride, far, table, entries, one, two, shift, count, 3)
    elif pieces == 2:
        _add(plane, at, stride, far, table, entries, one, two, shift, count, 2)
    else:
        _add(plane, at, stride, far, table, entries, one, two, shift, count, pieces)


# One plane after the other: both at once need more registers than there are (a tenth of the time).
@numba.njit(cache=True, nogil=True, inline="always")
def _gain_1(plane, at, stride, far, table, entries, one, two, shift, count, pieces, met) -> None:  # type: ignore[no-untyped-def]
    shift_a = met[0, 2]
    for side in range(2):
        own = two if side else one
        to = at + side * far
        first = met[0, side]
        for r in range(count):
            k = load(entries, own + r) + shift
            a = load(entries, first + r) + shift_a
            for p in range(pieces):
                gain8(plane, to + p * WIDTH, table, k + p * WIDTH, read8(table, a + p * WIDTH))
            to += stride


@numba.njit(cache=True, nogil=True, inline="always")
def _gain_2(plane, at, stride, far, table, entries, one, two, shift, count, pieces, met) -> None:  # type: ignore[no-untyped-def]
    shift_a, shift_b = met[0, 2], met[1, 2]
    for side in range(2):
        own = two if side else one
        to = at + side * far
        first, second = met[0, side], met[1, side]
        for r in range(count):
            k = load(entries, own + r) + shift
            a = load(entries, first + r) + shift_a
            b = load(entries, second + r) + shift_b
            for p in range(pieces):
                most = larger8(read8(table, a + p * WIDTH), table, b + p * WIDTH)
                gain8(plane, to + p * WIDTH, table, k + p * WIDTH, most)
            to += stride


@numba.njit(cache=True, nogil=True, inline="always")
def _gain_3(plane, at, stride, far, table, entries, one, two, shift, count, pieces, met) -> None:  # type: ignore[no-untyped-def]
    shift_a, shift_b, shift_c = met[0, 2], met[1, 2], met[2, 2]
    for side in range(2):
        own = two if side else one
        to = at + side * far
        first, second, third = met[0, side], met[1, side], met[2, side]
        for r in range(count):
            k = load(entries, own + r) + shift
            a = load(entries, first + r) + shift_a
            b = load(entries, second + r) + shift_b
            c = load(entries, third + r) + shift_c
            for p in range(pieces):
                most = larger8(read8(table, a + p * WIDTH), table, b + p * WIDTH)
                gain8(plane, to + p * WIDTH, table, k + p * WIDTH, larger8(most, table, c + p * WIDTH))
            to += stride


# Three maxima at once: a third of the look-ups that one after the other asks for, two thirds of the time.
@numba.njit(cache=True, nogil=True, inline="always")
def _gain_n_of_3(plane, at, stride, far, table, entries, one, two, shift, count, met, n) -> None:  # type: ignore[no-untyped-def]
    for side in range(2):
        own = two if side else one
        to = at + side * far
        for r in range(count):
            a = load(entries, met[0, side] + r) + met[0, 2]
            most, most_1, most_2 = read8(table, a), read8(table, a + WIDTH), read8(table, a + 2 * WIDTH)
            for j in range(1, n):
                a = load(entries, met[j, side] + r) + met[j, 2]
                most = larger8(most, table, a)
                most_1 = larger8(most_1, table, a + WIDTH)
                most_2 = larger8(most_2, table, a + 2 * WIDTH)
            k = load(entries, own + r) + shift
            gain8(plane, to, table, k, most)
            gain8(plane, to + WIDTH, table, k + WIDTH, most_1)
            gain8(plane, to + 2 * WIDTH, table, k + 2 * WIDTH, most_2)
            to += stride


@numba.njit(cache=True, nogil=True, inline="always")
def _gain_n(plane, at, stride, far, table, entries, one, two, shift, count, pieces, met, n) -> None:  # type: ignore[no-untyped-def]
    for side in range(2):
        own = two if side else one
        to = at + side * far
        for r in range(count):
            k = load(entries, own + r) + shift
            for p in range(pieces):
                most = read8(table, load(entries, met[0, side] + r) + met[0, 2] + p * WIDTH)
                for j in range(1, n):
                    most = larger8(most, table, load(entries, met[j, side] + r) + met[j, 2] + p * WIDTH)
                gain8(plane, to + p * WIDTH, table, k + p * WIDTH, most)
            to += stride


@numba.njit(cache=True, nogil=True, inline="always")
def add_gain(plane, at, stride, far, table, entries, one, two, shift, count, pieces, met, n) -> None:  # type: ignore[no-untyped-def]
    """Add max(k, m) - m for `count` rows, m the largest of `n` earlier foci, n > 0."""
    if n == 1:
        if pieces == 3:
            _gain_1(plane, at, stride, far, table, entries, one, two, shift, count, 3, met)
        elif pieces == 2:
            _gain_1(plane, at, stride, far, table, entries, one, two, shift, count, 2, met)
        else:
            _gain_1(plane, at, stride, far, table, entries, one, two, shift, count, pieces, met)
    elif n == 2:
        if pieces == 3:
            _gain_2(plane, at, stride, far, table, entries, one, two, shift, count, 3, met)
        else:
            _gain_2(plane, at, stride, far, table, entries, one, two, shift, count, pieces, met)
    elif n == 3:
        if pieces == 3:
            _gain_3(plane, at, stride, far, table, entries, one, two, shift, count, 3, met)
        else:
            _gain_3(plane, at, stride, far, table, entries, one, two, shift, count, pieces, met)
    elif pieces == 3:
        _gain_n_of_3(plane, at, stride, far, table, entries, one, two, shift, count, met, n)
    else:
        _gain_n(plane, at, stride, far, table, entries, one, two, shift, count, pieces, met, n)
