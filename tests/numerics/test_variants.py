"""Several analyses of the same draws in one pass, against the kernel of one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.permutations import SIGMAS, SOME, Case, blob, cases
from support.pruned import null_of

from ale_dask.numerics.kernels.focus_visits import Design
from ale_dask.numerics.permutation_null import null_iterations
from ale_dask.numerics.pruned_variants import pruned_variant_iterations
from ale_dask.numerics.variant_null import Variants, variant_iterations


def subset(design, kept):
    """Return the design of some experiments alone."""
    counts = np.diff(design.focus_begin)[kept]
    begin = np.r_[0, np.cumsum(counts)].astype(np.int64)
    return Design(begin, design.kernel[kept], design.key[kept], design.additive)


def alone(case, left_out, threshold, first, count):
    """Return the null without some experiments as an analysis of the others computes it."""
    kept = np.setdiff1d(np.arange(len(case.n_foci)), left_out)
    out = np.zeros((count, 3), dtype=np.int64)
    if len(kept):
        design = subset(case.design, kept)
        null_iterations(first, count, np.int32(threshold), design, case.kernel_rows, case.space, out)
    return out


def variants_of(left_out, thresholds):
    begin = np.r_[0, np.cumsum([len(m) for m in left_out])].astype(np.int64)
    member = np.concatenate([np.array(m, dtype=np.int64) for m in left_out])
    return Variants(np.array(thresholds, dtype=np.int32), begin, member)


def together(case, left_out, thresholds, first, count):
    variants = variants_of(left_out, thresholds)
    out = np.full((count, len(thresholds), 3), -1, dtype=np.int64)
    variant_iterations(first, count, variants, case.design, case.kernel_rows, case.space, out)
    return out


@SOME
@given(cases(), st.data())
def test_each_variant_is_the_analysis_of_its_experiments(case, data):
    n = len(case.n_foci)
    left_out = data.draw(st.lists(st.lists(st.integers(0, n - 1), max_size=n, unique=True), min_size=1, max_size=5))
    left_out = [sorted(m) for m in left_out]
    top = int(case.rows(3, 2, 1)[:, 0].max())
    thresholds = [data.draw(st.integers(1, 2 * top + 1)) for _ in left_out]
    found = together(case, left_out, thresholds, 3, 2)
    for v, (members, threshold) in enumerate(zip(left_out, thresholds, strict=True)):
        assert found[:, v].tolist() == alone(case, members, threshold, 3, 2).tolist()


@SOME
@given(cases(), st.booleans(), st.sampled_from([10**5, 3]), st.data())
def test_pruned_variants_are_the_same(case, convolved, most, data):
    n = len(case.n_foci)
    left_out = data.draw(st.lists(st.lists(st.integers(0, n - 1), max_size=n, unique=True), min_size=1, max_size=5))
    left_out = [sorted(m) for m in left_out]
    top = int(case.rows(3, 2, 1)[:, 0].max())
    thresholds = [data.draw(st.integers(1, 2 * top + 1)) for _ in left_out]
    null = null_of(case, min(thresholds), most=most, convolved=convolved)
    out = np.full((3, len(thresholds), 3), -1, dtype=np.int64)
    pruned_variant_iterations(3, 3, variants_of(left_out, thresholds), null, out)
    assert np.array_equal(out, together(case, left_out, thresholds, 3, 3))


def test_a_brain_of_twenty_experiments_without_each():
    case = Case(blob(3, (40, 44, 38), 1.0), SIGMAS[1:2], [0] * 20, [8] * 20)
    threshold = int(np.quantile(case.reference_sum(case.drawn(0)), 0.995))
    left_out = [[], *([i] for i in range(20))]
    thresholds = [threshold - 40 * len(m) for m in left_out]
    found = together(case, left_out, thresholds, 0, 3)
    assert (found[..., 1] > 1).all()
    for v, members in enumerate(left_out):
        assert found[:, v].tolist() == alone(case, members, thresholds[v], 0, 3).tolist()
    out = np.empty_like(found)
    pruned_variant_iterations(0, 3, variants_of(left_out, thresholds), null_of(case, min(thresholds)), out)
    assert np.array_equal(out, found)
