"""The command that makes a study of the experiments of a database with a focus in a region, the seed: macm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ale_dask.cli.options import Columns, MaskName, N, Quiet, RunOptions, Space
from ale_dask.cli.studies import columns_from, load


def macm(
    seeds: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]SEED…",
            help="x,y,z,radius in mm, an image, labels.nii.gz:12 (or :NAME), AAL:Amygdala, or OUT:ANALYSIS:1.",
        ),
    ],
    database: Annotated[
        str, typer.Option("--database", help="neurosynth or neuroquery once fetched, or a file of foci.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the study.")],
    null: Annotated[str, typer.Option("--null", help="Null: base-rate, uniform or both.")] = "base-rate",
    mask: MaskName = None,
    n: N = None,
    space: Space = None,
    columns: Columns = None,
    at_once: Annotated[bool, typer.Option("--run", help="Run the study, too, into its folder out.")] = False,
    quiet: Quiet = False,
) -> None:
    """Make a study of the experiments of a database that report a focus in a seed region, to see what else they report.

    Two or three seeds are also compared in pairs, by contrasts and conjunctions.
    """
    from ale_dask.cli.run import run_study
    from ale_dask.cli.study_files import print_next
    from ale_dask.workflows.macm import macm as study_of_seeds

    made = study_of_seeds(
        *seeds, database=database, n=n, space=space, columns=columns_from(columns), mask=mask or "brain", null=null
    )
    made.write(out)
    for note in made.notes:
        print(f"  note: {note}")
    if at_once:
        run_study(load(str(out)), str(out / "out"), RunOptions(quiet=quiet))
    else:
        print_next("study", out)
