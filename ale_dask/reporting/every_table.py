"""Give the tables of any result by name: of analyses, and of the follow-up analyses of them."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.kinds import ANALYSES
from ale_dask.errors import InputError
from ale_dask.reporting.sensitivity.fail_safe import fail_safe_table
from ale_dask.reporting.sensitivity.leave_one_out import jackknife_table
from ale_dask.reporting.sensitivity.null_statistic import null_table
from ale_dask.reporting.sensitivity.power import power_table
from ale_dask.reporting.sensitivity.scaling import scaling_table
from ale_dask.reporting.tables.contributions import contribution_table
from ale_dask.reporting.tables.page_tables import experiments_table
from ale_dask.reporting.tables.study import ENDS, cluster_tables


def tables(result: xr.Dataset, results: Mapping[str, xr.Dataset] | None = None) -> dict[str, pd.DataFrame]:
    """Return every table of a result by name, whichever kind of result it is.

    Parameters
    ----------
    result
        A main effect, contrast, conjunction or moderator, or what `power`, `jackknife`, `fail_safe` or `null` returned
        of one.
    results
        Other results by name: the main effects of a contrast, conjunction or moderator, whose experiments contribute to
        its clusters, and for a fail-safe N the result that it is of.

    Returns
    -------
    dict of DataFrame
        Names are those of the files of a run without the name of the analysis: "clusters", "clusters_uncorrected",
        "contributions", "experiments", "scaling"; "power", "leave-one-out", "fail-safe" or "null" of a follow-up
        analysis.

    Raises
    ------
    InputError
        When a fail-safe N comes without its result, or the Dataset is no result.

    Examples
    --------
    >>> foci = ale.read_foci("drug.txt")
    >>> result = ale.main_effect(foci, mask="ball.nii.gz", null="uniform", iterations=60, seed=1)
    >>> sorted(ale.tables(result))[:2]
    ['clusters', 'clusters_uncorrected']
    """
    others = dict(results or {})
    name, kind = str(result.attrs.get("name", "result")), result.attrs.get("kind")
    if "overlap_fraction" in result:
        return {"leave-one-out": jackknife_table(result)}
    if kind == "power":
        return {"power": power_table(result)}
    if kind == "null-statistic":
        return {"null": null_table(result)}
    if kind == "fail-safe":
        if name not in others:
            raise InputError(
                f"'{name}': the table of a fail-safe N needs its result; give results={{'{name}': result}}"
            )
        return {"fail-safe": fail_safe_table(others[name], result)}
    if kind not in ANALYSES:
        raise InputError(
            f"'{name}': no result of an analysis (kind {kind!r}); give what main_effect, contrast … return"
        )
    return _of_analysis(result, {name: result, **others})


def _of_analysis(result: xr.Dataset, results: Mapping[str, xr.Dataset]) -> dict[str, pd.DataFrame]:
    found = {f"clusters{end}": table for end, table in cluster_tables(result).items()}
    if model_of(result).kind == "main-effect":
        found |= {"experiments": experiments_table(result), "scaling": scaling_table(result)}
    if set(model_of(result).parts) <= set(results):
        found |= {f"contributions{end}": contribution_table(result, results, source=s) for s, end in ENDS.items()}
    return found
