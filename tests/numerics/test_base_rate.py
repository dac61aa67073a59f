"""Draws from a density, the table of z by level and the null with a threshold per voxel, against plain Python."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from support import reference
from support.reference_tfce import slow_map

from ale_dask.numerics import density_levels
from ale_dask.numerics.ball_mass import Field, shells
from ale_dask.numerics.base_rate_null import (
    base_rate_iterations,
    critical,
    draw_base_rate,
    source_of_foci,
    source_of_studies,
)
from ale_dask.numerics.base_rate_tfce import (
    base_rate_tfce_iterations,
    base_rate_tfce_map,
    height_shift,
    heights,
    tfce_unit,
)
from ale_dask.numerics.gaussian import kernel_box
from ale_dask.numerics.kernels.convolved_strips import Convolution
from ale_dask.numerics.kernels.kernel_rows import geometry, rows_of_kernels
from ale_dask.numerics.kernels.planes import Design, sum_of_foci
from ale_dask.numerics.pruned_base_rate import pruned_base_rate, pruned_base_rate_iterations
from ale_dask.numerics.weighted_draws import cumulative_words, draw_weighted, guide, voxel_of
from ale_dask.numerics.whole_studies import ENOUGH, MOST_PASSED, draw_study, windows

BITS, SUPPORT = 26, 4.0
SIGMAS = (np.full(3, 1.4), np.full(3, 1.8))
KERNEL = np.array([0, 1, 0, 0, 1, 0, 1, 1, 0, 0], dtype=np.int64)
N_FOCI = np.array([3, 8, 5, 12, 2, 6, 9, 4, 7, 5], dtype=np.int64)


def ball(radius=9):
    at = np.indices((2 * radius + 3,) * 3) - radius - 1
    return (at**2).sum(axis=0) <= radius**2


def plain_words(key, iteration, n):
    """The 64-bit words of an experiment's foci, by the plain generator of the reference."""
    words = []
    for pair in range((n + 1) // 2):
        a, b, c, d = reference.philox((iteration & 0xFFFFFFFF, iteration >> 32, pair, 0), (key & 0xFFFFFFFF, key >> 32))
        words += [b << 32 | a, d << 32 | c]
    return words[:n]


def plain_voxels(words, last):
    """The first voxel whose last word is each word or more."""
    return [next(v for v, end in enumerate(last.tolist()) if end >= word) for word in words]


@pytest.fixture(scope="module")
def scene():
    """A ball with a steep density, experiments of two kernels, its table and what its iterations need."""
    volume = ball()
    ijk = np.argwhere(volume).astype(np.int16)
    x = (ijk - ijk.mean(axis=0)) / 9
    weight = np.exp(-3 * x[:, 0]) + 15 * np.exp(-8 * ((x - [0.5, 0.3, 0]) ** 2).sum(axis=1))
    weight = 0.98 * weight / weight.sum() + 0.02 / len(weight)
    boxes = [kernel_box(sigma, support=SUPPORT, bits=BITS) for sigma in SIGMAS]
    around = shells(boxes, voxel_size=np.full(3, 2.0))
    field = Field(weight, volume, radius=np.abs(around.offset).max(axis=0))
    radius = np.array([box.shape for box in boxes]) // 2
    space = geometry(ijk, radius=radius)
    key = np.random.default_rng(5).integers(0, 2**63, len(KERNEL)).astype(np.uint64)
    design = Design(np.r_[0, np.cumsum(N_FOCI)].astype(np.int64), KERNEL, key, False)
    return {
        "volume": volume, "ijk": ijk, "weight": weight, "boxes": boxes, "around": around, "field": field,
        "space": space, "design": design, "rows": rows_of_kernels(boxes),
    }  # fmt: skip


def table_of(scene, *, additive=False, s=None):
    return density_levels.level_table(
        scene["field"],
        scene["around"],
        density_levels.Experiments(KERNEL, N_FOCI, additive),
        voxel_ijk=scene["ijk"],
        s=np.zeros(len(scene["ijk"]), dtype=np.int64) if s is None else s,
        bits=BITS,
    )


def exact_tail(scene, voxel, *, additive=False):
    """log P(S >= unit) (unit) of one voxel, units of 2^-16: each experiment's own law, convolved one by one."""
    ijk, weight, unit = scene["ijk"].astype(int), scene["weight"], 2.0**-16 * 2.0**BITS
    total = np.ones(1)
    for k, n in zip(KERNEL, N_FOCI, strict=True):
        box = scene["boxes"][k]
        at = ijk - ijk[voxel] + np.array(box.shape) // 2
        inside = ((at >= 0) & (at < box.shape)).all(axis=1)
        value = np.where(inside, box[tuple(np.where(inside[:, None], at, 0).T)], 0)
        levels, which = np.unique(np.rint(value / unit).astype(int), return_inverse=True)
        mass = np.bincount(which, weight)
        law = np.zeros(levels[-1] + 1)
        if additive:
            law[levels] = mass
            for _ in range(n):
                total = np.convolve(total, law)
            continue
        law[levels] = np.diff(np.r_[0, np.cumsum(mass) ** n])
        total = np.convolve(total, law)
    return np.cumsum(total[::-1])[::-1]


def some_voxels(scene):
    """Of the highest, the median and the lowest density, at the mask's edge and where the density is steepest."""
    order = np.argsort(scene["weight"])
    far = ((scene["ijk"] - scene["ijk"].mean(axis=0)) ** 2).sum(axis=1)
    return [order[-1], order[len(order) // 2], order[0], int(np.argmax(far)), order[-200], order[200]]


class TestDraws:
    def test_words_share_2_to_the_64_by_the_weights(self):
        weight = np.array([1.0, 3.0, 1e-30, 4.0])
        last = cumulative_words(weight)
        assert last[-1] == 2**64 - 1
        width = np.diff([-1, *last.tolist()])
        assert sum(width) == 2**64
        assert np.allclose(np.array(width, dtype=float) / 2.0**64, weight / 8, rtol=1e-12, atol=2.0**-52)
        assert min(width) > 0

    def test_drawn_voxels_are_those_of_plain_integers(self, scene):
        last = cumulative_words(scene["weight"])
        out = np.empty(9, dtype=np.int64)
        for key, iteration in ((3, 0), (2**63 + 5, 2**33 + 1)):
            draw_weighted(np.uint64(key), iteration, last, guide(last), out, 0, 9)
            assert out.tolist() == plain_voxels(plain_words(key, iteration, 9), last)

    @pytest.mark.parametrize("n", [1, 2, 1000])
    def test_the_ends_of_each_voxel_are_its_own(self, n):
        weight = np.random.default_rng(n).random(n) ** 8 + 1e-9
        last = cumulative_words(weight)
        table = guide(last)
        starts = [0, *(int(end) + 1 for end in last[:-1])]
        for voxel, (start, end) in enumerate(zip(starts, last.tolist(), strict=True)):
            assert voxel_of.py_func(np.uint64(start), last, table) == voxel
            assert voxel_of.py_func(np.uint64(end), last, table) == voxel

    def test_frequencies_are_the_weights(self, scene):
        last = cumulative_words(scene["weight"])
        table, out = guide(last), np.empty(40_000, dtype=np.int64)
        draw_weighted(np.uint64(11), 0, last, table, out, 0, len(out))
        part = scene["ijk"][:, 0] // 4
        wanted = np.bincount(part, scene["weight"]) * len(out)
        seen = np.bincount(part[out], minlength=len(wanted))
        assert np.all(np.abs(seen - wanted) < 4.5 * np.sqrt(wanted) + 1)


def plain_study(key, iteration, n, studies, given=None):
    """The voxels that an experiment of n foci draws from studies, each a list of voxels, by plain integers.

    `given` is a set of places of studies that other experiments have, to which its own are added.
    """
    size = sorted(map(len, studies))
    if size[-ENOUGH] >= n:
        least, most = n, [m for m in size if m >= n][ENOUGH - 1]
    else:
        least, most = size[-ENOUGH], size[-1]
    chosen = [place for place, study in enumerate(studies) if least <= len(study) <= most]
    given = set() if given is None else given
    out, round_, passed = [], 0, 0
    while len(out) < n:
        round_ += 1

        def word(number, stream=round_):
            counter = (iteration & 0xFFFFFFFF, iteration >> 32, number // 2, stream)
            a, b, c, d = reference.philox(counter, (key & 0xFFFFFFFF, key >> 32))
            return (d << 32 | c) if number % 2 else (b << 32 | a)

        place = chosen[word(0) * len(chosen) >> 64]
        if place in given and passed < MOST_PASSED:
            passed += 1
            continue
        given.add(place)
        study = studies[place]
        wanted = min(n - len(out), len(study))
        for at, voxel in enumerate(study):
            if word(at + 1) * (len(study) - at) >> 64 < wanted:
                out.append(voxel)
                wanted -= 1
    return out


@pytest.fixture(scope="module")
def studies(scene):
    """150 studies with 1 to 12 foci, each around a place of its own, in order of their numbers of foci."""
    rng = np.random.default_rng(8)
    at = scene["ijk"].astype(int)
    found = []
    for n in sorted(rng.integers(1, 13, 150).tolist()):
        near = ((at - at[rng.integers(len(at))]) ** 2).sum(axis=1) < 30
        found.append(sorted(rng.choice(np.flatnonzero(near), n).tolist()))
    return found


def pool_of(studies, n_foci):
    begin = np.cumsum([0, *map(len, studies)])
    return source_of_studies(begin, np.concatenate(studies).astype(np.int32), np.asarray(n_foci)).pool


def none_given(studies):
    return np.zeros(len(studies), dtype=bool)


class TestWholeStudies:
    @pytest.mark.parametrize("n", [1, 4, 6, 12, 13, 40])
    def test_they_are_those_of_plain_integers(self, studies, n):
        """Also for as many foci as few studies or none have: then those of several studies."""
        pool = pool_of(studies, [3, n])
        for key, iteration in ((3, 0), (2**63 + 5, 2**33 + 1), (77, 12)):
            out = np.full(n + 2, -1, dtype=np.int64)
            draw_study(np.uint64(key), iteration, 1, pool, none_given(studies), out, 1, n + 1)
            assert out.tolist() == [-1, *plain_study(key, iteration, n, studies), -1]

    def test_an_experiment_draws_from_enough_studies_of_like_size(self, studies):
        size = np.array([len(study) for study in studies])
        for n in range(1, 20):
            low, high = windows(np.cumsum([0, *size]), np.array([n]))
            chosen = size[int(low[0]) : int(high[0])]
            assert len(chosen) >= ENOUGH
            if (size >= n).sum() >= ENOUGH:
                assert np.array_equal(chosen, size[(size >= n) & (size <= chosen[-1])])
                # Without those of the last number of foci they were too few.
                assert (chosen < chosen[-1]).sum() < ENOUGH
            else:
                assert np.array_equal(chosen, size[size >= size[-ENOUGH]])

    def test_every_study_and_every_part_of_it_is_as_likely(self):
        """Of 100 studies of 4 voxels each, which are their own, 2 are taken: all 600 pairs, evenly."""
        studies = [[4 * i + j for j in range(4)] for i in range(ENOUGH)]
        pool = pool_of(studies, [2])
        out, seen = np.empty(2, dtype=np.int64), np.zeros((ENOUGH, 4, 4))
        for iteration in range(24_000):
            draw_study(np.uint64(9), iteration, 0, pool, none_given(studies), out, 0, 2)
            study, (first, second) = out[0] // 4, out % 4
            assert out[1] // 4 == study
            seen[study, first, second] += 1
        assert np.count_nonzero(seen) == 6 * ENOUGH
        # Chi-squared of 599 degrees of freedom: mean 599, standard deviation 34.6.
        assert abs(((seen[seen > 0] - 40) ** 2 / 40).sum() - 599) < 4.5 * 34.6

    def test_no_two_experiments_get_the_same_study(self):
        """Unless nearly all are given: here 20 experiments draw from 110 studies, and then 300 from as many."""
        own = [[place] for place in range(110)]
        key = np.random.default_rng(4).integers(0, 2**63, 300).astype(np.uint64)
        for number, repeats in ((20, False), (300, True)):
            words = source_of_studies(np.arange(111), np.arange(110, dtype=np.int32), np.ones(number, dtype=np.int64))
            begin = np.arange(number + 1)
            design = Design(begin, np.zeros(number, dtype=np.int64), key[:number], False)
            out, given = np.empty(number, dtype=np.int64), set()
            draw_base_rate(5, words, design, out)
            assert out.tolist() == [plain_study(int(k), 5, 1, own, given)[0] for k in key[:number]]
            assert (np.bincount(out).max() > 1) == repeats

    def test_iterations_are_those_of_plain_python(self, scene, studies):
        table, design = table_of(scene), scene["design"]
        cut = density_levels.critical_map(table, p=0.02, above=max(int(box.max()) for box in scene["boxes"]))
        least = density_levels.least_z(0.02)
        ready = critical(cut, table, least_z=least, geometry=scene["space"])
        begin, voxel = np.cumsum([0, *map(len, studies)]), np.concatenate(studies).astype(np.int32)
        rest = (source_of_studies(begin, voxel, N_FOCI), ready, design, scene["rows"], scene["space"])
        out, parts = np.empty((2, 4, 3), dtype=np.int64)
        base_rate_iterations(7, 4, *rest, out)
        for first, count in ((7, 1), (8, 3)):
            base_rate_iterations(first, count, *rest, parts[first - 7 : first - 7 + count])
        assert np.array_equal(out, parts)
        assert out[:, 1].any()
        enhanced = np.empty((4, 4), dtype=np.int64)
        high = heights(table, np.ones(len(cut), dtype=bool), shift=height_shift(table), geometry=scene["space"])
        base_rate_tfce_iterations(7, 4, *rest[:2], high, *rest[2:], enhanced)
        assert np.array_equal(enhanced[:, :3], out)
        for row, iteration in zip(out.tolist(), range(7, 11), strict=True):
            given, voxels = set(), []
            for k, n in zip(design.key, N_FOCI, strict=True):
                voxels += plain_study(int(k), iteration, n, studies, given)
            s = sum_of_foci(np.array(voxels), design=design, rows=scene["rows"], geometry=scene["space"])
            passing = np.where(s >= cut, density_levels.z_map(s, table), -1)
            _, size, mass = reference.cluster_statistics(scene["ijk"], passing, least, edges=False)
            assert row == [max(int(passing.max()), 0), size, mass]


class TestBallMass:
    def test_shells_hold_every_cell_of_the_kernels_once(self, scene):
        around, boxes = scene["around"], scene["boxes"]
        assert sum(np.count_nonzero(box) for box in boxes[1:]) == len(np.unique(around.offset, axis=0))
        centre = np.array(boxes[1].shape) // 2
        shell = np.repeat(np.arange(len(around.begin) - 1), np.diff(around.begin))
        assert np.array_equal(boxes[1][tuple((around.offset + centre).T)], around.value[1][shell])
        assert (np.diff(around.value, axis=1) <= 0).all()

    def test_mass_is_a_sum_over_the_voxels_within_the_distance(self, scene):
        ijk, weight = scene["ijk"].astype(int), scene["weight"]
        distance = ((scene["around"].offset) ** 2).sum(axis=1)[scene["around"].begin[:-1]]
        chosen = some_voxels(scene)
        found = scene["field"].mass(scene["around"], scene["ijk"][chosen])
        for row, v in zip(found, chosen, strict=True):
            squared = ((ijk - ijk[v]) ** 2).sum(axis=1)
            assert np.allclose(row, [weight[squared <= d].sum() for d in distance], rtol=1e-12)
        whole = scene["field"].mass(scene["around"], scene["ijk"])
        assert np.allclose(scene["field"].mean_mass(scene["around"]), whole.mean(axis=0), rtol=1e-9)
        value = np.exp(-distance / 9.0)
        direct = np.diff(whole, axis=1, prepend=0.0) @ value
        assert np.allclose(scene["field"].convolved(scene["around"], value), direct, rtol=1e-9)


class TestLevels:
    @pytest.mark.parametrize("additive", [False, True])
    def test_z_is_that_of_the_exact_law_of_single_voxels(self, scene, additive):
        table = table_of(scene, additive=additive)
        for v in some_voxels(scene):
            tail = exact_tail(scene, v, additive=additive)
            # Levels are made for p = 1e-3 and below; at the ball's edge .13 is reached at 1e-2.
            for p, error in ((1e-2, 0.2), (1e-3, 0.12), (1e-4, 0.12), (1e-6, 0.12), (1e-8, 0.15)):
                unit = int(np.searchsorted(-tail, -p))
                s = np.zeros(len(scene["ijk"]), dtype=np.int64)
                # Between two units, so that neither's rounding counts.
                s[v] = int((unit - 0.5) * 2.0**-16 * 2.0**BITS)
                z = density_levels.z_map(s, table)[v] / density_levels.Z_UNIT
                assert z == pytest.approx(-special.ndtri(tail[unit]), abs=error), (v, p)

    def test_p_is_that_of_drawn_foci(self, scene):
        table = table_of(scene)
        rng = np.random.default_rng(2)
        draws, cut = 100_000, density_levels.critical_map(table, p=0.001, above=0)
        for v in some_voxels(scene):
            at = scene["ijk"].astype(int) - scene["ijk"][v]
            total = np.zeros(draws, dtype=np.int64)
            for k, n in zip(KERNEL, N_FOCI, strict=True):
                box = scene["boxes"][k]
                place = at + np.array(box.shape) // 2
                inside = ((place >= 0) & (place < box.shape)).all(axis=1)
                value = np.where(inside, box[tuple(np.where(inside[:, None], place, 0).T)], 0)
                foci = rng.choice(len(at), (draws, n), p=scene["weight"])
                total += value[foci].max(axis=1)
            # 4.5 standard deviations of 100, and a fifth for the levels' interpolation.
            assert abs((total >= cut[v]).sum() - 100) < 45 + 20, v

    def test_the_critical_sum_is_the_least_that_passes(self, scene):
        table = table_of(scene)
        cut = density_levels.critical_map(table, p=0.001, above=0)
        least = density_levels.least_z(0.001)
        assert (density_levels.z_map(cut.astype(np.int64), table) >= least).all()
        assert (density_levels.z_map(cut.astype(np.int64) - 1, table) < least).all()

    @given(st.integers(0, 2**32))
    @settings(max_examples=60, deadline=None)
    def test_the_critical_sum_of_any_table_is_the_least_that_passes(self, seed):
        rng = np.random.default_rng(seed)
        z = np.cumsum(rng.integers(0, 5, (int(rng.integers(2, 6)), int(rng.integers(2, 9)))), axis=1) - 3
        position = rng.integers(0, ((len(z) - 1) << density_levels.LEVEL_BITS) + 1, 50)
        table = density_levels.LevelTable(z.astype(np.int32), int(rng.integers(0, 5)), position.astype(np.int32))
        for least in range(-4, 25, 4):
            found = density_levels.least_sums(table, least=least).astype(np.int64)
            end = (z.shape[1] - 1) << table.shift
            of = np.stack([density_levels.z_map(np.full(50, s), table) for s in range(end + 1)])
            passing = of[1:] >= least
            expected = np.where(passing.any(axis=0), 1 + passing.argmax(axis=0), density_levels.NEVER)
            assert np.array_equal(found, expected)

    def test_no_experiment_passes_alone(self, scene):
        table = table_of(scene)
        peak = max(int(box.max()) for box in scene["boxes"])
        free = density_levels.critical_map(table, p=0.05, above=0)
        raised = density_levels.critical_map(table, p=0.05, above=peak)
        assert (free <= peak).any()
        assert (raised > peak).all()
        assert np.array_equal(raised[free > peak], free[free > peak])

    def test_z_goes_on_to_what_is_observed(self, scene):
        peaks = np.array([int(box.max()) for box in scene["boxes"]])[KERNEL].sum()
        s = np.full(len(scene["ijk"]), peaks * 0.7, dtype=np.int64)
        table = table_of(scene, s=s)
        v = int(np.argsort(scene["weight"])[len(s) // 4])
        tail = exact_tail(scene, v)
        unit = round(int(s[v]) * 2.0**16 / 2.0**BITS)
        z = density_levels.z_map(s, table)[v] / density_levels.Z_UNIT
        assert z == pytest.approx(-special.ndtri(tail[unit]), abs=0.12)
        assert z > 7

    def test_one_level_where_the_density_is_flat(self):
        volume = np.ones((3, 3, 3), dtype=bool)
        boxes = [kernel_box(SIGMAS[0], support=SUPPORT, bits=BITS)]
        around = shells(boxes, voxel_size=np.full(3, 2.0))
        field = Field(np.full(27, 1 / 27), volume, radius=np.abs(around.offset).max(axis=0))
        table = density_levels.level_table(
            field, around, density_levels.Experiments(np.array([0, 0]), np.array([1, 2]), False),
            voxel_ijk=np.argwhere(volume), s=np.zeros(27, dtype=np.int64), bits=BITS,
        )  # fmt: skip
        assert (np.diff(table.z, axis=1) >= 0).all()

    @given(st.integers(0, 2**32), st.sampled_from([0.5, 7.0, 11.0, 128.0, 400.0]))
    @settings(max_examples=60, deadline=None)
    def test_the_saddlepoint_is_that_of_plain_halving(self, seed, depth):
        rng = np.random.default_rng(seed)
        levels, value = int(rng.integers(1, 9)), np.sort(rng.uniform(0.0001, 0.3, (3, 12)), axis=1)[:, ::-1].copy()
        q = np.cumsum(rng.uniform(0, 10.0 ** rng.integers(-7, 0), (levels, 12)), axis=1).clip(max=0.9)
        some = density_levels.Experiments(rng.integers(0, 3, 20), rng.integers(1, 30, 20), False)
        laws = density_levels.laws(q, value, some)
        low, high = np.zeros(levels), np.full(levels, 600.0 / max(law.x.max() for law in laws))
        for _ in range(40):
            middle = 0.5 * (low + high)
            k0, k1, _ = density_levels._moments(laws, middle)
            up = middle * k1 - k0 < depth
            low, high = np.where(up, middle, low), np.where(up, high, middle)
        assert np.array_equal(density_levels.saddlepoint(laws, depth, levels), 0.5 * (low + high))


class TestIterations:
    @pytest.mark.parametrize(("p", "edges", "additive"), [(0.001, False, False), (0.02, True, True)])
    def test_each_is_that_of_plain_python(self, scene, p, edges, additive):
        radius = np.array([box.shape for box in scene["boxes"]]) // 2
        space = geometry(scene["ijk"], radius=radius, edges=edges)
        design = scene["design"]._replace(additive=additive)
        table = table_of(scene, additive=additive)
        cut = density_levels.critical_map(table, p=p, above=max(int(box.max()) for box in scene["boxes"]))
        least, last = density_levels.least_z(p), cumulative_words(scene["weight"])
        ready = critical(cut, table, least_z=least, geometry=space)
        out = np.empty((4, 3), dtype=np.int64)
        base_rate_iterations(7, 4, source_of_foci(last), ready, design, scene["rows"], space, out)
        for row, iteration in zip(out.tolist(), range(7, 11), strict=True):
            words = [plain_words(int(k), iteration, int(n)) for k, n in zip(design.key, N_FOCI, strict=True)]
            voxels = np.array([v for one in words for v in plain_voxels(one, last)])
            s = sum_of_foci(voxels, design=design, rows=scene["rows"], geometry=space)
            z = density_levels.z_map(s, table)
            passing = np.where(s >= cut, z, -1)
            _, size, mass = reference.cluster_statistics(scene["ijk"], passing, least, edges=edges)
            # A voxel may reach the z and not the raised threshold; the reference sees those that pass alone.
            assert row == [max(int(passing.max()), 0), size, mass]

    @pytest.mark.parametrize("convolved", [False, True])
    @pytest.mark.parametrize(("edges", "additive"), [(False, False), (True, True)])
    def test_pruned_ones_are_the_same_whatever_the_thresholds(self, scene, convolved, edges, additive):
        radius = np.array([box.shape for box in scene["boxes"]]) // 2
        space = geometry(scene["ijk"], radius=radius, edges=edges)
        design = scene["design"]._replace(additive=additive)
        table, random = table_of(scene, additive=additive), np.random.default_rng(8)
        source = source_of_foci(cumulative_words(scene["weight"]))
        own = density_levels.critical_map(table, p=0.01, above=0)
        high = int(own.max())
        rough = random.integers(1, high, len(own)).astype(np.int32)
        rough[random.random(len(own)) < 0.3] = density_levels.NEVER
        for cut in (own, rough, np.maximum(own, high // 2), np.full_like(own, density_levels.NEVER)):
            ready = critical(cut, table, least_z=density_levels.least_z(0.01), geometry=space)
            rest = {"design": design, "rows": scene["rows"], "geometry": space}
            null = pruned_base_rate(scene["boxes"], source, ready, **rest, many=0 if convolved else 10**9)
            bound = null.null.bound
            assert (bound is None) == (cut.min() == density_levels.NEVER)
            whole, pruned = np.empty((2, 12, 3), dtype=np.int64)
            base_rate_iterations(5, 12, source, ready, design, scene["rows"], space, whole)
            for most in (10**5, 20):
                if bound is not None:
                    assert isinstance(bound.tables, Convolution) == convolved
                    null = replace(null, null=replace(null.null, bound=replace(bound, most=most)))
                pruned[:] = -1
                pruned_base_rate_iterations(5, 12, null, pruned)
                assert np.array_equal(pruned, whole)

    def test_no_iteration_depends_on_the_others(self, scene):
        table = table_of(scene)
        cut = density_levels.critical_map(table, p=0.001, above=0)
        ready = critical(cut, table, least_z=density_levels.least_z(0.001), geometry=scene["space"])
        words = source_of_foci(cumulative_words(scene["weight"]))
        whole, parts = np.empty((2, 12, 3), dtype=np.int64)
        rest = (words, ready, scene["design"], scene["rows"], scene["space"])
        base_rate_iterations(0, 12, *rest, whole)
        for first, count in ((0, 5), (5, 1), (6, 6)):
            base_rate_iterations(first, count, *rest, parts[first : first + count])
        assert np.array_equal(whole, parts)
        assert whole[:, 1].any()


class TestEnhanced:
    @pytest.mark.parametrize("shift", [0, 3])
    def test_each_is_that_of_labelling_at_every_level(self, scene, shift):
        """z of S voxel by voxel, floored at 0, and its TFCE by labelling what reaches each of its levels."""
        searched = scene["ijk"][:, 2] > 4
        whole, table = scene["space"], table_of(scene)
        radius = np.array([box.shape for box in scene["boxes"]]) // 2
        space = geometry(scene["ijk"][searched], radius=radius, drawn=scene["ijk"])
        cut = density_levels.critical_map(table, p=0.01, above=0)
        never = np.where(searched, cut, density_levels.NEVER).astype(np.int32)
        ready = critical(never, table, least_z=density_levels.least_z(0.01), geometry=space)
        high = heights(table, searched, shift=shift, geometry=space)
        last = cumulative_words(scene["weight"])
        out, plain = np.empty((2, 4), dtype=np.int64), np.empty((2, 3), dtype=np.int64)
        rest = scene["design"], scene["rows"], space
        base_rate_tfce_iterations(3, 2, source_of_foci(last), ready, high, *rest, out)
        base_rate_iterations(3, 2, source_of_foci(last), ready, *rest, plain)
        assert np.array_equal(out[:, :3], plain)
        for row, iteration in zip(out.tolist(), (3, 4), strict=True):
            words = [plain_words(int(k), iteration, int(n)) for k, n in zip(scene["design"].key, N_FOCI, strict=True)]
            voxels = np.array([v for one in words for v in plain_voxels(one, last)])
            s = sum_of_foci(voxels, design=scene["design"], rows=scene["rows"], geometry=whole)
            z = density_levels.z_map(s, table)
            slow = slow_map(np.where(searched & (z > 0), z >> shift, 0), scene["volume"])
            found = base_rate_tfce_map(z, shift=shift, volume=scene["volume"], searched=searched)
            assert np.array_equal(found, slow)
            assert row[3] == slow.max() > 0
            # In its unit it does not depend on the steps but for their rounding.
            rough = base_rate_tfce_map(z, shift=6, volume=scene["volume"], searched=searched) * tfce_unit(6)
            assert (found * tfce_unit(shift)).max() == pytest.approx(rough.max(), rel=0.05)

    def test_heights_fit_into_their_levels(self, scene):
        table = table_of(scene)
        for top, shift in ((2**16 - 1, 0), (2**16, 1), (2**18 - 1, 2)):
            higher = table._replace(z=np.array([[0, top], [0, 5]], dtype=np.int32))
            assert height_shift(higher) == shift
        assert tfce_unit(2) == 1 / (3 * 1024.0**3)


@pytest.mark.parametrize("additive", [False, True])
def test_as_many_voxels_pass_as_the_p_says(scene, additive):
    """Over the whole mask and 300 iterations, where the threshold is not raised."""
    design = scene["design"]._replace(additive=additive)
    last = cumulative_words(scene["weight"])
    table, voxels = guide(last), np.empty(int(N_FOCI.sum()), dtype=np.int64)
    cut = density_levels.critical_map(table_of(scene, additive=additive), p=0.01, above=0)
    passing = []
    for iteration in range(300):
        for key, begin, end in zip(design.key, design.focus_begin[:-1], design.focus_begin[1:], strict=True):
            draw_weighted(key, iteration, last, table, voxels, begin, end)
        s = sum_of_foci(voxels, design=design, rows=scene["rows"], geometry=scene["space"])
        passing.append((s >= cut).mean())
    error = np.std(passing) / np.sqrt(len(passing))
    assert abs(np.mean(passing) - 0.01) < 4 * error + 0.0005


def test_z_stays_where_a_tail_vanishes():
    tail = np.linspace(0, -200, 50)[None].repeat(2, axis=0)
    tail[1, 30:] = -np.inf
    steps = density_levels._z_steps(tail, bits=24, shift=0)
    assert (np.diff(steps.astype(np.int64), axis=1) >= 0).all()
    assert (steps[1] >= steps[1, 0]).all()
    assert steps[1, -1] == pytest.approx(density_levels.Z_UNIT * -special.ndtri_exp(tail[1, 29]), rel=0.01)
