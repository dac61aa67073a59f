"""The command that makes a base rate: base-rate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ale_dask.cli.options import Foci, Space, say


def base_rate(
    foci: Foci,
    out: Annotated[Path, typer.Option("-o", "--out", dir_okay=False, help="Image of numbers of foci (.nii.gz).")],
    mask: Annotated[str, typer.Option("--mask", help="brain, gm, grey10 or an image file.")] = "brain",
    space: Space = None,
) -> None:
    """Count the foci of files per voxel: a base rate of your own for `base_rate` and --base-rate."""
    from ale_dask.data.base_rate.counting import counted_studies, write_counts
    from ale_dask.data.masks import load_mask
    from ale_dask.data.readers import read_foci

    grid = load_mask(mask)
    read = read_foci(*foci, space=space, require_n=False)
    counts, left_out = counted_studies(read, mask=grid)
    write_counts(counts, out, mask=grid)
    for why, number in left_out.items():
        if number:
            say(f"left out: {number:,} foci that {why}")
    print(
        f"{out}: {int(counts.sum()):,} foci of {read.sizes['experiment']:,} experiments, at most {counts.max()} a voxel"
    )
