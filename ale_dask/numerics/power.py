"""Which simulated effects a main effect's inference finds: a true place, and more and more experiments that report it.

    one simulation:  draw a place, all foci as the null does, an order of the experiments, a displaced focus for each
                     S in a box around the place   →  does a cluster near the place survive?
                     move the first focus of experiment 1 there  →  does it survive?   …   of experiment 2, …

After each step the component of voxels above the cluster-forming value is looked at that comes near the place. Only
what moves is summed again, and S is known only in a box around the place, unless a component leaves it. The loops are
not those of `kernels.planes`: these sum 10 % of the foci of an iteration, and then one focus at a time.
tests/analyses/test_power.py holds the steps to whole maps.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.density_levels import NEVER, z_of
from ale_dask.numerics.draws import draw_keys, draw_voxels, permutation_keys, philox
from ale_dask.numerics.elementary import exp_neg
from ale_dask.numerics.kernels.simd import BARE

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
POWER = "power"
"""Beginning of the names of the streams of draws."""
_TRIES = 4096
"""Displacements tried before the place itself is taken: even in a mask of one voxel 1 in 150 or so stays inside."""
_REACH = 6.0
"""Most standard deviations of a displacement along one axis: 2e-9 of a Gaussian lies beyond."""
BOX = 16
"""Voxels on each side of the place, along each axis, in which S is known at first."""


class Kernels(NamedTuple):
    """Kernels (x, y, z), one after another: their cells in fixed point, their rows and their displacements.

    Kernel k has the cells `value` from value_begin[k] on and the rows (x, y) from half_begin[k] on; `half` (row) is
    half the length of a row along z, -1 for an empty row; radius (kernel, axis) is in voxels. `cumulative` (kernel,
    axis, step) are the words, below 2^32, below which a displacement is less than step + 1 - reach[kernel, axis]
    voxels.
    """

    value: I32
    half: I64
    value_begin: I64
    half_begin: I64
    radius: I64
    reach: I64
    cumulative: I64


class Space(NamedTuple):
    """The mask in a grid with a border of one: the voxel of each cell, -1 outside, and the position of each voxel.

    number (cell), place (voxel, axis) and shape (axis) of the grid; near (offset, axis) are the offsets from a place
    that count as there; inside (cell) are the cells in which something is looked for, target (place) the voxels that
    places are drawn from.
    """

    number: I32
    place: I64
    shape: I64
    near: I64
    inside: npt.NDArray[np.bool_]
    target: I64


class Trial(NamedTuple):
    """The design: focus_begin (experiment + 1), kernel (experiment) and keys of each experiment's draws.

    key draws all foci, moved_key the displaced focus and order_key the order of experiments, each (experiment);
    place_key draws the place.
    """

    focus_begin: I64
    kernel: I64
    key: npt.NDArray[np.uint64]
    moved_key: npt.NDArray[np.uint64]
    order_key: npt.NDArray[np.uint64]
    place_key: np.uint64
    additive: bool


class Rule(NamedTuple):
    """What survives: components of S >= threshold (cell) of at least `cut` voxels, or of that mass.

    Where nothing is looked for, the threshold is NEVER. The mass of a component is the sum of S - least, or with `by_z`
    of z - least: z in steps, from the table z (level, bin) at the position (cell) between its levels. The neighbours of
    a voxel lie `steps` (neighbour) cells from it.
    """

    threshold: I32
    position: I32
    z: I32
    shift: int
    least: int
    cut: int
    by_mass: bool
    by_z: bool
    steps: I64


class Work(NamedTuple):
    """Memory of one thread: S (cell), the mark of the last search that saw a cell, its stack, and where the foci lie.

    `largest` (cell of a kernel) is a scratch; voxel (focus) are the drawn foci, moved (experiment) the displaced ones
    and at (focus, axis) the positions of those in the map.
    """

    volume: I32
    seen: I32
    stack: I64
    largest: I32
    voxel: I64
    moved: I64
    at: I64


def kernels_of(boxes: list[I32], *, sigma: F64) -> Kernels:
    """Return the tables of kernels (x, y, z), int32, that stand for Gaussians of these sigmas (kernel, axis) in voxels.

    The displacement of a focus along an axis is k voxels with a probability proportional to exp(-k^2 / 2 sigma^2), |k|
    <= 6 sigma: the kernel itself, read as the law of a focus that is given the place.
    """
    half = []
    for box in boxes:
        far = np.abs(np.arange(box.shape[2]) - box.shape[2] // 2)
        half.append(np.where(box > 0, far, -1).max(axis=2).reshape(-1))
    reach = np.ceil(_REACH * sigma).astype(np.int64)
    cumulative = np.full((len(boxes), 3, 2 * int(reach.max()) + 1), 1 << 32, dtype=np.int64)
    for k, (of_kernel, widths) in enumerate(zip(reach.tolist(), sigma.tolist(), strict=True)):
        for axis, (r, width) in enumerate(zip(of_kernel, widths, strict=True)):
            # Python's own sums, from left to right, have the same bits on every machine.
            totals = [0.0]
            for step in range(-r, r + 1):
                totals.append(totals[-1] + float(exp_neg(0.5 * (step / width) ** 2)))
            cumulative[k, axis, : 2 * r + 1] = [int(t / totals[-1] * 2.0**32) for t in totals[1:]]
    return Kernels(
        np.concatenate([b.reshape(-1) for b in boxes]),
        np.concatenate(half).astype(np.int64),
        np.cumsum([0, *(b.size for b in boxes)]).astype(np.int64),
        np.cumsum([0, *(len(h) for h in half)]).astype(np.int64),
        np.array([b.shape for b in boxes], dtype=np.int64) // 2,
        reach,
        cumulative,
    )


def space_of(voxel_ijk: npt.NDArray[np.int16], *, near: I64, searched: npt.NDArray[np.bool_] | None = None) -> Space:
    """Return the grid of a mask (voxel, axis); `near` (offset, axis) are the offsets from a place that count as there.

    Places are drawn, and something is found, only in the voxels that are `searched` (voxel): all of them if not given.
    """
    place = voxel_ijk.astype(np.int64) - voxel_ijk.min(axis=0) + 1
    shape = place.max(axis=0) + 2
    number = np.full(tuple(shape), -1, dtype=np.int32)
    number[tuple(place.T)] = np.arange(len(place))
    target = np.arange(len(place)) if searched is None else np.flatnonzero(searched)
    inside = np.isin(number, target).reshape(-1)
    return Space(number.reshape(-1), place, shape, near, inside, target.astype(np.int64))


def offsets_within(mm: float, *, affine: F64) -> I64:
    """Return the offsets (offset, axis), int64, of the voxels whose centres lie within some mm of a voxel's centre."""
    reach = np.ceil(mm / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))).astype(np.int64)
    grid = np.indices(tuple(2 * reach + 1)).reshape(3, -1).T - reach
    return np.asarray(grid[((grid @ affine[:3, :3].T) ** 2).sum(axis=1) <= mm * mm * (1 + 1e-12)], dtype=np.int64)


def work_of(trial: Trial, kernels: Kernels, space: Space) -> Work:
    """Return the memory of one thread."""
    n_foci, n_experiments = int(trial.focus_begin[-1]), len(trial.kernel)
    return Work(
        volume=np.zeros(len(space.number), dtype=np.int32),
        seen=np.zeros(len(space.number), dtype=np.int32),
        stack=np.empty(len(space.place), dtype=np.int64),
        largest=np.zeros(int(np.diff(kernels.value_begin).max()), dtype=np.int32),
        voxel=np.empty(n_foci, dtype=np.int64),
        moved=np.empty(n_experiments, dtype=np.int64),
        at=np.empty((n_foci, 3), dtype=np.int64),
    )


@numba.njit(**BARE)
def displaced(key, i, centre, kernel, kernels, space):  # type: ignore[no-untyped-def]
    """Return the voxel, int64, of a focus that reports the place `centre`; one outside the mask is drawn again."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    for attempt in range(_TRIES):
        words = philox(i & low, i >> half, np.uint64(attempt), np.uint64(0), key)
        cell = np.int64(0)
        within = True
        for axis in range(3):
            word = np.int64(words[axis])
            step = 0
            while kernels.cumulative[kernel, axis, step] <= word:
                step += 1
            at = space.place[centre, axis] + step - kernels.reach[kernel, axis]
            within = within and 0 <= at < space.shape[axis]
            cell = cell * space.shape[axis] + at
        if within and space.number[cell] >= 0:
            return np.int64(space.number[cell])
    return centre


@numba.njit(**BARE)
def draw(simulation, trial, kernels, space, work):  # type: ignore[no-untyped-def]
    """Fill work.voxel (focus) and work.moved (experiment) of a simulation; return the voxel of the place."""
    i = np.uint64(simulation)
    n_voxels = space.place.shape[0]
    # `moved` holds the number of the place for a moment.
    draw_voxels(trial.place_key, i, space.target.shape[0], work.moved, 0, 1)
    centre = space.target[work.moved[0]]
    for e in range(trial.kernel.shape[0]):
        draw_voxels(trial.key[e], i, n_voxels, work.voxel, trial.focus_begin[e], trial.focus_begin[e + 1])
        work.moved[e] = displaced(trial.moved_key[e], i, centre, trial.kernel[e], kernels, space)
    return centre


@numba.njit(**BARE)
def _add(sign, focus, first, last, kernel, additive, kernels, low, high, shape, work) -> None:  # type: ignore[no-untyped-def]
    """Add sign * max(k - m, 0) of a focus to S in a box, m the maximum over foci first to last - 1, or 0."""
    at, volume, largest = work.at, work.volume, work.largest
    rx, ry, rz = kernels.radius[kernel, 0], kernels.radius[kernel, 1], kernels.radius[kernel, 2]
    fx, fy, fz = at[focus, 0], at[focus, 1], at[focus, 2]
    x0, x1 = max(low[0], fx - rx), min(high[0], fx + rx + 1)
    y0, y1 = max(low[1], fy - ry), min(high[1], fy + ry + 1)
    if x0 >= x1 or y0 >= y1 or max(low[2], fz - rz) >= min(high[2], fz + rz + 1):
        return
    rows, cells = 2 * ry + 1, 2 * rz + 1
    half_begin = kernels.half_begin[kernel]
    value = kernels.value[kernels.value_begin[kernel] : kernels.value_begin[kernel + 1]]
    met = False
    if not additive:
        for other in range(first, last):
            ox, oy, oz = at[other, 0], at[other, 1], at[other, 2]
            if abs(ox - fx) > 2 * rx or abs(oy - fy) > 2 * ry or abs(oz - fz) > 2 * rz:
                continue
            met = True
            for x in range(max(x0, ox - rx), min(x1, ox + rx + 1)):
                for y in range(max(y0, oy - ry), min(y1, oy + ry + 1)):
                    row = (x - ox + rx) * rows + y - oy + ry
                    half = kernels.half[half_begin + row]
                    z0, z1 = max(fz - rz, oz - half), min(fz + rz, oz + half) + 1
                    if z0 < z1:
                        n = z1 - z0
                        to = ((x - fx + rx) * rows + y - fy + ry) * cells + z0 - fz + rz
                        earlier, k = largest[to : to + n], value[row * cells + z0 - oz + rz :][:n]
                        for j in range(n):
                            earlier[j] = max(earlier[j], k[j])
    for x in range(x0, x1):
        for y in range(y0, y1):
            row = (x - fx + rx) * rows + y - fy + ry
            half = kernels.half[half_begin + row]
            z0, z1 = max(low[2], fz - half), min(high[2], fz + half + 1)
            if z0 < z1:
                n = z1 - z0
                begin = row * cells + z0 - fz + rz
                to = (x * shape[1] + y) * shape[2] + z0
                s, k = volume[to : to + n], value[begin : begin + n]
                if met:
                    earlier = largest[begin : begin + n]
                    for j in range(n):
                        s[j] += sign * max(np.int32(0), k[j] - earlier[j])
                else:
                    for j in range(n):
                        s[j] += sign * k[j]
    if met:
        for j in range(value.shape[0]):
            largest[j] = 0


@numba.njit(**BARE)
def _survives_near(mark, centre, rule, space, low, high, work):  # type: ignore[no-untyped-def]
    """Return 1 if a component near the place survives, 0 if none does, -1 if a component leaves the box."""
    threshold, shape, volume, seen, stack = rule.threshold, space.shape, work.volume, work.seen, work.stack
    stride_y = shape[2]
    stride_x = shape[1] * stride_y
    left = False
    for i in range(space.near.shape[0]):
        x = space.place[centre, 0] + space.near[i, 0]
        y = space.place[centre, 1] + space.near[i, 1]
        z = space.place[centre, 2] + space.near[i, 2]
        if not (low[0] <= x < high[0] and low[1] <= y < high[1] and low[2] <= z < high[2]):
            continue
        start = x * stride_x + y * stride_y + z
        if volume[start] < threshold[start] or seen[start] == mark:
            continue
        seen[start] = mark
        stack[0] = start
        depth, total = 1, np.int64(0)
        while depth > 0:
            depth -= 1
            cell = stack[depth]
            if not rule.by_mass:
                total += 1
            elif rule.by_z:
                total += z_of(volume[cell], rule.position[cell], rule.z, rule.shift) - rule.least
            else:
                total += volume[cell] - rule.least
            if total >= rule.cut:
                return 1
            x, rest = cell // stride_x, cell % stride_x
            y, z = rest // stride_y, rest % stride_y
            inner = low[0] < x < high[0] - 1 and low[1] < y < high[1] - 1 and low[2] < z < high[2] - 1
            for step in rule.steps:
                other = cell + step
                if threshold[other] != NEVER and seen[other] != mark:
                    if not inner:
                        ox, rest = other // stride_x, other % stride_x
                        oy, oz = rest // stride_y, rest % stride_y
                        if not (low[0] <= ox < high[0] and low[1] <= oy < high[1] and low[2] <= oz < high[2]):
                            left = True
                            continue
                    if volume[other] >= threshold[other]:
                        seen[other] = mark
                        stack[depth] = other
                        depth += 1
    return -1 if left else 0


@numba.njit(**BARE)
def fill_sums(trial, kernels, low, high, space, work) -> None:  # type: ignore[no-untyped-def]
    """Fill work.volume with S of the drawn foci in the box low (axis) to high (axis) - 1."""
    shape, begin = space.shape, trial.focus_begin
    for x in range(low[0], high[0]):
        for y in range(low[1], high[1]):
            row = (x * shape[1] + y) * shape[2]
            for z in range(low[2], high[2]):
                work.volume[row + z] = 0
    for e in range(trial.kernel.shape[0]):
        for f in range(begin[e], begin[e + 1]):
            for axis in range(3):
                work.at[f, axis] = space.place[work.voxel[f], axis]
            _add(np.int32(1), f, begin[e], f, trial.kernel[e], trial.additive, kernels, low, high, shape, work)


@numba.njit(**BARE)
def move(e, trial, kernels, low, high, space, work) -> None:  # type: ignore[no-untyped-def]
    """Move the first focus of experiment e to its displaced place, and update S in the box."""
    f, last = trial.focus_begin[e], trial.focus_begin[e + 1]
    for sign in (-1, 1):
        if sign == 1:
            for axis in range(3):
                work.at[f, axis] = space.place[work.moved[e], axis]
        _add(np.int32(sign), f, f + 1, last, trial.kernel[e], trial.additive, kernels, low, high, space.shape, work)


@numba.njit(cache=True, nogil=True)
def follow_simulation(centre, mark, box, order, rule, trial, kernels, space, work, out):  # type: ignore[no-untyped-def]
    """Fill out (1 + experiment), bool, of a simulation whose foci are drawn: whether the place `centre` is found.

    out[m] is with the first m experiments of `order` (experiment) reporting the place: their first focus lies there,
    displaced as their own kernel says. The place is found if a component comes near it that survives the rule. `box` is
    how many voxels around the place are computed at first, and changes no result. Marks above `mark` are not in
    work.seen yet; returns the last mark that was used.
    """
    low, high = np.empty(3, dtype=np.int64), np.empty(3, dtype=np.int64)
    reach = box
    m = 0
    while m < out.shape[0]:
        if m == 0:
            for axis in range(3):
                low[axis] = max(0, space.place[centre, axis] - reach)
                high[axis] = min(space.shape[axis], space.place[centre, axis] + reach + 1)
            fill_sums(trial, kernels, low, high, space, work)
        else:
            move(order[m - 1], trial, kernels, low, high, space, work)
        mark += 1
        outcome = _survives_near(mark, centre, rule, space, low, high, work)
        out[m] = outcome == 1
        # A component left the box: begin again, over the whole mask.
        m = m + 1 if outcome >= 0 else 0
        if outcome < 0:
            reach = space.shape[0] + space.shape[1] + space.shape[2]
    return mark


@numba.njit(cache=True, nogil=True)
def simulate(first, box, order, rule, trial, kernels, space, work, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (simulation, 1 + experiment), bool, as `follow_simulation` does, of simulations first, first + 1 …

    `order` is (simulation, experiment), int64; foci lie anywhere in the mask.
    """
    mark = 0
    for b in range(out.shape[0]):
        centre = draw(first + b, trial, kernels, space, work)
        mark = follow_simulation(centre, mark, box, order[b], rule, trial, kernels, space, work, out[b])


def trial_of(
    focus_begin: I64, *, kernel: I64, experiment_key: npt.NDArray[np.uint64], seed: int, additive: bool
) -> Trial:
    """Return the design of experiments with these kernels (experiment) and draw keys (experiment)."""
    foci, moved, order = (
        draw_keys(experiment_key, seed=seed, stream=f"{POWER}-{what}") for what in ("foci", "moved", "order")
    )
    place = draw_keys(np.zeros(1, dtype=np.uint64), seed=seed, stream=f"{POWER}-place")[0]
    return Trial(focus_begin, kernel, foci, moved, order, place, additive)


def orders(first: int, count: int, *, trial: Trial) -> I64:
    """Return the order in which experiments report the place (simulation, experiment), int64."""
    words = np.empty((count, len(trial.kernel)), dtype=np.uint64)
    permutation_keys(trial.order_key, first, words)
    return np.argsort(words, axis=1, kind="stable")


def neighbour_steps(space: Space, *, edges: bool) -> I64:
    """Return how many cells from a voxel its neighbours lie (neighbour), int64.

    These are the 6 voxels that share a face with it, or with `edges` the 18 that share a face or an edge.
    """
    y = int(space.shape[2])
    x = int(space.shape[1]) * y
    faces = [x, y, 1]
    back = [*faces, x + y, x - y, x + 1, x - 1, y + 1, y - 1] if edges else faces
    return np.array([step for step_back in back for step in (-step_back, step_back)], dtype=np.int64)


def uniform_rule(threshold: int, *, cut: int, by_mass: bool, edges: bool, space: Space) -> Rule:
    """Return the rule of one cluster-forming value for the whole mask."""
    by_cell = np.where(space.inside, threshold, NEVER).astype(np.int32)
    unused = np.zeros((2, 2), dtype=np.int32)
    steps = neighbour_steps(space, edges=edges)
    return Rule(by_cell, unused[0], unused, 0, threshold, cut, by_mass, False, steps)


def detections(
    simulations: int,
    *,
    rule: Rule,
    trial: Trial,
    kernels: Kernels,
    space: Space,
    threads: int,
    simulate: Callable[..., None] = simulate,
) -> npt.NDArray[np.bool_]:
    """Return whether the place is found (simulation, 1 + experiment), bool, with 0, 1, … experiments that report it.

    `simulate` draws the foci of simulations and follows each one.
    """
    out = np.zeros((simulations, 1 + len(trial.kernel)), dtype=bool)
    step = max(1, -(-simulations // (4 * threads)))
    # The cells near the place are always in the box.
    box = max(BOX, int(np.abs(space.near).max()) + 1)

    def simulate_part(first: int) -> None:
        part = out[first : first + step]
        order = orders(first, len(part), trial=trial)
        simulate(first, box, order, rule, trial, kernels, space, work_of(trial, kernels, space), part)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(simulate_part, range(0, simulations, step)))
    return out
