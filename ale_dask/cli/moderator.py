"""The command that tests a moderator of files of foci, without a study.toml."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ale_dask.cli.messages import show_messages
from ale_dask.cli.options import Columns, Foci, N, Out, RunOptions, Space, taking_settings
from ale_dask.cli.run import run_study
from ale_dask.cli.studies import columns_from, names_of, of_files, with_settings
from ale_dask.config.names import name_from

TOGETHER = "all-samples"
"""The main effect of all experiments, where the samples that they are from are compared."""


@taking_settings
def moderator(
    foci: Foci,
    out: Out,
    settings: dict[str, Any],
    options: RunOptions,
    on: Annotated[
        list[str],
        typer.Option(
            "--on",
            help="Column of the experiments, or 'sample' for the file that each is from; given twice, the interaction "
            "of two is tested.",
        ),
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
    """Test where foci follow a column of the experiments, or differ between several samples, without a study.toml."""
    from ale_dask.coordinates.foci import SAMPLE

    names = names_of(foci)
    by_file = len(names) > 1 and SAMPLE in (*on, *(nuisance or ()), strata)
    name = TOGETHER if by_file else names[0]
    analysis: dict[str, Any] = {"kind": "moderator", "of": name, "on": on, "ranks": ranks, "strata": strata}
    analysis |= {"nuisance": nuisance or [], "levels": levels.split(",") if levels else None}
    analyses = {f"{name}-by-{'-'.join(map(name_from, on))}": analysis}
    samples: dict[str, Any] = {"names": names, "together": name} if by_file else {"names": [name]}
    files = of_files(foci, analyses, n=n, space=space, columns=columns_from(columns), **samples)
    study = with_settings(files, **settings)
    show_messages(quiet=options.quiet)
    run_study(study, out, options)
