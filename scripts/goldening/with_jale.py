"""JALE's maps and null of one sample, by the functions of its main effect: PYTHON with_jale.py IN.npz OUT.npz."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from jale.core.utils import compute
from jale.core.utils.input import transform_coordinates_to_voxel_space
from jale.core.utils.kernel import create_kernel_array
from jale.core.utils.template import GM_PRIOR

BIN = 0.0001


def main(given: str, out: str) -> None:
    """Write ALE and z (voxel of its grey matter), its mask, the null's largest ALE and cluster size (iteration).

    "masked_…" is the same null looked at inside the mask only, and "fixed_…" that with the observed sample's own
    histograms: JALE looks at the whole grid, and takes each iteration's.
    """
    with np.load(given) as archive:
        foci = dict(archive)
    mm = [foci["xyz"][a:b] for a, b in zip(foci["begin"][:-1], foci["begin"][1:], strict=True)]
    table = pd.DataFrame({"Subjects": foci["n"], "NumberOfFoci": np.diff(foci["begin"]), "Coordinates_mm": mm})
    table = transform_coordinates_to_voxel_space(table)
    kernels = create_kernel_array(table)
    top = 1 - np.prod([1 - kernel.max() for kernel in kernels]) + 0.001
    edges, centers, step = np.arange(BIN / 2, top, BIN), np.arange(0, top, BIN), int(1 / BIN)
    ma = compute.compute_ma(table.Coordinates.values, kernels)
    ale = compute.compute_ale(ma)
    ale[~GM_PRIOR] = 0
    observed = compute.compute_hx_conv(compute.compute_hx(ma, edges), centers, step)
    z = compute.compute_z(ale, observed, step)
    np.random.seed(1)
    null = []
    for _ in range(int(foci["iterations"])):
        # The steps of compute_monte_carlo_null, so that one draw can be looked at in three ways.
        null_ma, null_ale = compute.compute_null_ale(table.NumberOfFoci, kernels)
        own = compute.compute_hx_conv(compute.compute_hx(null_ma, edges), centers, step)
        inside = np.where(GM_PRIOR, null_ale, 0)
        largest = [
            compute.compute_clusters(compute.compute_z(*of, step), 0.001)[1]
            for of in ((null_ale, own), (inside, own), (inside, np.r_[observed, np.zeros(len(centers))]))
        ]
        null.append([null_ale.max(), inside.max(), *largest])
    whole, masked, size, masked_size, fixed_size = np.array(null).T
    np.savez(
        out,
        volume=GM_PRIOR,
        ale=ale[GM_PRIOR].astype(np.float32),
        z=z[GM_PRIOR].astype(np.float32),
        threshold=(np.flatnonzero(observed < 0.001)[0] - 0.5) * BIN,
        max_ale=whole.astype(np.float32),
        max_size=size.astype(np.int32),
        masked_max_ale=masked.astype(np.float32),
        masked_max_size=masked_size.astype(np.int32),
        fixed_max_size=fixed_size.astype(np.int32),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
