"""Decode the clusters or the map of a result by the terms of a database, and write the terms beside the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.statistics.functions import Statistic
from ale_dask.analyses.statistics.term_maps import LEAST, TermMaps, term_maps
from ale_dask.coordinates.masks import load_space
from ale_dask.errors import InputError, did_you_mean
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.written import writing_results
from ale_dask.reporting.sensitivity.decoding import ABOVE, correlation_table, decode, write_correlations, write_decoding
from ale_dask.reporting.text.follow_up_files import origin_of
from ale_dask.storage.location import Place, place
from ale_dask.workflows.null import null, plan_null
from ale_dask.workflows.null_runs import Options, computed
from ale_dask.workflows.run import collect
from ale_dask.workflows.run_directory import stored_study

if TYPE_CHECKING:
    from distributed import Client


def decode_run(
    out: str | Place, *, analysis: str | None = None, database: str = "neurosynth", above: float = ABOVE
) -> dict[str, pd.DataFrame]:
    """Decode the clusters of a finished run, write OUT/NAME/NAME_decoding.tsv, and return what `decode` does, by name.

    Raises
    ------
    StoreError
        when OUT holds no finished run.
    InputError
        when OUT has no analysis of that name, or the database has not been fetched.
    """
    _, results, record = collect(out)
    if analysis is not None and analysis not in results:
        raise InputError(
            f"{analysis}: no analysis of {out}, which has {', '.join(results)}{did_you_mean(analysis, results)}"
        )
    tables = {}
    for name in [analysis] if analysis else results:
        tables[name] = decode(results[name], database=database, above=above)
        with writing_results(place(out)) as folder:
            origin = origin_of(results[name], record)
            write_decoding(results[name], tables[name], folder / stem(name), database=database, origin=origin)
    return tables


def decode_by_correlation(
    result: xr.Dataset | str | Place,
    *,
    database: str = "neurosynth",
    above: float = ABOVE,
    least: int = LEAST,
    client: Client | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Return the correlation of a main effect's ALE map with the map of each term of a database, and its p.

    Parameters
    ----------
    result
        Main effect, from `main_effect`; or the folder of a finished run, where blocks are kept, so that the same call
        resumes, and where NAME/NAME_decoding-correlation-DATABASE.tsv and .json are written for the report.
    database
        "neurosynth" or "neuroquery", once `fetch` has downloaded it; nothing is downloaded here.
    above
        The tf-idf from which a term indexes a study.
    least
        Smallest number of studies that a term indexes.
    client
        Dask client to compute on.
    **options
        As those of `null`: analysis, null, iterations, tail, backend, quiet.

    Returns
    -------
    DataFrame
        A row per null and term, those first that deviate most from the null: studies of the term, r, mean and standard
        deviation of r in the null, p with its 95 % interval, p_fwe over all terms, q.

    Raises
    ------
    InputError
        When the database has not been fetched, or the result is no main effect.
    StoreError
        When the folder holds no finished run.

    Notes
    -----
    The map of a term is the sum of a Gaussian, the kernel of 20 subjects, around every focus of the studies that it
    indexes. r is Pearson's over the voxels of the search space. The iterations are those of the cluster-level null,
    p = (1 + r) / (1 + B); p_fwe is that of the largest standardised deviation among all terms, q is
    Benjamini-Hochberg. Every term goes with where foci are reported at all: the base-rate null asks for more than that.

    Examples
    --------
    >>> ale.decode_by_correlation(result).head()  # doctest: +SKIP
    """
    if isinstance(result, xr.Dataset):
        statistic = term_maps(database, mask=model_of(result).mask, above=above, least=least)
        return _table(null(result, statistic, client=client, **options), statistic)
    out = place(result)
    mask = load_space(stored_study(out).inference)
    statistic = term_maps(database, mask=mask, above=above, least=least)
    planned = plan_null(out, statistic, options=Options.of(options))
    test = computed(planned, client=client)
    table = _table(test, statistic)
    with writing_results(out) as folder:
        origin = origin_of(planned.result, planned.record)
        write_correlations(test, table, folder / stem(str(test.attrs["name"])), database=database, origin=origin)
    return table


def _table(test: xr.Dataset, statistic: Statistic) -> pd.DataFrame:
    maps = statistic.function
    assert isinstance(maps, TermMaps)
    return correlation_table(test, dict(zip(maps.words, maps.studies.tolist(), strict=True)))
