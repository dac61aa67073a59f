"""Operations on 16 lattice points or 32 foci at a time, and on eight voxels kept in a register.

    lattice row    p0   p1   p2  …  p15 | p16 …       uint16: an upper bound of S at every other voxel
    voxels along z    v0 v1 v2 v3  …                  v even: the point itself; v odd: the mean of two points

    corner_masks   of 16 cells of 2 x 2 x 2 voxels: bit 2 i + 1 is set where mean(p[i], p[i + 1]) >= limit, …

`simd` has the operations of the kernel that adds whole planes; these serve the search for voxels that may pass and the
exact sums in them. Each operation `fast_…` has a plain version `plain_…` of the same signature beside it, which the
tests hold it to (tests/numerics/test_lattice_lanes.py) and which runs in its place when ALE_DASK_PLAIN=1 is set.
Positions are int64 and not negative; masks are int64 whose bit i stands for number i.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ale_dask.numerics.kernels.simd import EIGHT, PLAIN, WIDTH

LANES = 16
"""Number of lattice points in one step."""
FOCI = 2 * LANES
"""Number of foci in one step."""
FARTHEST = 104
"""Distances along one axis are cut here, so that the sum of three squares fits an int16."""
_HALF, _INT, _WORD = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_LANES, _WIDE = ir.VectorType(_HALF, LANES), ir.VectorType(_INT, LANES)
_EIGHT, _FOCI = ir.VectorType(_INT, WIDTH), ir.VectorType(_HALF, 2 * LANES)
STEPS = types.UniTuple(types.int64, 2)
"""The type of how many points lie between neighbours along x and along y."""


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any, vector: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.PointerType(vector))


def _function(builder: Any, name: str, kind: Any) -> Any:
    known = builder.module.globals
    return known[name] if name in known else ir.Function(builder.module, kind, name)


def _all(value: int, vector: Any) -> Any:
    return ir.Constant(vector, [value] * vector.count)


def _spread(builder: Any, scalar: Any, vector: Any) -> Any:
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, scalar, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, nothing, _all(0, ir.VectorType(_INT, vector.count)))


def _mean(builder: Any, a: Any, b: Any) -> Any:
    """Return (a + b + 1) >> 1 of uint16, for which machines have one instruction."""
    total = builder.add(builder.add(builder.zext(a, _WIDE), builder.zext(b, _WIDE)), _all(1, _WIDE))
    return builder.trunc(builder.lshr(total, _all(1, _WIDE)), _LANES)


@intrinsic
def _add16(typing_context, lattice, at, table, entry):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, a, t, e = arguments
        target = _pointer(context, builder, signature.args[0], array, a, _LANES)
        source = _pointer(context, builder, signature.args[2], t, e, _LANES)
        add = _function(builder, "llvm.uadd.sat.v16i16", ir.FunctionType(_LANES, [_LANES, _LANES]))
        total = builder.call(add, [builder.load(target, align=2), builder.load(source, align=2)])
        builder.store(total, target, align=2)
        return context.get_dummy_value()

    return types.void(lattice, types.int64, table, types.int64), generate


@intrinsic
def _reaches16(typing_context, lattice, at, limit):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, a, least = arguments
        points = builder.load(_pointer(context, builder, signature.args[0], array, a, _LANES), align=2)
        reached = builder.icmp_unsigned(">=", points, _spread(builder, builder.trunc(least, _HALF), _LANES))
        return builder.icmp_unsigned("!=", builder.bitcast(reached, _HALF), ir.Constant(_HALF, 0))

    return types.boolean(lattice, types.int64, types.int64), generate


def _reached(context: Any, builder: Any, signature: Any, arguments: Any) -> dict[tuple[int, int, int], Any]:
    """Return by class of voxels (x, y, z) in which of 16 cells the mean of the corners reaches its limit."""
    points, at, steps, limit, first = arguments[:5]
    step_x, step_y = (builder.extract_value(steps, axis) for axis in range(2))

    def row(offset: Any) -> tuple[Any, Any]:
        place = builder.add(at, offset)
        beside = builder.add(place, ir.Constant(_WORD, 1))
        own, after = (
            builder.load(_pointer(context, builder, signature.args[0], points, p, _LANES), align=2)
            for p in (place, beside)
        )
        return own, _mean(builder, own, after)

    near = [row(ir.Constant(_WORD, 0)), row(step_y)]
    far = [row(step_x), row(builder.add(step_x, step_y))]
    reached = {}
    for z in (0, 1):
        across = [_mean(builder, plane[0][z], plane[1][z]) for plane in (near, far)]
        mean = {
            (0, 0): near[0][z],
            (0, 1): across[0],
            (1, 0): _mean(builder, near[0][z], far[0][z]),
            (1, 1): _mean(builder, *across),
        }
        for (x, y), value in mean.items():
            where = builder.add(first, ir.Constant(_WORD, (4 * x + 2 * y + z) * LANES))
            least = builder.load(_pointer(context, builder, signature.args[3], limit, where, _LANES), align=2)
            reached[x, y, z] = builder.icmp_unsigned(">=", value, least)
    return reached


@intrinsic
def _corners_reach(typing_context, lattice, at, steps, limits, first):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        some = functools.reduce(builder.or_, _reached(context, builder, signature, arguments).values())
        return builder.icmp_unsigned("!=", builder.bitcast(some, _HALF), ir.Constant(_HALF, 0))

    return types.boolean(lattice, types.int64, STEPS, limits, types.int64), generate


@intrinsic
def _corner_masks(typing_context, lattice, at, steps, limits, first, out):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        reached = _reached(context, builder, signature, arguments)
        data = context.make_array(signature.args[5])(context, builder, arguments[5]).data
        turns = [lane + z * LANES for lane in range(LANES) for z in (0, 1)]
        order = ir.Constant(ir.VectorType(_INT, 2 * LANES), turns)
        for x, y in itertools.product((0, 1), repeat=2):
            both = builder.shuffle_vector(reached[x, y, 0], reached[x, y, 1], order)
            row = builder.gep(data, [ir.Constant(_INT, 2 * x + y)])
            builder.store(builder.zext(builder.bitcast(both, _INT), _WORD), row)
        return context.get_dummy_value()

    return types.void(lattice, types.int64, STEPS, limits, types.int64, out), generate


@intrinsic
def _near32(typing_context, x, y, z, reach, at, box):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *axes, squared_reach, a, corners = arguments

        def larger(p: Any, q: Any) -> Any:
            return builder.select(builder.icmp_signed(">", p, q), p, q)

        ends = context.make_array(signature.args[5])(context, builder, corners).data
        total = _all(0, _FOCI)
        for axis, array in enumerate(axes):
            place = builder.load(_pointer(context, builder, signature.args[axis], array, a, _FOCI), align=2)
            low, high = (
                _spread(builder, builder.load(builder.gep(ends, [ir.Constant(_INT, i)])), _FOCI)
                for i in (axis, axis + 3)
            )
            beyond = larger(builder.sub(low, place), builder.sub(place, high))
            beyond = larger(beyond, _all(0, _FOCI))
            most = _all(FARTHEST, _FOCI)
            beyond = builder.select(builder.icmp_signed("<", beyond, most), beyond, most)
            total = builder.add(total, builder.mul(beyond, beyond))
        reached = builder.load(_pointer(context, builder, signature.args[3], squared_reach, a, _FOCI), align=2)
        return builder.zext(builder.bitcast(builder.icmp_signed("<=", total, reached), _INT), _WORD)

    return types.int64(x, y, z, reach, types.int64, box), generate


@intrinsic
def _slab_rows8(typing_context, out, at, base, step, beyond, from_x):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, between, most, distance = (_spread(builder, a, _EIGHT) for a in arguments[2:])
        away = builder.add(distance, ir.Constant(_EIGHT, list(range(WIDTH))))
        negative = builder.sub(_all(0, _EIGHT), away)
        away = builder.select(builder.icmp_signed(">", away, negative), away, negative)
        away = builder.select(builder.icmp_signed("<", away, most), away, most)
        target = _pointer(context, builder, signature.args[0], arguments[0], arguments[1], _EIGHT)
        builder.store(builder.add(first, builder.mul(away, between)), target, align=4)
        return context.get_dummy_value()

    return types.void(out, types.int64, types.int32, types.int32, types.int32, types.int32), generate


@intrinsic
def _lowest_bit(typing_context, mask):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_WORD, [_WORD, ir.IntType(1)])
        return builder.call(_function(builder, "llvm.cttz.i64", kind), [*arguments, ir.Constant(ir.IntType(1), 1)])

    return types.int64(types.int64), generate


@intrinsic
def _zero8(typing_context):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _all(0, _EIGHT)

    return EIGHT(), generate


@intrinsic
def _kept8(typing_context, value, keep):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.and_(arguments[0], _spread(builder, builder.trunc(arguments[1], _INT), _EIGHT))

    return EIGHT(EIGHT, types.int64), generate


@intrinsic
def _grown8(typing_context, total, new, old):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.add(arguments[0], builder.sub(arguments[1], arguments[2]))

    return EIGHT(EIGHT, EIGHT, EIGHT), generate


@intrinsic
def _store8(typing_context, array, at, value):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = _pointer(context, builder, signature.args[0], arguments[0], arguments[1], _EIGHT)
        builder.store(arguments[2], target, align=4)
        return context.get_dummy_value()

    return types.void(array, types.int64, EIGHT), generate


@numba.njit(cache=True, nogil=True)
def plain_add16(lattice, at, table, entry) -> None:  # type: ignore[no-untyped-def]
    """Add table[entry:entry + 16] to lattice[at:at + 16], both uint16; sums beyond 65,535 become 65,535."""
    for j in range(LANES):
        lattice[at + j] = min(np.int64(lattice[at + j]) + np.int64(table[entry + j]), 65535)


@numba.njit(cache=True, nogil=True)
def plain_reaches16(lattice, at, limit):  # type: ignore[no-untyped-def]
    """Return whether any of lattice[at:at + 16], uint16, is at least `limit`, int64 from 0 to 65,535."""
    found = False
    for j in range(LANES):
        found |= lattice[at + j] >= limit
    return found


@numba.njit(cache=True, nogil=True)
def _corner_mean(lattice, at, step_x, step_y, step_z):  # type: ignore[no-untyped-def]
    mean = np.int64(0)
    for plane in range(2):
        across = np.int64(0)
        for row in range(2):
            p = at + plane * step_x + row * step_y
            along = (np.int64(lattice[p]) + np.int64(lattice[p + step_z]) + 1) >> 1
            across = (across + along + 1) >> 1 if row else along
        mean = (mean + across + 1) >> 1 if plane else across
    return mean


@numba.njit(cache=True, nogil=True)
def plain_corner_masks(lattice, at, steps, limits, first, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (row), int64, with the voxels that may pass of 16 cells, for their rows (x, y) = 00, 01, 10 and 11.

    Cell i has the lattice points lattice[at + i] and those `steps` (2), int64, along x and y and 1 along z
    further on as corners. Bit
    2 i + z of a row is set where the mean, in steps each rounded up, of the corners that surround the voxel is at
    least limits[first + 16 (4 x + 2 y + z) + i], uint16.
    """
    for x in range(2):
        for y in range(2):
            bits = np.int64(0)
            for i in range(LANES):
                for z in range(2):
                    mean = _corner_mean(lattice, at + i, x * steps[0], y * steps[1], z)
                    if mean >= limits[first + LANES * (4 * x + 2 * y + z) + i]:
                        bits |= np.int64(1) << np.int64(2 * i + z)
            out[2 * x + y] = bits


@numba.njit(cache=True, nogil=True)
def plain_corners_reach(lattice, at, steps, limits, first):  # type: ignore[no-untyped-def]
    """Return whether `plain_corner_masks` would set a bit."""
    for x in range(2):
        for y in range(2):
            for i in range(LANES):
                for z in range(2):
                    mean = _corner_mean(lattice, at + i, x * steps[0], y * steps[1], z)
                    if mean >= limits[first + LANES * (4 * x + 2 * y + z) + i]:
                        return True
    return False


@numba.njit(cache=True, nogil=True)
def plain_near32(x, y, z, reach, at, box):  # type: ignore[no-untyped-def]
    """Return the mask of which of 32 foci from number `at` on lie near a box.

    Near are foci whose squared distance to the box (6), int16, its least x, y, z and its greatest x, y, z, is at most
    reach (focus), int16; x, y and z (focus) are int16. Distances along an axis beyond 104 count as 104.
    """
    mask = np.int64(0)
    for j in range(FOCI):
        total = np.int64(0)
        for axis in range(3):
            p = np.int64((x if axis == 0 else y if axis == 1 else z)[at + j])
            beyond = max(np.int64(box[axis]) - p, p - np.int64(box[axis + 3]))
            beyond = min(max(beyond, np.int64(0)), np.int64(FARTHEST))
            total += beyond * beyond
        mask |= np.int64(total <= reach[at + j]) << np.int64(j)
    return mask


@numba.njit(cache=True, nogil=True)
def plain_lowest_bit(mask):  # type: ignore[no-untyped-def]
    """Return the number of the lowest bit set in a mask, which is not 0."""
    bit = np.int64(0)
    while (mask >> bit) & 1 == 0:
        bit += np.int64(1)
    return bit


@numba.njit(cache=True, nogil=True)
def plain_slab_rows8(out, at, base, step, beyond, from_x) -> None:  # type: ignore[no-untyped-def]
    """Set out[at + i], i = 0 … 7, to base + step * the smaller of |from_x + i| and `beyond`, all int32."""
    for i in range(WIDTH):
        out[at + i] = base + min(abs(from_x + np.int32(i)), beyond) * step


@numba.njit(cache=True, nogil=True)
def plain_zero8():  # type: ignore[no-untyped-def]
    """Return eight zeros, int32 (`fast_zero8`: as one register)."""
    o = np.int32(0)
    return o, o, o, o, o, o, o, o


@numba.njit(cache=True, nogil=True)
def plain_kept8(m, keep):  # type: ignore[no-untyped-def]
    """Return eight values as they are where `keep`, int64, is -1, and zeros where it is 0."""
    k = np.int32(keep)
    return m[0] & k, m[1] & k, m[2] & k, m[3] & k, m[4] & k, m[5] & k, m[6] & k, m[7] & k


@numba.njit(cache=True, nogil=True)
def plain_grown8(total, new, old):  # type: ignore[no-untyped-def]
    """Return total + new - old, value by value."""
    return (
        np.int32(total[0] + new[0] - old[0]),
        np.int32(total[1] + new[1] - old[1]),
        np.int32(total[2] + new[2] - old[2]),
        np.int32(total[3] + new[3] - old[3]),
        np.int32(total[4] + new[4] - old[4]),
        np.int32(total[5] + new[5] - old[5]),
        np.int32(total[6] + new[6] - old[6]),
        np.int32(total[7] + new[7] - old[7]),
    )


@numba.njit(cache=True, nogil=True)
def plain_store8(array, at, value) -> None:  # type: ignore[no-untyped-def]
    """Set array[at:at + 8], int32, to eight values."""
    for j in range(WIDTH):
        array[at + j] = value[j]


@numba.njit(cache=True, nogil=True, inline="always")
def fast_add16(lattice, at, table, entry) -> None:  # type: ignore[no-untyped-def]
    """Do what `plain_add16` does."""
    _add16(lattice, at, table, entry)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_reaches16(lattice, at, limit):  # type: ignore[no-untyped-def]
    """Do what `plain_reaches16` does."""
    return _reaches16(lattice, at, limit)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_corner_masks(lattice, at, steps, limits, first, out) -> None:  # type: ignore[no-untyped-def]
    """Do what `plain_corner_masks` does."""
    _corner_masks(lattice, at, steps, limits, first, out)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_corners_reach(lattice, at, steps, limits, first):  # type: ignore[no-untyped-def]
    """Do what `plain_corners_reach` does."""
    return _corners_reach(lattice, at, steps, limits, first)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_near32(x, y, z, reach, at, box):  # type: ignore[no-untyped-def]
    """Do what `plain_near32` does."""
    return _near32(x, y, z, reach, at, box)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_lowest_bit(mask):  # type: ignore[no-untyped-def]
    """Do what `plain_lowest_bit` does."""
    return _lowest_bit(mask)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_slab_rows8(out, at, base, step, beyond, from_x) -> None:  # type: ignore[no-untyped-def]
    """Do what `plain_slab_rows8` does."""
    _slab_rows8(out, at, base, step, beyond, from_x)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_zero8():  # type: ignore[no-untyped-def]
    """Do what `plain_zero8` does."""
    return _zero8()


@numba.njit(cache=True, nogil=True, inline="always")
def fast_kept8(m, keep):  # type: ignore[no-untyped-def]
    """Do what `plain_kept8` does."""
    return _kept8(m, keep)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_grown8(total, new, old):  # type: ignore[no-untyped-def]
    """Do what `plain_grown8` does."""
    return _grown8(total, new, old)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_store8(array, at, value) -> None:  # type: ignore[no-untyped-def]
    """Do what `plain_store8` does."""
    _store8(array, at, value)


_plain = (plain_add16, plain_reaches16, plain_corners_reach, plain_corner_masks, plain_near32, plain_lowest_bit)
_fast = (fast_add16, fast_reaches16, fast_corners_reach, fast_corner_masks, fast_near32, fast_lowest_bit)
add16, reaches16, corners_reach, corner_masks, near32, lowest_bit = _plain if PLAIN else _fast
_plain_8 = (plain_slab_rows8, plain_zero8, plain_kept8, plain_grown8, plain_store8)
_fast_8 = (fast_slab_rows8, fast_zero8, fast_kept8, fast_grown8, fast_store8)
slab_rows8, zero8, kept8, grown8, store8 = _plain_8 if PLAIN else _fast_8
