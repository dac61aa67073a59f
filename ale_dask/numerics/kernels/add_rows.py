"""Add rows of kernels to two planes at once, in pieces of 8 cells.

    row y of a plane        ·  ·  ·  ·  ·  ·  ·  · | ·  ·  ·  ·  ·  ·  ·  · |      pieces begin at multiples of 8
                                      +                      +
    kernel row in `table`   0  0  k  k  k  k  k  k | k  k  k  k  k  0  0  0 |      zeros make up for the shift

A focus alone adds its kernel k. Within an experiment the maximum over foci counts, so that a focus adds the gain
max(k, m) - m over the maximum m of the experiment's earlier foci; m stays in registers. A focus takes 55 ns if it
overlaps no earlier focus, and 110, 150 and 200 ns if it overlaps one, two and three.

Arguments of all functions, integers int64 and arrays int32 unless said otherwise:

    plane                (cell) the two planes, one behind the other; `at`: the first cell that is added to
    row_step             cells from a row to the next; `plane_step`: from the first plane to the second
    table, entries       `table` and `entry` of `KernelRows`
    entry_1, entry_2     row r of the kernel is read from entries[entry_1 + r] + shift for the first plane, entry_2 for
                         the second
    count, pieces        the number of rows, and of pieces in each row
    earlier, n           (focus, 3), int64: `entry_1`, `entry_2` and `shift` of the n earlier foci

The plain version runs under ALE_DASK_PLAIN=1; both are held to `Case.reference_sum` in tests/support/permutations.py.
"""

from __future__ import annotations

import numba

from ale_dask.numerics.kernels.simd import WIDTH, add8, gain8, larger8, load, read8


@numba.njit(cache=True, nogil=True, inline="always")
def _add(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, pieces) -> None:  # type: ignore[no-untyped-def]
    for r in range(count):
        first = load(entries, entry_1 + r) + shift
        second = load(entries, entry_2 + r) + shift
        for p in range(pieces):
            add8(plane, at + p * WIDTH, table, first + p * WIDTH)
        for p in range(pieces):
            add8(plane, at + plane_step + p * WIDTH, table, second + p * WIDTH)
        at += row_step


@numba.njit(cache=True, nogil=True, inline="always")
def add_rows(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, pieces) -> None:  # type: ignore[no-untyped-def]
    """Add the rows of one focus that overlaps no earlier focus of its experiment."""
    # The compiler unrolls a loop over a constant; at 2 mm a row has 2 or 3 pieces.
    if pieces == 3:
        _add(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, 3)
    elif pieces == 2:
        _add(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, 2)
    else:
        _add(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, pieces)


# One plane after the other: both at once need more registers than there are, and take a tenth longer.
@numba.njit(cache=True, nogil=True, inline="always")
def _gain_1(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, pieces, earlier) -> None:  # type: ignore[no-untyped-def]
    shift_a = earlier[0, 2]
    for side in range(2):
        own = entry_2 if side else entry_1
        to = at + side * plane_step
        first = earlier[0, side]
        for r in range(count):
            k = load(entries, own + r) + shift
            a = load(entries, first + r) + shift_a
            for p in range(pieces):
                gain8(plane, to + p * WIDTH, table, k + p * WIDTH, read8(table, a + p * WIDTH))
            to += row_step


@numba.njit(cache=True, nogil=True, inline="always")
def _gain_2(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, pieces, earlier) -> None:  # type: ignore[no-untyped-def]
    shift_a, shift_b = earlier[0, 2], earlier[1, 2]
    for side in range(2):
        own = entry_2 if side else entry_1
        to = at + side * plane_step
        first, second = earlier[0, side], earlier[1, side]
        for r in range(count):
            k = load(entries, own + r) + shift
            a = load(entries, first + r) + shift_a
            b = load(entries, second + r) + shift_b
            for p in range(pieces):
                largest = larger8(read8(table, a + p * WIDTH), table, b + p * WIDTH)
                gain8(plane, to + p * WIDTH, table, k + p * WIDTH, largest)
            to += row_step


@numba.njit(cache=True, nogil=True, inline="always")
def _gain_3(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, pieces, earlier) -> None:  # type: ignore[no-untyped-def]
    shift_a, shift_b, shift_c = earlier[0, 2], earlier[1, 2], earlier[2, 2]
    for side in range(2):
        own = entry_2 if side else entry_1
        to = at + side * plane_step
        first, second, third = earlier[0, side], earlier[1, side], earlier[2, side]
        for r in range(count):
            k = load(entries, own + r) + shift
            a = load(entries, first + r) + shift_a
            b = load(entries, second + r) + shift_b
            c = load(entries, third + r) + shift_c
            for p in range(pieces):
                largest = larger8(read8(table, a + p * WIDTH), table, b + p * WIDTH)
                gain8(plane, to + p * WIDTH, table, k + p * WIDTH, larger8(largest, table, c + p * WIDTH))
            to += row_step


# Maxima of three pieces at once: a third of the look-ups in `entries`, two thirds of the time.
@numba.njit(cache=True, nogil=True, inline="always")
def _gain_n_of_3(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, earlier, n) -> None:  # type: ignore[no-untyped-def]
    for side in range(2):
        own = entry_2 if side else entry_1
        to = at + side * plane_step
        for r in range(count):
            a = load(entries, earlier[0, side] + r) + earlier[0, 2]
            largest, largest_1, largest_2 = read8(table, a), read8(table, a + WIDTH), read8(table, a + 2 * WIDTH)
            for j in range(1, n):
                a = load(entries, earlier[j, side] + r) + earlier[j, 2]
                largest = larger8(largest, table, a)
                largest_1 = larger8(largest_1, table, a + WIDTH)
                largest_2 = larger8(largest_2, table, a + 2 * WIDTH)
            k = load(entries, own + r) + shift
            gain8(plane, to, table, k, largest)
            gain8(plane, to + WIDTH, table, k + WIDTH, largest_1)
            gain8(plane, to + 2 * WIDTH, table, k + 2 * WIDTH, largest_2)
            to += row_step


@numba.njit(cache=True, nogil=True, inline="always")
def _gain_n(  # type: ignore[no-untyped-def]
    plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, pieces, earlier, n
) -> None:
    for side in range(2):
        own = entry_2 if side else entry_1
        to = at + side * plane_step
        for r in range(count):
            k = load(entries, own + r) + shift
            for p in range(pieces):
                largest = read8(table, load(entries, earlier[0, side] + r) + earlier[0, 2] + p * WIDTH)
                for j in range(1, n):
                    largest = larger8(largest, table, load(entries, earlier[j, side] + r) + earlier[j, 2] + p * WIDTH)
                gain8(plane, to + p * WIDTH, table, k + p * WIDTH, largest)
            to += row_step


@numba.njit(cache=True, nogil=True, inline="always")
def add_gain(  # type: ignore[no-untyped-def]
    plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, pieces, earlier, n
) -> None:
    """Add max(k, m) - m for the rows of one focus, m the maximum over the n earlier foci that it overlaps, n > 0."""
    if n == 1:
        if pieces == 3:
            _gain_1(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, 3, earlier)
        elif pieces == 2:
            _gain_1(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, 2, earlier)
        else:
            _gain_1(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, pieces, earlier)
    elif n == 2:
        if pieces == 3:
            _gain_2(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, 3, earlier)
        else:
            _gain_2(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, pieces, earlier)
    elif n == 3:
        if pieces == 3:
            _gain_3(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, 3, earlier)
        else:
            _gain_3(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, pieces, earlier)
    elif pieces == 3:
        _gain_n_of_3(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, earlier, n)
    else:
        _gain_n(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, pieces, earlier, n)
