"""Sixty-four relabellings of a contrast at a time: sums, comparisons and a bound in vector registers.

    relabelling (lane)      0    1    2  …   63
    member[experiment]     -1    0   -1  …    0     -1, all bits set: the experiment is in the first arm
    value & member          x    0    x  …    0     so that "and" selects; the sum of these is the first arm's S

A voxel's S in the first arm is summed for all 64 lanes in registers, one "and" and one addition for each experiment
and 8 or 16 lanes, and a comparison gives a mask of 64 bits, one for each lane. A loop over relabellings would read the
voxel's values 64 times.

Each operation `fast_…` has a plain version `plain_…` of the same signature beside it, which the tests hold it to
(tests/numerics/test_lanes.py) and which runs in its place when ALE_DASK_PLAIN=1 is set. Sums are int32 (lane) in units
of fixed point, masks are uint64 whose bit i stands for lane i.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ale_dask.numerics.kernels.simd import PLAIN

LANES = 64
"""Number of relabellings in one mask."""
SLACK = 4.0
"""Units of 2^-40 of a difference: more than rounding two differences to integers can change which is larger."""
_INT, _WORD, _FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()
_LANES = ir.VectorType(_INT, LANES)
_FLOATS = ir.VectorType(_FLOAT, LANES)
_TO = ir.PointerType(_FLOATS)


def _data(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    return context.make_array(array_type)(context, builder, array).data


def _load(builder: Any, data: Any, index: Any, vector: Any) -> Any:
    # 4 bytes is what numba promises of a row of int32, whatever the register's width.
    pointer = builder.bitcast(builder.gep(data, [index]), ir.PointerType(vector))
    return builder.load(pointer, align=4)


def _spread(builder: Any, scalar: Any, vector: Any) -> Any:
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_INT, 0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), ir.Constant(_LANES, [0] * LANES))


@intrinsic
def _sums(typing_context, value, experiment, begin, end, member, out):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, experiments, first, last, members, target = arguments
        values, experiments, members, target = (
            _data(context, builder, signature.args[i], a)
            for i, a in ((0, values), (1, experiments), (4, members), (5, target))
        )
        total = cgutils.alloca_once_value(builder, ir.Constant(_LANES, [0] * LANES))
        with cgutils.for_range_slice(builder, first, last, ir.Constant(_WORD, 1), _WORD) as (t, _):
            row = builder.zext(builder.load(builder.gep(experiments, [t])), _WORD)
            mask = _load(builder, members, builder.mul(row, ir.Constant(_WORD, LANES)), _LANES)
            part = builder.and_(_spread(builder, builder.load(builder.gep(values, [t])), _LANES), mask)
            builder.store(builder.add(builder.load(total), part), total)
        builder.store(builder.load(total), builder.bitcast(target, ir.PointerType(_LANES)), align=4)
        return context.get_dummy_value()

    return types.void(value, experiment, types.int64, types.int64, member, out), generate


def _comparison(sign: str) -> Any:
    @intrinsic
    def compare(typing_context, sums, bound):  # type: ignore[no-untyped-def]
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = _data(context, builder, signature.args[0], arguments[0])
            lanes, bound = _load(builder, data, ir.Constant(_WORD, 0), _LANES), _spread(builder, arguments[1], _LANES)
            return builder.bitcast(builder.icmp_signed(sign, lanes, bound), _WORD)

        return types.uint64(sums, types.int32), generate

    return compare


_at_least, _at_most = _comparison(">="), _comparison("<=")


@intrinsic
def _rising(typing_context, sums, total, steep, flat, bounds, row):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        s, t, steepest, flattest, bound, at = arguments

        def larger(a: Any, b: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        def smaller(a: Any, b: Any) -> Any:
            return builder.select(builder.fcmp_ordered("<", a, b), a, b)

        found = _load(builder, _data(context, builder, signature.args[0], s), ir.Constant(_WORD, 0), _LANES)
        bound = _data(context, builder, signature.args[4], bound)
        places = [
            builder.bitcast(
                builder.gep(bound, [builder.add(builder.mul(at, ir.Constant(_WORD, 2 * LANES)), offset)]), _TO
            )
            for offset in (ir.Constant(_WORD, 0), ir.Constant(_WORD, LANES))
        ]
        greatest, least = (builder.load(place, align=4) for place in places)
        rest = builder.sub(_spread(builder, t, _LANES), found)
        x = builder.sitofp(builder.sub(found, rest), _FLOATS)
        one, two = (builder.fmul(x, _spread(builder, c, _FLOATS)) for c in (steepest, flattest))
        high, low = larger(one, two), smaller(one, two)
        rises = builder.or_(builder.fcmp_ordered(">=", high, greatest), builder.fcmp_ordered("<=", low, least))
        slack = ir.Constant(_FLOATS, [SLACK] * LANES)
        builder.store(larger(builder.fsub(low, slack), greatest), places[0], align=4)
        builder.store(smaller(builder.fadd(high, slack), least), places[1], align=4)
        return builder.bitcast(rises, _WORD)

    return types.uint64(sums, types.int32, types.float32, types.float32, bounds, types.int64), generate


@numba.njit(cache=True, nogil=True)
def plain_sums(value, experiment, begin, end, member, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (lane), int32, with the sum over begin <= t < end of value[t] & member[experiment[t], lane].

    `value` and `experiment` (entry), int32, are the sparse rows of voxels; member (experiment, lane), int32, is 0 or
    -1.
    """
    out[:] = 0
    for t in range(begin, end):
        row = member[experiment[t]]
        for lane in range(LANES):
            out[lane] += value[t] & row[lane]


@numba.njit(cache=True, nogil=True)
def plain_at_least(sums, bound):  # type: ignore[no-untyped-def]
    """Return the mask of the lanes with sums (lane), int32, at or above `bound`, int32."""
    mask = np.uint64(0)
    for lane in range(LANES):
        mask |= np.uint64(sums[lane] >= bound) << np.uint64(lane)
    return mask


@numba.njit(cache=True, nogil=True)
def plain_at_most(sums, bound):  # type: ignore[no-untyped-def]
    """Return the mask of the lanes with sums (lane), int32, at or below `bound`, int32."""
    mask = np.uint64(0)
    for lane in range(LANES):
        mask |= np.uint64(sums[lane] <= bound) << np.uint64(lane)
    return mask


@numba.njit(cache=True, nogil=True)
def plain_rising(sums, total, steep, flat, bounds, row):  # type: ignore[no-untyped-def]
    """Return the mask of lanes whose difference may be the largest or the smallest, and narrow bounds[row].

    With x = 2 s - total, s of `sums` (lane), int32, and both arms' S `total`, int32, the difference ALE_A - ALE_B in
    units of 2^-40 lies between steep * x and flat * x, float32. bounds (row, 2, lane), float32, holds the value that
    the largest difference of each lane is known to reach, and the one that the smallest is known to reach, both widened
    by SLACK because differences are rounded to integers afterwards.
    """
    mask = np.uint64(0)
    slack = np.float32(SLACK)
    for lane in range(LANES):
        x = np.float32(np.int32(sums[lane] - (total - sums[lane])))
        one = x * steep
        two = x * flat
        high = max(one, two)
        low = min(one, two)
        mask |= np.uint64(high >= bounds[row, 0, lane] or low <= bounds[row, 1, lane]) << np.uint64(lane)
        bounds[row, 0, lane] = max(low - slack, bounds[row, 0, lane])
        bounds[row, 1, lane] = min(high + slack, bounds[row, 1, lane])
    return mask


@numba.njit(cache=True, nogil=True, inline="always")
def fast_sums(value, experiment, begin, end, member, out) -> None:  # type: ignore[no-untyped-def]
    """Do what `plain_sums` does."""
    _sums(value, experiment, begin, end, member, out)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_at_least(sums, bound):  # type: ignore[no-untyped-def]
    """Do what `plain_at_least` does."""
    return _at_least(sums, bound)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_at_most(sums, bound):  # type: ignore[no-untyped-def]
    """Do what `plain_at_most` does."""
    return _at_most(sums, bound)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_rising(sums, total, steep, flat, bounds, row):  # type: ignore[no-untyped-def]
    """Do what `plain_rising` does."""
    return _rising(sums, total, steep, flat, bounds, row)


_plain = (plain_sums, plain_at_least, plain_at_most, plain_rising)
_fast = (fast_sums, fast_at_least, fast_at_most, fast_rising)
lane_sums, at_least, at_most, rising = _plain if PLAIN else _fast


@numba.njit(cache=True, nogil=True)
def count_lanes(mask):  # type: ignore[no-untyped-def]
    """Return the number of bits set in a mask, uint64, as int64: sums of pairs of bits, of fours, of eights."""
    pairs = mask - ((mask >> np.uint64(1)) & np.uint64(0x5555555555555555))
    fours = (pairs & np.uint64(0x3333333333333333)) + ((pairs >> np.uint64(2)) & np.uint64(0x3333333333333333))
    eights = (fours + (fours >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((eights * np.uint64(0x0101010101010101)) >> np.uint64(56))


@numba.njit(cache=True, nogil=True, inline="always")
def has_lane(mask, lane):  # type: ignore[no-untyped-def]
    """Return whether the bit of lane number `lane`, int64, is set in a mask, uint64."""
    return (mask >> np.uint64(lane)) & np.uint64(1) != 0


@numba.njit(cache=True, nogil=True)
def fill_members(chosen, first, member):  # type: ignore[no-untyped-def]
    """Fill member (experiment, lane), int32, with -1 where relabelling first + lane puts it in the first arm, else 0.

    `chosen` (relabelling, experiment), bool. Returns the number of lanes in use; those past the last relabelling repeat
    number `first`.
    """
    lanes = min(LANES, chosen.shape[0] - first)
    for lane in range(LANES):
        row = chosen[first + (lane if lane < lanes else 0)]
        for e in range(member.shape[0]):
            member[e, lane] = -np.int32(row[e])
    return lanes
