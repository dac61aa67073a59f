"""Which terms index the studies that report a region: their log odds against the base rate of the database."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ale_dask.datasets.terms import Terms

LEAST = 20
"""Smallest number of studies of a term: with fewer, hardly any term can be told from chance."""


def decode_region(inside: npt.NDArray[np.bool_], terms: Terms, *, least: int = LEAST) -> pd.DataFrame:
    """Return a row per term of `least` studies or more, the likeliest to go with the region first.

    Of the studies with a focus among the voxels of the region (voxel) and of all others it is counted how many a term
    indexes. The log odds ratio and its 95 % interval have half a study added to each of the four counts (Haldane 1956);
    p is that of Fisher's exact test, two-sided as twice the smaller tail; q is adjusted over the terms
    (Benjamini-Hochberg).
    """
    from scipy.stats import false_discovery_control, hypergeom

    reporting = terms.reporting(inside)
    total = np.asarray(terms.indexes.sum(axis=0)).ravel().astype(np.int64)
    within = np.asarray(terms.indexes[np.flatnonzero(reporting)].sum(axis=0)).ravel().astype(np.int64)
    tested = np.flatnonzero(total >= least)
    total, within = total[tested], within[tested]
    n, size = len(reporting), int(reporting.sum())
    counts = np.stack([within, total - within, size - within, n - size - total + within]) + 0.5
    log_odds = np.log(counts[0] * counts[3] / (counts[1] * counts[2]))
    error = 1.959964 * np.sqrt((1 / counts).sum(axis=0))
    tails = hypergeom.sf(within - 1, n, total, size), hypergeom.cdf(within, n, total, size)
    p = np.minimum(1, 2 * np.minimum(*tails))
    table = pd.DataFrame(
        {
            "term": [terms.words[t] for t in tested],
            "studies": total,
            "reporting": within,
            "reporting_percent": 100 * within / total,
            "base_rate_percent": np.full(len(tested), 100 * size / n),
            "log_odds": log_odds,
            "log_odds_low": log_odds - error,
            "log_odds_high": log_odds + error,
            "p": p,
            "q": false_discovery_control(p) if len(p) else p,
        }
    )
    # Where many p are too small to be told apart, the interval tells which term goes with the region most surely.
    order = table.assign(less=table["log_odds"] < 0).sort_values(
        ["less", "p", "log_odds_low"], ascending=[True, True, False], kind="stable"
    )
    return order.drop(columns="less").reset_index(drop=True)
