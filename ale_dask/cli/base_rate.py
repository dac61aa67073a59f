"""The command that counts foci per voxel for a base rate: base-rate."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ale_dask.cli.options import Foci, Space
from ale_dask.cli.studies import load

if TYPE_CHECKING:
    import xarray as xr

log = logging.getLogger(__name__)


def base_rate(
    foci: Foci,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", dir_okay=False, help="Image to write (.nii.gz): the number of foci per voxel."),
    ],
    mask: Annotated[str, typer.Option("--mask", help="Mask: brain, gm, grey10 or an image file.")] = "brain",
    space: Space = None,
) -> None:
    """Count the foci of files per voxel, for a base rate of your own (`base_rate` and --base-rate).

    A study.toml counts with all its samples, after their selection; a focus that several samples have counts once.
    """
    from ale_dask.coordinates.masks import load_mask
    from ale_dask.coordinates.readers import read_foci
    from ale_dask.datasets.base_rate.counting import counted_studies, write_counts

    grid = load_mask(mask)
    study = len(foci) == 1 and (foci[0].suffix == ".toml" or (foci[0] / "study.toml").is_file())
    if study and space is not None:
        raise typer.BadParameter("--space is for files of foci; a study states it as foci.NAME.space")
    read = _samples_of(str(foci[0])) if study else read_foci(*foci, space=space, require_n=False)
    counts, left_out = counted_studies(read, mask=grid)
    write_counts(counts, out, mask=grid)
    for why, number in left_out.items():
        if number:
            log.info(f"left out: {number:,} foci that {why}")
    print(
        f"{out}: {int(counts.sum()):,} foci of {read.sizes['experiment']:,} experiments, at most {counts.max()} a voxel"
    )


def _samples_of(study: str) -> xr.Dataset:
    """Return the foci Dataset of all samples of a study together."""
    from ale_dask.coordinates.foci import concat
    from ale_dask.workflows.prepare import read_sources

    return concat(list(read_sources(load(study), need_n=False).values()))
