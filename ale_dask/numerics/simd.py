"""Eight int32 at a time, in LLVM's own words.

Each operation has a plain twin of the same signature (`plain_…`), which the tests hold it to and which
runs instead when ALE_DASK_PLAIN=1 is set. A plain loop of 8 would do if the compiler could know that the
arrays do not overlap; it cannot, and its run-time check costs more than the loop. `load`, an index without numba's
test for negative ones, has no twin: it computes nothing.
"""

from __future__ import annotations

import os
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

WIDTH = 8
BARE = {"cache": True, "nogil": True, "_nrt": False}
"""Of functions that loop over foci and allocate nothing: without numba's counting of references to arrays, which is
several atomic additions for every visit and 3 % of an iteration."""
SCAN = 32
"""Cells that a scan looks at in one step."""
_VECTOR = ir.VectorType(ir.IntType(32), WIDTH)
_ZERO = ir.Constant(_VECTOR, [0] * WIDTH)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.PointerType(_VECTOR))


def _maximum(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.icmp_signed(">", a, b), a, b)


@intrinsic
def _add8(typing_context, volume, at, table, entry):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        v, a, t, e = arguments
        target = _pointer(context, builder, signature.args[0], v, a)
        source = _pointer(context, builder, signature.args[2], t, e)
        total = builder.add(builder.load(target, align=4), builder.load(source, align=4))
        builder.store(total, target, align=4)
        return context.get_dummy_value()

    return types.void(volume, types.int64, table, types.int64), generate


class _Lanes(types.Type):  # type: ignore[misc]
    """Eight int32 in a register."""

    def __init__(self) -> None:
        super().__init__(name="int32 x 8")


LANES = _Lanes()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, lanes: Any) -> None:
        super().__init__(manager, lanes, _VECTOR)


@intrinsic
def _read8(typing_context, table, entry):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        t, e = arguments
        return builder.load(_pointer(context, builder, signature.args[0], t, e), align=4)

    return LANES(table, types.int64), generate


@intrinsic
def _larger8(typing_context, most, table, entry):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        m, t, e = arguments
        source = _pointer(context, builder, signature.args[1], t, e)
        return _maximum(builder, m, builder.load(source, align=4))

    return LANES(LANES, table, types.int64), generate


@intrinsic
def _gain8(typing_context, volume, at, table, entry, most):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        v, a, t, e, m = arguments
        target = _pointer(context, builder, signature.args[0], v, a)
        source = _pointer(context, builder, signature.args[2], t, e)
        gain = builder.sub(_maximum(builder, builder.load(source, align=4), m), m)
        builder.store(builder.add(builder.load(target, align=4), gain), target, align=4)
        return context.get_dummy_value()

    return types.void(volume, types.int64, table, types.int64, LANES), generate


@intrinsic
def load(typing_context, array, at):  # type: ignore[no-untyped-def]
    """array[at] for at >= 0: without the test for negative indices that numba makes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, i = arguments
        data = context.make_array(signature.args[0])(context, builder, a).data
        return builder.load(builder.gep(data, [i]))

    return array.dtype(array, types.int64), generate


@intrinsic
def _reaches32(typing_context, volume, at, limit):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        v, a, least = arguments
        top = None
        for piece in range(SCAN // WIDTH):
            place = builder.add(a, ir.Constant(ir.IntType(64), piece * WIDTH))
            cells = builder.load(_pointer(context, builder, signature.args[0], v, place), align=4)
            top = cells if top is None else _maximum(builder, top, cells)
        nothing = ir.Constant(_VECTOR, ir.Undefined)
        first = builder.insert_element(nothing, least, ir.Constant(ir.IntType(32), 0))
        all_lanes = builder.shuffle_vector(first, nothing, _ZERO)
        lanes = builder.bitcast(builder.icmp_signed(">=", top, all_lanes), ir.IntType(WIDTH))
        return builder.icmp_unsigned("!=", lanes, ir.Constant(ir.IntType(WIDTH), 0))

    return types.boolean(volume, types.int64, types.int32), generate


@intrinsic
def _clear32(typing_context, volume, at):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        v, a = arguments
        for piece in range(SCAN // WIDTH):
            place = builder.add(a, ir.Constant(ir.IntType(64), piece * WIDTH))
            builder.store(_ZERO, _pointer(context, builder, signature.args[0], v, place), align=4)
        return context.get_dummy_value()

    return types.void(volume, types.int64), generate


@numba.njit(cache=True, nogil=True)
def plain_add8(volume, at, table, entry) -> None:  # type: ignore[no-untyped-def]
    """Add table[entry:entry + 8] to volume[at:at + 8]."""
    for j in range(WIDTH):
        volume[at + j] += table[entry + j]


@numba.njit(cache=True, nogil=True)
def plain_read8(table, entry):  # type: ignore[no-untyped-def]
    """Return table[entry:entry + 8]."""
    t = table[entry : entry + WIDTH]
    return t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7]


@numba.njit(cache=True, nogil=True)
def plain_larger8(m, table, entry):  # type: ignore[no-untyped-def]
    """Return max(m, table[entry:entry + 8])."""
    t = table[entry : entry + WIDTH]
    return (
        max(m[0], t[0]),
        max(m[1], t[1]),
        max(m[2], t[2]),
        max(m[3], t[3]),
        max(m[4], t[4]),
        max(m[5], t[5]),
        max(m[6], t[6]),
        max(m[7], t[7]),
    )


@numba.njit(cache=True, nogil=True)
def plain_gain8(volume, at, table, entry, m) -> None:  # type: ignore[no-untyped-def]
    """Add max(k, m) - m to volume[at:at + 8], k = table[entry:entry + 8]."""
    for j in range(WIDTH):
        volume[at + j] += max(table[entry + j], m[j]) - m[j]


@numba.njit(cache=True, nogil=True)
def plain_reaches32(volume, at, limit):  # type: ignore[no-untyped-def]
    """Return whether any of volume[at:at + 32] is at least `limit`."""
    found = False
    for j in range(SCAN):
        found |= volume[at + j] >= limit
    return found


@numba.njit(cache=True, nogil=True)
def plain_clear32(volume, at) -> None:  # type: ignore[no-untyped-def]
    """Zero volume[at:at + 32]."""
    for j in range(SCAN):
        volume[at + j] = 0


@numba.njit(cache=True, nogil=True, inline="always")
def fast_add8(volume, at, table, entry) -> None:  # type: ignore[no-untyped-def]
    """As `plain_add8`."""
    _add8(volume, at, table, entry)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_read8(table, entry):  # type: ignore[no-untyped-def]
    """As `plain_read8`."""
    return _read8(table, entry)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_larger8(m, table, entry):  # type: ignore[no-untyped-def]
    """As `plain_larger8`."""
    return _larger8(m, table, entry)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_gain8(volume, at, table, entry, m) -> None:  # type: ignore[no-untyped-def]
    """As `plain_gain8`."""
    _gain8(volume, at, table, entry, m)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_reaches32(volume, at, limit):  # type: ignore[no-untyped-def]
    """As `plain_reaches32`."""
    return _reaches32(volume, at, limit)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_clear32(volume, at) -> None:  # type: ignore[no-untyped-def]
    """As `plain_clear32`."""
    _clear32(volume, at)


PLAIN = os.environ.get("ALE_DASK_PLAIN") == "1"
add8, read8, larger8 = (plain_add8, plain_read8, plain_larger8) if PLAIN else (fast_add8, fast_read8, fast_larger8)
gain8, reaches32, clear32 = (
    (plain_gain8, plain_reaches32, plain_clear32) if PLAIN else (fast_gain8, fast_reaches32, fast_clear32)
)
