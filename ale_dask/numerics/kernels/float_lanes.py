"""Operations on sixteen float32 at a time for a bound of S that is a convolution: weighted sums, means and stencils.

    rows      r0 r1 r2 …  of a plane, 16 or 48 cells each      weighted_rows   w0 r0 + w1 r1 + w2 r2 + …, in registers
    points    . . p p|p p . .                                  stencil_masks   a voxel between points from six of them
                     v                                                         along each axis: w1, w3, w5 on both sides

Each operation `fast_…` has a plain version `plain_…` of the same signature beside it, which the tests hold it to
(tests/numerics/test_float_lanes.py), but for rounding, and which runs in its place when ALE_DASK_PLAIN=1 is set. No
result depends on how sums are rounded, because whatever is compared has a margin for it (`convolved_strips`).
Positions are int64 and not negative, arrays one-dimensional.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ale_dask.numerics.kernels.lattice_lanes import LANES, STEPS
from ale_dask.numerics.kernels.simd import PLAIN

WIDE = 3 * LANES
"""Cells of a wide step: enough additions side by side that none waits for the one before."""
_HALF, _INT, _WORD, _FLOAT = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_LANES = ir.VectorType(_FLOAT, LANES)
_BETWEEN = range(-2, 4)
"""The points around a voxel between points 0 and 1."""


def _data(context: Any, builder: Any, signature: Any, number: int, arguments: Any) -> Any:
    return context.make_array(signature.args[number])(context, builder, arguments[number]).data


def _place(builder: Any, data: Any, index: Any) -> Any:
    return builder.bitcast(builder.gep(data, [index]), ir.PointerType(_LANES))


def _load(builder: Any, data: Any, index: Any) -> Any:
    return builder.load(_place(builder, data, index), align=4)


def _spread(builder: Any, scalar: Any) -> Any:
    nothing = ir.Constant(_LANES, ir.Undefined)
    first = builder.insert_element(nothing, scalar, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES))


def _add_product(builder: Any, total: Any, weight: Any, value: Any) -> Any:
    """Return total + weight * value, in one instruction where the machine has it."""
    name, kind = "llvm.fmuladd.v16f32", ir.FunctionType(_LANES, [_LANES] * 3)
    known = builder.module.globals
    return builder.call(
        known[name] if name in known else ir.Function(builder.module, kind, name), [weight, value, total]
    )


def _some(builder: Any, reached: Any) -> Any:
    together = builder.bitcast(functools.reduce(builder.or_, reached), _HALF)
    return builder.icmp_unsigned("!=", together, ir.Constant(_HALF, 0))


@intrinsic
def _add_scaled16(typing_context, target, at, weight, table, entry):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, source = (_data(context, builder, signature, i, arguments) for i in (0, 3))
        factor = _spread(builder, arguments[2])
        value = _load(builder, source, arguments[4])
        total = _add_product(builder, _load(builder, to, arguments[1]), factor, value)
        builder.store(total, _place(builder, to, arguments[1]), align=4)
        return context.get_dummy_value()

    return types.void(target, types.int64, types.float32, table, types.int64), generate


def _weighted_rows(cells: int) -> Any:
    @intrinsic
    def weighted_rows(typing_context, out, to, rows, places, weights, span):  # type: ignore[no-untyped-def]
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            target, source, factors = (_data(context, builder, signature, i, arguments) for i in (0, 2, 4))
            first, step = (builder.extract_value(arguments[3], i) for i in range(2))
            begin, end = (builder.extract_value(arguments[5], i) for i in range(2))
            offsets = [ir.Constant(_WORD, i) for i in range(0, cells, LANES)]
            totals = [cgutils.alloca_once_value(builder, ir.Constant(_LANES, [0.0] * LANES)) for _ in offsets]
            with cgutils.for_range_slice(builder, begin, end, ir.Constant(_WORD, 1), _WORD) as (i, _):
                row = builder.add(first, builder.mul(builder.sub(i, begin), step))
                factor = _spread(builder, builder.load(builder.gep(factors, [i])))
                for total, offset in zip(totals, offsets, strict=True):
                    value = _load(builder, source, builder.add(row, offset))
                    builder.store(_add_product(builder, builder.load(total), factor, value), total)
            for total, offset in zip(totals, offsets, strict=True):
                builder.store(builder.load(total), _place(builder, target, builder.add(arguments[1], offset)), align=4)
            return context.get_dummy_value()

        return types.void(out, types.int64, rows, STEPS, weights, STEPS), generate

    return weighted_rows


_weighted_rows16, _weighted_rows48 = _weighted_rows(LANES), _weighted_rows(WIDE)


@intrinsic
def _reaches16f(typing_context, points, at, limit):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values = _load(builder, _data(context, builder, signature, 0, arguments), arguments[1])
        return _some(builder, [builder.fcmp_ordered(">=", values, _spread(builder, arguments[2]))])

    return types.boolean(points, types.int64, types.float32), generate


@intrinsic
def _means_reach(typing_context, points, places, steps, limits, shares):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lattice, least, parts = (_data(context, builder, signature, i, arguments) for i in (0, 3, 4))
        at, first = (builder.extract_value(arguments[1], i) for i in range(2))
        step_x, step_y = (builder.extract_value(arguments[2], i) for i in range(2))
        zero, one = ir.Constant(_WORD, 0), ir.Constant(_WORD, 1)
        sums = {}
        for x, y in itertools.product((0, 1), repeat=2):
            offset = builder.add(step_x if x else zero, step_y if y else zero)
            row = builder.add(at, offset)
            own = _load(builder, lattice, row)
            sums[x, y] = own, builder.fadd(own, _load(builder, lattice, builder.add(row, one)))
        reached = []
        for x, y, z in itertools.product((0, 1), repeat=3):
            corners = [sums[i, j][z] for i in range(x + 1) for j in range(y + 1)]
            number = 4 * x + 2 * y + z
            limit = _load(builder, least, builder.add(first, ir.Constant(_WORD, number * LANES)))
            share = _spread(builder, builder.load(builder.gep(parts, [ir.Constant(_INT, number)])))
            total = functools.reduce(builder.fadd, corners)
            reached.append(builder.fcmp_ordered(">=", total, builder.fmul(limit, share)))
        return _some(builder, reached)

    return types.boolean(points, STEPS, STEPS, limits, shares), generate


@intrinsic
def _stencil_masks(typing_context, points, places, steps, weights, limits, out):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lattice, factors, least, target = (_data(context, builder, signature, i, arguments) for i in (0, 3, 4, 5))
        at, first = (builder.extract_value(arguments[1], i) for i in range(2))
        step_x, step_y = (builder.extract_value(arguments[2], i) for i in range(2))
        factor = [
            [_spread(builder, builder.load(builder.gep(factors, [ir.Constant(_INT, 3 * axis + i)]))) for i in range(3)]
            for axis in range(3)
        ]

        def between(values: Any, axis: int) -> Any:
            total = builder.fmul(factor[axis][0], builder.fadd(values[2], values[3]))
            for i in (1, 2):
                pair = builder.fadd(values[2 - i], values[3 + i])
                total = _add_product(builder, total, factor[axis][i], pair)
            return total

        def row(i: int, j: int, part: int) -> Any:
            start = builder.add(builder.mul(step_x, ir.Constant(_WORD, i)), builder.mul(step_y, ir.Constant(_WORD, j)))
            start = builder.add(builder.add(at, start), ir.Constant(_WORD, _BETWEEN[0] + part * LANES))
            return _load(builder, lattice, start)

        # Along z last: the six neighbours of 16 points are then cut out of registers that hold 32 points.
        value = {}
        for part in (0, 1):
            planes = []
            for i in _BETWEEN:
                rows = [row(i, j, part) for j in _BETWEEN]
                planes.append((rows[2], between(rows, 1)))
            for y in (0, 1):
                value[0, y, part], value[1, y, part] = planes[2][y], between([p[y] for p in planes], 0)
        turns = ir.Constant(ir.VectorType(_INT, 2 * LANES), [i + z * LANES for i in range(LANES) for z in (0, 1)])
        for x, y in itertools.product((0, 1), repeat=2):
            near = [
                builder.shuffle_vector(
                    value[x, y, 0], value[x, y, 1], ir.Constant(ir.VectorType(_INT, LANES), list(range(k, k + LANES)))
                )
                for k in range(len(_BETWEEN))
            ]
            reached = []
            for z, found in enumerate((near[2], between(near, 2))):
                number = ir.Constant(_WORD, (4 * x + 2 * y + z) * LANES)
                limit = _load(builder, least, builder.add(first, number))
                reached.append(builder.fcmp_ordered(">=", found, limit))
            bits = builder.bitcast(builder.shuffle_vector(*reached, turns), _INT)
            builder.store(builder.zext(bits, _WORD), builder.gep(target, [ir.Constant(_INT, 2 * x + y)]))
        return context.get_dummy_value()

    return types.void(points, STEPS, STEPS, weights, limits, out), generate


@numba.njit(cache=True, nogil=True)
def plain_add_scaled16(target, at, weight, table, entry) -> None:  # type: ignore[no-untyped-def]
    """Add weight * table[entry:entry + 16] to target[at:at + 16], all float32."""
    for i in range(LANES):
        target[at + i] += weight * table[entry + i]


@numba.njit(cache=True, nogil=True)
def plain_weighted_rows16(out, to, rows, places, weights, span) -> None:  # type: ignore[no-untyped-def]
    """Set out[to:to + 16] to the weighted sum of rows of 16 cells, all float32.

    The first row begins at rows[places[0]] and each other one places[1] cells after the one before; their weights are
    weights[span[0]] to weights[span[1] - 1]. `places` and `span` (2) are int64.
    """
    for j in range(LANES):
        total = np.float32(0)
        for i in range(span[0], span[1]):
            total += weights[i] * rows[places[0] + (i - span[0]) * places[1] + j]
        out[to + j] = total


@numba.njit(cache=True, nogil=True)
def plain_weighted_rows48(out, to, rows, places, weights, span) -> None:  # type: ignore[no-untyped-def]
    """Do what `plain_weighted_rows16` does for rows of 48 cells."""
    for offset in range(0, WIDE, LANES):
        plain_weighted_rows16(out, to + offset, rows, (places[0] + offset, places[1]), weights, span)


@numba.njit(cache=True, nogil=True)
def plain_reaches16f(points, at, limit):  # type: ignore[no-untyped-def]
    """Return whether any of points[at:at + 16] is at least `limit`, all float32."""
    found = False
    for i in range(LANES):
        found |= points[at + i] >= limit
    return found


@numba.njit(cache=True, nogil=True)
def plain_means_reach(points, places, steps, limits, shares):  # type: ignore[no-untyped-def]
    """Return whether a voxel of 16 cells may pass by the sum of the points around it, all float32.

    Cell i has the points points[at + i] and those `steps` (2), int64, along x and y and 1 along z further on as
    corners. Those around a voxel of class c = 4 x + 2 y + z must sum to shares[c] limits[first + 16 c + i] or more.
    `places` (2), int64, are `at` and `first`.
    """
    at, first = places
    for x in range(2):
        for y in range(2):
            for z in range(2):
                c = 4 * x + 2 * y + z
                for i in range(LANES):
                    total = np.float32(0)
                    for dx in range(x + 1):
                        for dy in range(y + 1):
                            for dz in range(z + 1):
                                total += points[at + i + dx * steps[0] + dy * steps[1] + dz]
                    if total >= limits[first + LANES * c + i] * shares[c]:
                        return True
    return False


@numba.njit(cache=True, nogil=True)
def _from_six(points, at, step, weights, axis):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for i in range(3):
        total += weights[3 * axis + i] * (points[at - i * step] + points[at + (i + 1) * step])
    return total


@numba.njit(cache=True, nogil=True)
def _interpolated(points, at, steps, weights, x, y, z):  # type: ignore[no-untyped-def]
    """Return the interpolation at the voxel (x, y, z), each 0 or 1, of the cell whose point is points[at]."""
    value = np.float32(0)
    for i in range(3 if x else 1):
        for side_x in range(2 if x else 1):
            at_x = at + (i + 1 if side_x else -i) * steps[0]
            weight_x = weights[i] if x else np.float32(1)
            for j in range(3 if y else 1):
                for side_y in range(2 if y else 1):
                    at_y = at_x + (j + 1 if side_y else -j) * steps[1]
                    weight = weight_x * weights[3 + j] if y else weight_x
                    value += weight * (_from_six(points, at_y, 1, weights, 2) if z else points[at_y])
    return value


@numba.njit(cache=True, nogil=True)
def plain_stencil_masks(points, places, steps, weights, limits, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (row), int64, with the voxels that may pass of 16 cells, for their rows (x, y) = 00, 01, 10 and 11.

    A voxel that lies on a point has its value, one between points along an axis weights[3 axis], [3 axis + 1] and
    [3 axis + 2] times the sums of the two points 1, 3 and 5 voxels away, along one axis after another. Bit 2 i + z of a
    row is set where this is at least limits[first + 16 (4 x + 2 y + z) + i]; other arrays are those of
    `plain_means_reach`.
    """
    at, first = places
    for x in range(2):
        for y in range(2):
            bits = np.int64(0)
            for i in range(LANES):
                for z in range(2):
                    value = _interpolated(points, at + i, steps, weights, x, y, z)
                    if value >= limits[first + LANES * (4 * x + 2 * y + z) + i]:
                        bits |= np.int64(1) << np.int64(2 * i + z)
            out[2 * x + y] = bits


@numba.njit(cache=True, nogil=True, inline="always")
def fast_add_scaled16(target, at, weight, table, entry) -> None:  # type: ignore[no-untyped-def]
    """Do what `plain_add_scaled16` does."""
    _add_scaled16(target, at, weight, table, entry)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_weighted_rows16(out, to, rows, places, weights, span) -> None:  # type: ignore[no-untyped-def]
    """Do what `plain_weighted_rows16` does."""
    _weighted_rows16(out, to, rows, places, weights, span)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_weighted_rows48(out, to, rows, places, weights, span) -> None:  # type: ignore[no-untyped-def]
    """Do what `plain_weighted_rows48` does."""
    _weighted_rows48(out, to, rows, places, weights, span)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_reaches16f(points, at, limit):  # type: ignore[no-untyped-def]
    """Do what `plain_reaches16f` does."""
    return _reaches16f(points, at, limit)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_means_reach(points, places, steps, limits, shares):  # type: ignore[no-untyped-def]
    """Do what `plain_means_reach` does."""
    return _means_reach(points, places, steps, limits, shares)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_stencil_masks(points, places, steps, weights, limits, out) -> None:  # type: ignore[no-untyped-def]
    """Do what `plain_stencil_masks` does."""
    _stencil_masks(points, places, steps, weights, limits, out)


_plain_rows, _fast_rows = (plain_weighted_rows16, plain_weighted_rows48), (fast_weighted_rows16, fast_weighted_rows48)
weighted_rows16, weighted_rows48 = _plain_rows if PLAIN else _fast_rows
_plain = (plain_add_scaled16, plain_reaches16f, plain_means_reach, plain_stencil_masks)
_fast = (fast_add_scaled16, fast_reaches16f, fast_means_reach, fast_stencil_masks)
add_scaled16, reaches16f, means_reach, stencil_masks = _plain if PLAIN else _fast
