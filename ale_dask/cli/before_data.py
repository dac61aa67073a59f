"""Commands for the time before the data are seen: protocol, design."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ale_dask.cli import options
from ale_dask.cli.options import Json, StudyFile
from ale_dask.cli.studies import load
from ale_dask.errors import InputError


def protocol(
    study: StudyFile,
    file: Annotated[
        Path | None, typer.Option("-o", "--out", dir_okay=False, help="Write the protocol to this new file, .md.")
    ] = None,
) -> None:
    """Write the protocol of a study before its data are seen; later runs say how they deviate from it."""
    from ale_dask.errors import InputError
    from ale_dask.reporting.text.protocol import protocol as of
    from ale_dask.storage.location import create_once

    text = of(load(study))
    if file is None:
        print(text, end="")
        return
    if file.suffix != ".md":
        raise typer.BadParameter(f"-o {file}: give a file that ends in .md")
    if create_once(file, text.encode()) != text.encode():
        raise InputError(f"{file}: exists, and a protocol is not written over; give another -o")
    print(f"{file}; next: register it, and add to study.toml, so that runs say how they deviate from it:")
    print(f'  [records]\n  protocol = "{file.name}"')


def design(
    experiments: Annotated[int, typer.Option("--experiments", min=2, help="Number of experiments.")] = 20,
    foci: Annotated[int, typer.Option("--foci", min=1, help="Foci of each experiment.")] = 8,
    n: Annotated[int, typer.Option("--n", min=1, help="Subjects of each experiment.")] = 18,
    at: Annotated[
        list[str] | None, typer.Option("--at", help="A place, x,y,z in mm MNI, with power of its own; may be repeated.")
    ] = None,
    simulations: Annotated[int, typer.Option("--simulations", min=1, help="Number of simulations per place.")] = 300,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for table, curves, figure and methods text.")
    ] = None,
    null: options.Null = None,
    iterations: options.Iterations = None,
    correction: options.Correction = None,
    voxel_p: options.VoxelP = None,
    cluster_p: options.ClusterP = None,
    mask: options.MaskName = None,
    base_rate: options.BaseRate = None,
    seed: options.Seed = None,
    as_json: Json = False,
) -> None:
    """Simulate what a meta-analysis of so many experiments could find, before there are data.

    Against foci anywhere and against the base rate, unless --null says otherwise; 1,000 iterations unless -i does.
    """
    from ale_dask.analyses.sensitivity.design import design as simulate
    from ale_dask.reporting.sensitivity.design import design_lines, design_table, write_design

    settings = {
        "null": null,
        "iterations": iterations,
        "correction": correction,
        "voxel_p": voxel_p,
        "cluster_p": cluster_p,
        "mask": mask,
        "base_rate": base_rate,
        "seed": seed,
    }
    chosen: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    places = [_place(words) for words in at or ()]
    made = simulate(experiments=experiments, foci=foci, n=n, at=places, simulations=simulations, **chosen)
    if out is not None:
        write_design(made, out)
    if as_json:
        print(json.dumps({"design": made.attrs, "places": json.loads(design_table(made).to_json(orient="records"))}))
        return
    print("\n".join(design_lines(made)))


def _place(words: str) -> tuple[float, float, float]:
    """Return the place that is written as x,y,z."""
    try:
        x, y, z = map(float, words.split(","))
    except ValueError as error:
        raise InputError(f"--at {words}: give x,y,z in mm, such as --at 22,-4,-18") from error
    return x, y, z
