"""Masks and experiments with the tables of the permutation kernels, beside a plain version of each."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from ale_dask.numerics.gaussian import kernel_box
from ale_dask.numerics.kernels.kernel_rows import geometry, rows_of_kernels
from ale_dask.numerics.kernels.planes import Design, sum_of_foci
from ale_dask.numerics.permutation_null import null_iterations
from support import reference

BITS, SUPPORT = 20, 3.0


SOME = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


# Radii 1 to 7 voxels: rows of one, two (8 cells and more) and three pieces; flat along each axis.
SIGMAS = [(0.5, 0.5, 0.5), (1.3, 1.3, 1.3), (0.4, 1.7, 1.0), (1.0, 0.5, 2.5), (2.4, 0.7, 0.4), (1.0, 0.3, 1.0)]


class Case:
    """A mask, experiments and the tables of the kernel."""

    def __init__(self, volume, sigmas, kernel, n_foci, *, additive=False, edges=False, seed=0):
        self.volume, self.n_foci, self.edges = volume, n_foci, edges
        self.ijk = np.argwhere(volume)
        boxes = self.boxes = [kernel_box(np.array(s), support=SUPPORT, bits=BITS) for s in sigmas]
        self.values = [reference.stamp(s, support=SUPPORT, bits=BITS) for s in sigmas]
        radius = np.array([b.shape for b in boxes]) // 2
        self.space = geometry(self.ijk.astype(np.int16), radius=radius, edges=edges)
        self.kernel_rows = rows_of_kernels(boxes)
        key = np.random.default_rng(seed).integers(0, 2**63, len(n_foci)).astype(np.uint64)
        begin = np.r_[0, np.cumsum(n_foci)].astype(np.int64)
        self.design = Design(begin, np.array(kernel, dtype=np.int64), key, additive)

    def sum(self, voxels):
        return sum_of_foci(voxels, design=self.design, rows=self.kernel_rows, geometry=self.space)

    def reference_sum(self, voxels):
        begin, kernel = self.design.focus_begin, self.design.kernel
        experiments = [
            (self.values[k], self.ijk[voxels[begin[e] : begin[e + 1]]].tolist()) for e, k in enumerate(kernel)
        ]
        return reference.permuted_sum(self.ijk, experiments, additive=self.design.additive)

    def drawn(self, iteration):
        parts = [
            reference.draw_voxels(int(k), iteration, len(self.ijk), n)
            for k, n in zip(self.design.key, self.n_foci, strict=True)
        ]
        return np.concatenate(parts).astype(np.int64)

    def statistics(self, s, threshold):
        return reference.cluster_statistics(self.ijk, s, threshold, edges=self.edges)

    def rows(self, first, count, threshold):
        out = np.empty((count, 3), dtype=np.int64)
        null_iterations(first, count, np.int32(threshold), self.design, self.kernel_rows, self.space, out)
        return out


def blob(seed, shape, share=0.6):
    volume = np.random.default_rng(seed).random(shape) < share
    volume[tuple(n // 2 for n in shape)] = True
    return volume


@st.composite
def cases(draw):
    shape = draw(st.tuples(st.integers(1, 19), st.integers(1, 7), st.integers(1, 10)))
    sigmas = draw(st.lists(st.sampled_from(SIGMAS), min_size=1, max_size=3))
    n_foci = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    kernel = [draw(st.integers(0, len(sigmas) - 1)) for _ in n_foci]
    seed = draw(st.integers(0, 10**6))
    volume = blob(seed, shape, draw(st.sampled_from([0.2, 0.7, 1.0])))
    return Case(volume, sigmas, kernel, n_foci, additive=draw(st.booleans()), edges=draw(st.booleans()), seed=seed)
