"""Decode clusters or a region by the terms of a database of studies, as a table, lines and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.decoding import LEAST, decode_region
from ale_dask.analyses.findings.model import model_of
from ale_dask.config.study import INPUTS
from ale_dask.coordinates.masks import load_mask
from ale_dask.datasets.terms import load_terms
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.maps import stem
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
