"""Map the share of a sweep's cells in which a voxel survives, and plot the surviving volume along each axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.clusters import grid_name
from ale_dask.analyses.findings.model import is_simulated, model_of
from ale_dask.config.analysis import INPUTS
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.palette import HUES, OVERLAP
from ale_dask.reporting.common.svg import WIDTH, lines_of, titled
from ale_dask.reporting.figures.strips import strips
from ale_dask.reporting.tables.contributions import surviving_map
from ale_dask.storage.location import replace_file


class Stability:
    """Counts of the cells in which each voxel of each analysis survives, for each grid."""

    def __init__(self) -> None:
        self._grids: dict[str, npt.NDArray[np.float64]] = {}
        self._counts: dict[tuple[str, str], npt.NDArray[np.int32]] = {}
        self._cells: dict[tuple[str, str], int] = {}
        self._words: dict[str, str] = {}
        self._inside: dict[str, npt.NDArray[np.bool_]] = {}
        self._simulated = False

    def add(self, results: Mapping[str, xr.Dataset]) -> None:
        """Count the results of one cell."""
        self._simulated |= is_simulated(*results.values())
        for result in results.values():
            grid, shape = grid_name(result), tuple(result.attrs["shape"])
            self._grids[grid] = np.array(result.attrs["affine"], dtype=np.float64).reshape(4, 4)
            self._inside[grid] = self._inside.get(grid, False) | model_of(result).mask.volume
            ijk = tuple(result["voxel_ijk"].values.T)
            for name, words, survives in _surviving(result):
                self._words[name] = words
                key = grid, name
                counts = self._counts.setdefault(key, np.zeros(shape, dtype=np.int32))
                counts[tuple(axis[survives] for axis in ijk)] += 1
                self._cells[key] = self._cells.get(key, 0) + 1

    def shares(self) -> Iterator[tuple[str, npt.NDArray[np.float32], npt.NDArray[np.float64]]]:
        """Yield a name, the share of cells (x, y, z), float32, in which each voxel survives, and the affine."""
        several = len(self._grids) > 1
        for (grid, name), counts in self._counts.items():
            yield (
                f"{name}_grid-{grid}" if several else name,
                (counts / self._cells[grid, name]).astype(np.float32),
                self._grids[grid],
            )

    def by_grid(self) -> Iterator[tuple[str, Mask, dict[str, npt.NDArray[np.float32]]]]:
        """Yield each grid with the union of its masks and the shares (x, y, z) of cells by the words on each map."""
        for grid, affine in self._grids.items():
            own = {name: counts for (g, name), counts in self._counts.items() if g == grid}
            shares = {self._words[n]: (c / self._cells[grid, n]).astype(np.float32) for n, c in own.items()}
            yield grid, Mask(self._inside[grid], affine), shares

    def write(self, folder: Path) -> list[Path]:
        """Write NAME_stability.nii.gz for each analysis, direction and input, and return their paths."""
        paths = []
        for name, share, affine in self.shares():
            image = nib.Nifti1Image(share, affine)
            mark = f"{SIMULATED}: " if self._simulated else ""
            image.header["descrip"] = f"{mark}share of cells in which voxel survives"
            path = folder / f"{stem(name)}_stability.nii.gz"
            replace_file(path, _gzipped(image))
            paths.append(path)
        return paths


def _gzipped(image: nib.Nifti1Image) -> bytes:
    import gzip

    # The header of gzip holds no time, so that equal maps are equal files.
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def _surviving(result: xr.Dataset) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    """Yield for each map of a result the end of its file name, words on it, and which voxels survive (voxel)."""
    name = str(result.attrs["name"])
    if "z_base_rate" in result:
        survives = result[model_of(result).correction.base_rate.map].values != 0
        yield f"{name}_against-base-rate", f"{name}, against the base rate", survives
    for source in INPUTS:
        values = surviving_map(result, source)
        for sign, words in model_of(result).sides.items():
            side = f"_{words.replace(' > ', '-over-')}" if words else ""
            survives = sign * values > 0 if model_of(result).two_sided else values != 0
            yield f"{name}{side}_input-{source}", words_on(words or name, source), survives


def words_on(name: str, source: str) -> str:
    """Return the words on the map of an analysis or direction at an input."""
    return f"{name}, {'at the primary correction' if source == INPUTS[0] else 'uncorrected'}"


def axis_svg(table: pd.DataFrame, axis: str, values: Sequence[str]) -> str:
    """Return as SVG the surviving volume of each analysis along an axis of a sweep; `table` is its long table.

    Cells are dots beside each other, and their median is a line.
    """
    volumes = _volumes(table, axis)
    names = list(dict.fromkeys(volumes["name"]))
    by_value = {key: own["mm3"].to_numpy() for key, own in volumes.groupby(["name", "value"], sort=False)}
    colours = _colours(table)
    blocks = {
        name: (
            colours.get(name.removesuffix(_BASE_RATE).split(" > ")[0], OVERLAP.ramp[0]),
            [by_value.get((name, value), np.empty(0)) for value in values],
        )
        for name in names
    }
    mark = f"{SIMULATED} · " if (table["simulated"] == "yes").any() else ""
    lines = lines_of(f"{mark}surviving volume by {axis}: each cell a dot, the median a line", width=WIDTH - 28, size=15)
    parts, end = strips(blocks, values, y=38.0 + 18 * (len(lines) - 1), unit="mm³")
    alt = f"Surviving volume of {len(names)} analyses in cells with {axis} of {', '.join(values)}."
    return titled(parts, lines=lines, height=round(end), alt=alt)


_BASE_RATE = ", base rate"


def _colours(table: pd.DataFrame) -> dict[str, str]:
    """Return the colour of each main effect, which its contrasts share where it is the greater arm."""
    mains = table.loc[table["kind"] == "main-effect", "analysis"].drop_duplicates()
    return {str(name): HUES[i % len(HUES)].flat for i, name in enumerate(mains)}


def _volumes(table: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Return the volume (mm3) that survives in each cell, analysis and direction: cell, value, name, mm3."""
    main = (table["kind"] == "main-effect") & (table["level"] != "uncorrected")
    contrast = (table["kind"] == "contrast") & (table["level"] == "uncorrected") & (table["input"] == INPUTS[0])
    conjunction = (table["kind"] == "conjunction") & (table["level"] == "thresholded") & (table["input"] == INPUTS[0])
    rows = table[main | contrast | conjunction]
    size: Any = rows["size_mm3"].where(~main.reindex(rows.index) | (rows["survives"] == "yes"), 0.0)
    # Clusters that survive the base rate are counted apart from those that survive the uniform null.
    null = (rows["against"] == "base-rate").fillna(False).map({True: _BASE_RATE, False: ""})
    volumes = pd.DataFrame(
        {
            "cell": rows["out"],
            "value": rows[f"sweep.{axis}"],
            "name": rows["direction"].fillna(rows["analysis"] + null),
            "mm3": size.fillna(0.0).astype(float),
        }
    )
    return volumes.groupby(["cell", "value", "name"], sort=False)["mm3"].sum().reset_index()
