"""JALE's shares and differences of given subsamples: PYTHON subsamples_with_jale.py IN.npz OUT.npz."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pandas as pd
from jale.core.utils import compute
from jale.core.utils.input import transform_coordinates_to_voxel_space
from jale.core.utils.kernel import create_kernel_array
from jale.core.utils.template import GM_PRIOR
from scipy.stats import norm

BIN = 0.0001


def maps(given: dict[str, np.ndarray], arm: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the numbers of foci, kernels and MA maps (experiment, x, y, z) of an arm."""
    xyz, begin = given[f"{arm}_xyz"], given[f"{arm}_begin"]
    mm = [xyz[a:b] for a, b in pairwise(begin)]
    table = pd.DataFrame({"Subjects": given[f"{arm}_n"], "NumberOfFoci": np.diff(begin), "Coordinates_mm": mm})
    table = transform_coordinates_to_voxel_space(table)
    kernels = create_kernel_array(table)
    return table.NumberOfFoci.to_numpy(), np.asarray(kernels), compute.compute_ma(table.Coordinates.values, kernels)


def main(given: str, out: str) -> None:
    """Write what survives in each subsample (voxel of JALE's grey matter): shares, the null's clusters, differences."""
    with np.load(given) as archive:
        arrays = dict(archive)
    n_foci, kernels, ma = maps(arrays, "a")
    has = arrays["a_has"]
    top = 1 - np.prod([1 - kernel.max() for kernel in kernels]) + 0.001
    edges, centers, step = np.arange(BIN / 2, top, BIN), np.arange(0, top, BIN), int(1 / BIN)
    np.random.seed(1)
    null = [
        compute.compute_monte_carlo_null(
            n_foci, kernels, edges, centers, step, 0.001, target_n=int(has[0].sum()), tfce_enabled=False
        )[1]
        for _ in range(int(arrays["iterations"]))
    ]
    cut = np.percentile(null, 95)
    share, uncorrected = np.zeros((2, int(GM_PRIOR.sum())))
    for members in has:
        chosen = ma[members]
        share += compute.compute_sub_ale_single(chosen, cut, edges, centers, step)[GM_PRIOR] / len(has)
        # The steps of compute_sub_ale_single before its cut.
        law = compute.compute_hx_conv(compute.compute_hx(chosen, edges), centers, step)
        z = compute.compute_z(compute.compute_ale(chosen), law, step)
        uncorrected += (z[GM_PRIOR] > norm.ppf(1 - 0.001)) / len(has)
    first, second = ma[:, GM_PRIOR], maps(arrays, "b")[2][:, GM_PRIOR]
    pairs = list(zip(arrays["pair_a"], arrays["pair_b"], strict=True))
    # compute_balanced_ale_diff draws its own pairs; these are the steps of it.
    difference = sum(compute.compute_ale(first[a]) - compute.compute_ale(second[b]) for a, b in pairs) / len(pairs)
    np.savez(
        out,
        share=share.astype(np.float32),
        uncorrected=uncorrected.astype(np.float32),
        difference=difference.astype(np.float32),
        max_size=np.array(null, dtype=np.int16),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
