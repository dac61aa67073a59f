"""Decode clusters or a region by the terms of a database of studies, as a table, lines and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.decoding import LEAST, decode_region
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.statistics.term_maps import SUBJECTS
from ale_dask.config.analysis import INPUTS
from ale_dask.coordinates.masks import load_mask
from ale_dask.datasets.terms import load_terms
from ale_dask.numerics.gaussian import FWHM_PER_SIGMA, sigma_mm
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.phrases import listed
from ale_dask.reporting.tables.contributions import surviving_clusters
from ale_dask.reporting.text.follow_up_files import write_follow_up

ABOVE = 0.001
"""The tf-idf from which a term indexes a study, as for `fetch`."""
SHOWN = 20
"""Terms of a cluster that the file and the page show."""
_NAMES = {"log_odds": "Log Odds", "p": "p", "q": "q", "reporting_percent": "Reporting (%)"}


def decode(
    region: xr.Dataset | Mask | str | Path,
    *,
    database: str = "neurosynth",
    above: float = ABOVE,
    least: int = LEAST,
    source: str = INPUTS[0],
) -> pd.DataFrame:
    """Return the terms that index the studies of a database with a focus in each cluster of a result, or in a region.

    Parameters
    ----------
    region
        A result, whose clusters are decoded one by one, or an image of a region, or a Mask.
    database
        "neurosynth" or "neuroquery", once `fetch` has downloaded it; nothing is downloaded here.
    above
        The tf-idf from which a term indexes a study.
    least
        Smallest number of studies that a term indexes.
    source
        Clusters of a result: "cluster-fwe" or "uncorrected".

    Returns
    -------
    DataFrame
        A row per cluster and term: studies of the term, how many of them report the cluster (also in percent, beside
        the percentage of all studies), log odds ratio with its 95 % interval, p and q. Terms that are over-represented
        come first, the smallest p before.

    Raises
    ------
    InputError
        When the database has not been fetched, or a region cannot be read.

    Notes
    -----
    p is that of Fisher's exact test (two-sided, twice the smaller tail), q is Benjamini-Hochberg over the terms of one
    cluster; log odds have half a study added to each count. A study with more foci reports any place more often, and
    terms differ in that. What terms say of a region is no evidence of what the sample's subjects did.

    Examples
    --------
    >>> ale.decode("amygdala.nii.gz").head()  # doctest: +SKIP
    """
    if isinstance(region, xr.Dataset):
        model = model_of(region)
        terms = load_terms(database, mask=model.mask, above=above)
        parts = []
        for cluster in surviving_clusters(region, source):
            inside = _among(cluster.voxels, model.mask.n_voxels)
            xyz = dict(zip("xyz", cluster.peak_mm.round(1) + 0.0, strict=True))
            parts.append(decode_region(inside, terms, least=least).assign(cluster=cluster.number, **xyz))
        first = ["cluster", "x", "y", "z"]
        table = pd.concat(parts) if parts else decode_region(_among([], model.mask.n_voxels), terms).iloc[:0]
        return table.reindex(columns=[*first, *(c for c in table if c not in first)]).reset_index(drop=True)
    brain = load_mask("brain")
    image = region if isinstance(region, Mask) else load_mask(region, key="region")
    inside = image.voxel_at(brain.to_mm(brain.voxel_ijk)) >= 0
    return decode_region(inside, load_terms(database, mask=brain, above=above), least=least)


def _among(voxels: Sequence[int] | Any, number: int) -> Any:
    """Return whether a voxel (voxel), bool, is among some."""
    inside = np.zeros(number, dtype=bool)
    inside[np.asarray(voxels, dtype=np.int64)] = True
    return inside


def terms_that_go_with(table: pd.DataFrame, *, most: int = SHOWN) -> pd.DataFrame:
    """Return the first terms of each cluster that are over-represented at q < .05."""
    found = table[(table["q"] < 0.05) & (table["log_odds"] > 0)]
    return found.groupby("cluster", sort=False).head(most) if "cluster" in table else found.head(most)


def decoding_lines(table: pd.DataFrame, *, most: int = 8) -> list[str]:
    """Return the terms that go with each cluster, or with a region, in lines for a terminal."""
    found = terms_that_go_with(table, most=most)
    names = table["cluster"].unique() if "cluster" in table else [None]
    lines = []
    for number in names:
        own = found if number is None else found[found["cluster"] == number]
        words = ", ".join(f"{row['term']} ({row['log_odds']:.2f})" for row in own.to_dict("records"))
        where = "region"
        if number is not None:
            first = table[table["cluster"] == number].iloc[0]
            where = f"cluster {number} at {first['x']:.0f} {first['y']:.0f} {first['z']:.0f}"
        lines.append(f"{where}: {words or 'no term goes with it'}")
    return lines


def write_decoding(
    result: xr.Dataset, table: pd.DataFrame, folder: Path, *, database: str, origin: Sequence[Any] = ()
) -> list[Path]:
    """Write NAME_decoding.tsv and .json into an analysis's folder, and return their paths."""
    about = {
        "title": f"Decoding by terms of {database}",
        "says": f"Terms that index more of the studies of {database} with a focus in a cluster than of the others: log "
        "odds ratio, Fisher's exact test, q over all terms of a cluster (Benjamini-Hochberg); at most "
        f"{SHOWN} terms with q < .05. Terms say what those studies wrote about, not what the subjects of this sample "
        "did.",
        "of_results": list(origin),
    }
    shown = terms_that_go_with(table).rename(columns=lambda c: _NAMES.get(c, c.replace("_", " ").title()))
    shown = shown.rename(columns={"Base Rate Percent": "Base Rate (%)", "Cluster": "Cluster ID"})
    number = {c: 2 for c in shown.columns if "(%)" in c} | {c: 3 for c in shown.columns if "Log Odds" in c}
    base = folder / f"{stem(result.attrs['name'])}_decoding"
    return write_follow_up(base, shown.round(number), about)


def correlation_table(test: xr.Dataset, studies: Mapping[str, int]) -> pd.DataFrame:
    """Return a row per null and term of the test of a map's correlation with maps of terms, most deviating first.

    `studies` has the number of studies of each term. q is adjusted over the terms (Benjamini-Hochberg).
    """
    from scipy.stats import false_discovery_control

    parts = []
    for against in test["against"].values:
        of = test.sel(against=against)
        words = [str(word) for word in of["label"].values]
        spread = np.where(of["null_sd"].values > 0, of["null_sd"].values, np.inf)
        rows = pd.DataFrame(
            {
                "null": str(against),
                "term": words,
                "studies": [studies[word] for word in words],
                "r": of["observed"].values,
                "null_mean": of["null_mean"].values,
                "null_sd": of["null_sd"].values,
                "deviation": (of["observed"].values - of["null_mean"].values) / spread,
                **{name: of[name].values for name in ("p", "p_low", "p_high", "p_fwe")},
                "q": false_discovery_control(of["p"].values),
            }
        )
        parts.append(rows.sort_values("deviation", ascending=False, kind="stable"))
    return pd.concat(parts, ignore_index=True)


def correlation_lines(table: pd.DataFrame, *, most: int = 8) -> list[str]:
    """Return the terms whose maps correlate with a map beyond each null, family-wise, in lines for a terminal."""
    lines = []
    for null, rows in table.groupby("null", sort=False):
        found = rows[rows["p_fwe"] <= 0.05]
        words = ", ".join(f"{row['term']} (r {row['r']:.2f})" for row in found.head(most).to_dict("records"))
        more = f" and {len(found) - most} more" if len(found) > most else ""
        lines.append(f"{null} null, family-wise p at most .05: {words or 'no term'}{more}")
    return lines


_CORRELATION_NAMES = {"r": "r", "p": "p", "q": "q", "p_low": "p low", "p_high": "p high", "p_fwe": "p FWE"}
_CORRELATION_NAMES |= {"null_mean": "Null mean", "null_sd": "Null SD", "deviation": "Deviation (SD)"}


def write_correlations(
    test: xr.Dataset, table: pd.DataFrame, folder: Path, *, database: str, origin: Sequence[Any] = ()
) -> list[Path]:
    """Write NAME_decoding-correlation-DATABASE.tsv and .json into an analysis's folder, and return their paths."""
    iterations, terms = int(test.attrs["iterations"]), test.sizes["number"]
    nulls = {"uniform": "foci drawn uniformly from the mask", "base-rate": "foci drawn from the base rate"}
    drawn = listed(nulls[str(word)] for word in test["against"].values)
    width = FWHM_PER_SIGMA * float(sigma_mm(SUBJECTS))
    how = (
        f"the foci of the studies in {database} that the term indexes, each a Gaussian of {width:.1f} mm full width at "
        "half maximum"
    )
    about = {
        "title": f"Decoding by correlation with maps of terms of {database}",
        "says": f"Pearson's correlation of ALE over voxels with the map of each of {terms:,} terms, {how}, beside the "
        f"same of {iterations:,} iterations of the null, upper tail. p FWE: of the largest standardised deviation "
        f"among all terms; q over terms (Benjamini-Hochberg). The {SHOWN} terms that deviate most from each null. "
        "Terms say what those studies wrote about, not what the subjects of this sample did.",
        "methods": f"For {{names}}, ALE was correlated over voxels with the map of each of {terms:,} terms, {how} "
        f"[@yarkoni2011], and compared with the same of {iterations:,} maps of {drawn}, the iterations of the "
        "cluster-level null; p = (1 + r)/(1 + B) [@phipson2010], family-wise over terms by the largest standardised "
        "deviation of an iteration, and false discovery rates over terms (Benjamini-Hochberg).",
        "of_results": list(origin),
        "source_sha256": test.attrs["source"],
        "iterations": iterations,
    }
    shown = table.groupby("null", sort=False).head(SHOWN)
    numbers = [str(c) for c in shown if c not in ("null", "term", "studies")]
    text = {c: [f"{value:.4g}" for value in shown[c]] for c in numbers}
    shown = shown.assign(**text).rename(columns=lambda c: _CORRELATION_NAMES.get(c, c.title()))
    base = folder / f"{stem(test.attrs['name'])}_decoding-correlation-{database}"
    return write_follow_up(base, shown, about)
