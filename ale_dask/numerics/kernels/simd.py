"""Operations on eight int32 at a time, written in LLVM's own words (single instruction, multiple data).

    plane   | p0 | p1 | p2 | p3 | p4 | p5 | p6 | p7 |     one 256-bit register
    table   | k0 | k1 | k2 | k3 | k4 | k5 | k6 | k7 |     one 256-bit register
    add8    p += k                  one addition for eight voxels
    gain8   p += max(k, m) - m      m: eight int32 that stay in a register between calls (read8, larger8)
    lessen8 p -= min(k, m)

numba would turn a plain loop over 8 cells into the same instructions only if it knew that `plane` and `table` do not
overlap in memory. It cannot know, and the test that it makes while running costs more than the loop.

Each operation `fast_…` has a plain version `plain_…` of the same signature beside it, which the tests hold it to
(tests/numerics/test_permute.py) and which runs in its place when ALE_DASK_PLAIN=1 is set. `load`, which only reads an
element, has none. Arrays are int32 and one-dimensional, positions are int64 and not negative, values are integers of
fixed point.
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
"""Options of `numba.njit` for functions that loop over foci and allocate nothing: numba then counts no references to
arrays, which takes several atomic additions for every focus and 3 % of an iteration."""
INNER = {**BARE, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options of functions that only compiled functions call: what takes apart the arguments of a call from Python, dozens
of arrays, is not compiled for them, which takes about as long as they do themselves."""
SCAN = 32
"""Number of cells that `reaches32` and `clear32` treat in one step."""
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


class _EightType(types.Type):  # type: ignore[misc]
    """The type of eight int32 in a register, for numba."""

    def __init__(self) -> None:
        super().__init__(name="int32 x 8")


EIGHT = _EightType()


@register_model(_EightType)
class _EightModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, eight: Any) -> None:
        super().__init__(manager, eight, _VECTOR)


@intrinsic
def _read8(typing_context, table, entry):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        t, e = arguments
        return builder.load(_pointer(context, builder, signature.args[0], t, e), align=4)

    return EIGHT(table, types.int64), generate


@intrinsic
def _larger8(typing_context, most, table, entry):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        m, t, e = arguments
        source = _pointer(context, builder, signature.args[1], t, e)
        return _maximum(builder, m, builder.load(source, align=4))

    return EIGHT(EIGHT, table, types.int64), generate


@intrinsic
def _gain8(typing_context, volume, at, table, entry, most):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        v, a, t, e, m = arguments
        target = _pointer(context, builder, signature.args[0], v, a)
        source = _pointer(context, builder, signature.args[2], t, e)
        gain = builder.sub(_maximum(builder, builder.load(source, align=4), m), m)
        builder.store(builder.add(builder.load(target, align=4), gain), target, align=4)
        return context.get_dummy_value()

    return types.void(volume, types.int64, table, types.int64, EIGHT), generate


@intrinsic
def _lessen8(typing_context, volume, at, table, entry, most):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        v, a, t, e, m = arguments
        target = _pointer(context, builder, signature.args[0], v, a)
        k = builder.load(_pointer(context, builder, signature.args[2], t, e), align=4)
        least = builder.select(builder.icmp_signed("<", k, m), k, m)
        builder.store(builder.sub(builder.load(target, align=4), least), target, align=4)
        return context.get_dummy_value()

    return types.void(volume, types.int64, table, types.int64, EIGHT), generate


@intrinsic
def load(typing_context, array, at):  # type: ignore[no-untyped-def]
    """Return array[at], of any dtype, for an int64 `at` >= 0, without numba's test for negative indices."""

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
    """Return table[entry:entry + 8] as eight values (`fast_read8`: as one register)."""
    t = table[entry : entry + WIDTH]
    return t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7]


@numba.njit(cache=True, nogil=True)
def plain_larger8(m, table, entry):  # type: ignore[no-untyped-def]
    """Return the larger of `m`, eight values from `read8`, and table[entry:entry + 8], value by value."""
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
    """Add max(k, m) - m to volume[at:at + 8], with k = table[entry:entry + 8] and `m` eight values from `read8`."""
    for j in range(WIDTH):
        volume[at + j] += max(table[entry + j], m[j]) - m[j]


@numba.njit(cache=True, nogil=True)
def plain_lessen8(volume, at, table, entry, m) -> None:  # type: ignore[no-untyped-def]
    """Subtract min(k, m) from volume[at:at + 8], with k = table[entry:entry + 8] and `m` eight values from `read8`."""
    for j in range(WIDTH):
        volume[at + j] -= min(table[entry + j], m[j])


@numba.njit(cache=True, nogil=True)
def plain_reaches32(volume, at, limit):  # type: ignore[no-untyped-def]
    """Return whether any of volume[at:at + 32] is at least `limit`, int32."""
    found = False
    for j in range(SCAN):
        found |= volume[at + j] >= limit
    return found


@numba.njit(cache=True, nogil=True)
def plain_clear32(volume, at) -> None:  # type: ignore[no-untyped-def]
    """Set volume[at:at + 32] to 0."""
    for j in range(SCAN):
        volume[at + j] = 0


@numba.njit(cache=True, nogil=True, inline="always")
def fast_add8(volume, at, table, entry) -> None:  # type: ignore[no-untyped-def]
    """Do what `plain_add8` does."""
    _add8(volume, at, table, entry)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_read8(table, entry):  # type: ignore[no-untyped-def]
    """Do what `plain_read8` does."""
    return _read8(table, entry)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_larger8(m, table, entry):  # type: ignore[no-untyped-def]
    """Do what `plain_larger8` does."""
    return _larger8(m, table, entry)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_gain8(volume, at, table, entry, m) -> None:  # type: ignore[no-untyped-def]
    """Do what `plain_gain8` does."""
    _gain8(volume, at, table, entry, m)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_lessen8(volume, at, table, entry, m) -> None:  # type: ignore[no-untyped-def]
    """Do what `plain_lessen8` does."""
    _lessen8(volume, at, table, entry, m)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_reaches32(volume, at, limit):  # type: ignore[no-untyped-def]
    """Do what `plain_reaches32` does."""
    return _reaches32(volume, at, limit)


@numba.njit(cache=True, nogil=True, inline="always")
def fast_clear32(volume, at) -> None:  # type: ignore[no-untyped-def]
    """Do what `plain_clear32` does."""
    _clear32(volume, at)


PLAIN = os.environ.get("ALE_DASK_PLAIN") == "1"
add8, read8, larger8 = (plain_add8, plain_read8, plain_larger8) if PLAIN else (fast_add8, fast_read8, fast_larger8)
gain8, lessen8 = (plain_gain8, plain_lessen8) if PLAIN else (fast_gain8, fast_lessen8)
reaches32, clear32 = (plain_reaches32, plain_clear32) if PLAIN else (fast_reaches32, fast_clear32)
