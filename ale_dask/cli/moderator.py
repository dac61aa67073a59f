"""The command that tests a moderator of files of foci, without a study.toml."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ale_dask.cli.options import (
    Columns,
    Foci,
    N,
    Out,
    RunOptions,
    Space,
    columns_from,
    names_of,
    of_files,
    show_messages,
    taking_settings,
    with_settings,
)
from ale_dask.cli.run import run_study
from ale_dask.config.names import name_from


@taking_settings
def moderator(
    foci: Foci,
    out: Out,
    settings: dict[str, Any],
    options: RunOptions,
    on: Annotated[
        list[str],
        typer.Option("--on", help="Column of the experiments; given twice, the interaction of two is tested."),
    ],
    nuisance: Annotated[
        list[str] | None,
        typer.Option("--nuisance", help="Column whose linear effect is taken out; may be given repeatedly."),
    ] = None,
    strata: Annotated[
        str | None, typer.Option("--strata", help="Column within whose values the moderator is permuted.")
    ] = None,
    levels: Annotated[
        str | None,
        typer.Option("--levels", metavar="VALUE,VALUE,…", help="Values of the column in their order, as 0, 1, 2 …"),
    ] = None,
    ranks: Annotated[bool, typer.Option("--ranks", help="Take the ranks of numbers.")] = False,
    n: N = None,
    space: Space = None,
    columns: Columns = None,
) -> None:
    """Test where foci follow a column of the experiments of one sample, without a study.toml."""
    name = names_of(foci)[0]
    analysis: dict[str, Any] = {"kind": "moderator", "of": name, "on": on, "ranks": ranks, "strata": strata}
    analysis |= {"nuisance": nuisance or [], "levels": levels.split(",") if levels else None}
    analyses = {f"{name}-by-{'-'.join(map(name_from, on))}": analysis}
    files = of_files(foci, analyses, names=[name], n=n, space=space, columns=columns_from(columns))
    study = with_settings(files, **settings)
    show_messages(quiet=options.quiet)
    run_study(study, out, options)
