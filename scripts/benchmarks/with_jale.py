"""JALE's side, run by its own Python: what its main effect and contrast call, one iteration at a time, in our mask."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
from jale.core.utils import compute
from jale.core.utils.kernel import create_kernel_array

from benchmarks.protocol import megabytes, serve
from benchmarks.samples import Foci

BIN = 0.0001
STATE: dict[str, Any] = {}


def experiments(foci: Foci) -> pd.DataFrame:
    """Return the foci as JALE's own table."""
    coordinates = [foci.ijk[where] for where in foci.of_experiment]
    return pd.DataFrame({"Subjects": foci.n, "NumberOfFoci": np.diff(foci.begin), "Coordinates": coordinates})


def load(foci: str) -> None:
    """Read a sample and put our mask where JALE has its own."""
    sample = Foci.load(foci)
    assert sample.volume.shape == compute.BRAIN_ARRAY_SHAPE
    compute.GM_PRIOR = sample.volume
    compute.GM_SAMPLE_SPACE = np.array(np.where(sample.volume))
    table = experiments(sample)
    kernels = create_kernel_array(table)
    top = 1 - np.prod([1 - kernel.max() for kernel in kernels]) + 0.001
    STATE.update(
        table=table,
        kernels=kernels,
        bins={"bin_edges": np.arange(BIN / 2, top, BIN), "bin_centers": np.arange(0, top, BIN)},
        mask=sample.volume,
    )


def observed() -> float:
    """Return the seconds of the observed map with its analytic z."""
    bins = STATE["bins"]
    start = time.process_time()
    kernels = create_kernel_array(STATE["table"])
    ma = compute.compute_ma(STATE["table"].Coordinates.values, kernels)
    ale = compute.compute_ale(ma)
    ale[~STATE["mask"]] = 0
    null = compute.compute_hx_conv(compute.compute_hx(ma, bins["bin_edges"]), bins["bin_centers"], int(1 / BIN))
    compute.compute_z(ale, null, int(1 / BIN))
    return time.process_time() - start


def cluster(count: int, seed: int, tfce: bool = False) -> float:
    """Return the seconds of iterations of its null: largest ALE, cluster size and, asked for, TFCE."""
    np.random.seed(seed)
    start = time.process_time()
    for _ in range(count):
        compute.compute_monte_carlo_null(
            num_foci=STATE["table"].NumberOfFoci,
            kernels=STATE["kernels"],
            step=int(1 / BIN),
            cluster_forming_threshold=0.001,
            tfce_enabled=tfce,
            **STATE["bins"],
        )
    return time.process_time() - start


def load_contrast(a: str, b: str) -> None:
    """Make the experiments of two samples ready to be exchanged."""
    arms = []
    for path in (a, b):
        sample = Foci.load(path)
        table = experiments(sample)
        arms.append(compute.compute_ma(table.Coordinates.values, create_kernel_array(table))[:, sample.volume])
    STATE.update(maps=np.vstack(arms), first=len(arms[0]))


def contrast(count: int) -> float:
    """Return the seconds of relabellings over the whole mask: the difference alone, in one direction."""
    start = time.process_time()
    for _ in range(count):
        compute.compute_permuted_ale_diff(STATE["maps"], STATE["first"])
    return time.process_time() - start


def peak() -> float:
    """Return the most memory that this process has held, in MB."""
    return megabytes()


if __name__ == "__main__":
    serve((load, observed, cluster, load_contrast, contrast, peak))
