"""Decode the clusters of a finished run by the terms of a database, and write the terms beside the results."""

from __future__ import annotations

import pandas as pd

from ale_dask.errors import InputError, did_you_mean
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.written import writing_results
from ale_dask.reporting.sensitivity.decoding import ABOVE, decode, write_decoding
from ale_dask.reporting.text.follow_up_files import origin_of
from ale_dask.storage.location import Place, place
from ale_dask.workflows.run import collect


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
