"""Export results as files of other programs: NiMARE, GingerALE, NeuroVault, Neurosynth Compose, or CSV tables."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy import special

from ale_dask.analyses.findings.model import Results, by_name, is_simulated, model_of, with_origin
from ale_dask.config.analysis import INPUTS
from ale_dask.coordinates.foci import foci_of
from ale_dask.coordinates.readers import write_table
from ale_dask.coordinates.spreadsheet_cells import escaped
from ale_dask.errors import InputError
from ale_dask.numerics.correct import monte_carlo_p
from ale_dask.reporting.common.map_files import SIMULATED, File, image_bytes
from ale_dask.reporting.common.maps import find_map_spec, map_specs_of, stem
from ale_dask.reporting.common.presentation import presentation_of
from ale_dask.reporting.export.compose import compose_files
from ale_dask.reporting.export.gingerale import gingerale_files
from ale_dask.reporting.export.neurovault import neurovault_files
from ale_dask.reporting.tables.contributions import contribution_table
from ale_dask.reporting.tables.study import cluster_tables, study_table
from ale_dask.schema import FOCI, check
from ale_dask.storage.location import replace_file

F64 = npt.NDArray[np.float64]
_MC = "corr-FWE_method-montecarlo"
_DIFF = "desc-group1MinusGroup2"
_LEVELS = {"level-voxel": "voxel", "desc-size_level-cluster": "size", "desc-mass_level-cluster": "mass"}
_ENDS = {"cluster-fwe": "", "uncorrected": "_uncorrected"}


def export(results: Results, folder: str | Path, *, to: str, simulated: bool = False) -> list[Path]:
    """Write results as files of another program into a folder and return their paths.

    Parameters
    ----------
    results
        A result, several, or results by name.
    folder
        Folder of the files.
    to
        Another program or format. "nimare": per analysis, the maps that NiMARE 0.22 saves, under their names and with
        their content, and of each main effect the foci as a Dataset in JSON. Maps `…_corr-FWE_…` hold corrected p and
        z and are not thresholded: a voxel has the p and z of its cluster, or p 1 and z 0 outside all clusters.
        "gingerale": ALE, P and Z images, thresholded ALE and cluster labels, Sleuth text and cluster tables.
        "neurovault": every unthresholded map, and the fields that NeuroVault's API asks of a collection and its images.
        "csv": every table with numbers unrounded, and the foci as a table that `read_foci` reads.
        "compose": per main effect, the documents of a meta-analysis of Neurosynth Compose (specification, snapshots of
        study set and annotation, result) with the maps, tables and description that its runner uploads.
    simulated
        Whether every file is marked as of simulated data.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    InputError
        For another program, and when two files would have one name; nothing is written then.
    StoreError
        When a file cannot be written.

    Examples
    --------
    >>> result = ale.main_effect(ale.read_foci("drug.txt"), name="drug", mask="ball.nii.gz", iterations=60, seed=1)
    >>> [path.name for path in ale.export(result, "csv", to="csv")][-1]
    'study_results.csv'
    """
    check_program(to)
    files = PROGRAMS[to](with_origin(by_name(results), simulated=simulated))
    seen: set[str] = set()
    for name, _ in files:
        # Some file systems do not distinguish upper from lower case.
        if name.lower() in seen:
            raise InputError(f"export to {to}: two analyses would both write {name}; rename one")
        seen.add(name.lower())
    paths = []
    for name, content in files:
        path = Path(folder) / name
        replace_file(path, content())
        paths.append(path)
    return paths


def check_program(to: str, *, further: Sequence[str] = ()) -> None:
    """Check that a program can be exported to; `further` names what the caller knows besides.

    Raises
    ------
    InputError
        if not.
    """
    if to not in PROGRAMS:
        raise InputError(f"export to '{to}': not known; give one of {', '.join((*PROGRAMS, *further))}")


def nimare_files(results: Mapping[str, xr.Dataset]) -> list[File]:
    """Return the files of a NiMARE export: maps, and a Dataset in JSON per main effect."""
    files: list[File] = []
    for name, result in results.items():
        base = f"{stem(name)}/{stem(name)}"
        for suffix, read in _nimare_maps(result).items():
            files.append((f"{base}_{suffix}.nii.gz", _map(result, read, suffix)))
        if model_of(result).kind == "main-effect":
            files.append((f"{base}_dataset.json", partial(_encoded, nimare_dataset, result)))
    return files


def _map(result: xr.Dataset, read: Callable[[], npt.NDArray[Any]], suffix: str) -> Callable[[], bytes]:
    # A p of 0 outside the mask would be the smallest of all; NiMARE fills with 1.
    fill = 1 if suffix.startswith("p") else 0
    dtype = np.int16 if suffix.startswith("label") else np.float32
    model = model_of(result)
    return lambda: image_bytes(read().astype(dtype), mask=model.mask, fill=fill, simulated=model.simulated)


def _nimare_maps(result: xr.Dataset) -> dict[str, Callable[[], npt.NDArray[Any]]]:
    own = presentation_of(result).nimare
    return {v.suffix: partial(v.read, result) for v in map_specs_of(result)} if own is None else own(result)


def contrast_maps(result: xr.Dataset) -> dict[str, Callable[[], npt.NDArray[Any]]]:
    """Return the maps of a contrast as NiMARE has them, with two-sided p, by the ends of their file names."""
    return {
        f"stat_{_DIFF}": lambda: result["difference"].values,
        f"p_{_DIFF}": lambda: two_sided(result)[0],
        f"z_{_DIFF}": lambda: two_sided(result)[1],
        f"logp_{_DIFF}": lambda: _logp(two_sided(result)[0]),
    }


def main_effect_maps(result: xr.Dataset) -> dict[str, Callable[[], npt.NDArray[Any]]]:
    """Return the maps of a main effect as NiMARE has them, with corrected p, by the ends of their file names."""
    label = find_map_spec(result, level="label")
    maps: dict[str, Callable[[], npt.NDArray[Any]]] = {
        "stat": lambda: result["ale"].values,
        "p": lambda: 10.0 ** -result["logp"].values.astype(np.float64),
        "logp": lambda: result["logp"].values,
        "z": lambda: np.maximum(result["z"].values, 0),
        label.suffix: partial(label.read, result),
    }
    for level, statistic in _LEVELS.items():
        maps[f"logp_{level}_{_MC}"] = partial(_corrected, result, statistic, _logp)
        maps[f"z_{level}_{_MC}"] = partial(_corrected, result, statistic, _z)
    return maps


def _corrected(result: xr.Dataset, statistic: str, from_p: Callable[[F64], F64]) -> F64:
    return from_p(corrected_p(result, statistic))


def _encoded(make: Callable[[xr.Dataset], str], result: xr.Dataset) -> bytes:
    return make(result).encode()


def corrected_p(result: xr.Dataset, statistic: str) -> F64:
    """Return the family-wise p (voxel) of a main effect, by the largest "voxel" ALE, cluster "size" or "mass"."""
    if statistic == "voxel":
        null = result["null"].sel(statistic="max_s").values
        return monte_carlo_p(null, result["s"].values, rule=model_of(result).inference.cluster_cut)
    p_by_label = np.r_[1.0, result[f"cluster_{statistic}_p"].values.astype(np.float64)]
    return np.asarray(p_by_label[result["cluster_of_voxel"].values])


def two_sided(result: xr.Dataset) -> tuple[F64, F64]:
    """Return the two-sided p and the signed z (voxel) of a contrast; 1 and 0 where it was not tested."""
    greater, less = (result[f"p_{side}"].values.astype(np.float64) for side in ("greater", "less"))
    p = np.minimum(1.0, 2 * np.fmin(greater, less))
    p = np.where(np.isnan(p), 1.0, p)
    return p, np.where(np.nan_to_num(less, nan=1) < np.nan_to_num(greater, nan=1), -1, 1) * _z(p / 2)


def _z(p: F64) -> F64:
    return np.asarray(np.maximum(-special.ndtri(p), 0))


def _logp(p: F64) -> F64:
    return np.maximum(-np.log10(p), 0)


def nimare_dataset(result: xr.Dataset) -> str:
    """Return the foci of a main effect in mm MNI as a Dataset of NiMARE in JSON: studies and their contrasts.

    Tags become labels of 0 or 1, moderators metadata; an experiment without a name of its contrast has the contrast
    "1".
    """
    studies: dict[str, dict[str, Any]] = {}
    tags = [str(t) for t in result["tag"].values] if "experiment_tag" in result else []
    for i, (study, contrast, n, xyz) in enumerate(_experiments(result)):
        moderators = {
            str(v).removeprefix("moderator_"): _json(result[v].values[i])
            for v in result.data_vars
            if str(v).startswith("moderator_")
        }
        entry: dict[str, Any] = {"metadata": {**moderators, **({"sample_sizes": [n]} if n else {})}}
        if len(xyz):
            entry["coords"] = {"space": "MNI", **{axis: xyz[:, k].tolist() for k, axis in enumerate("xyz")}}
        if tags:
            entry["labels"] = dict(zip(tags, result["experiment_tag"].values[i].astype(float).tolist(), strict=True))
        contrasts = studies.setdefault(study, {"contrasts": {}})["contrasts"]
        key = contrast or "1"
        while key in contrasts:
            key += "'"
        contrasts[key] = entry
    if is_simulated(result):
        for each in studies.values():
            each["metadata"] = {"note": SIMULATED}
    return json.dumps(studies, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _json(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return str(value)


def _experiments(result: xr.Dataset) -> Iterator[tuple[str, str, int, F64]]:
    """Yield study, contrast ("" if its name has none), sample size and foci in mm MNI of each experiment."""
    check(result, *FOCI)
    ids, studies = (result[f"experiment_{what}"].values for what in ("id", "study"))
    for id_, study, n, xyz in zip(ids, studies, result["experiment_n_subjects"].values, foci_of(result), strict=True):
        begin = f"{study}; "
        split = bool(study) and str(id_).startswith(begin)
        yield str(study) if split else str(id_), str(id_)[len(begin) :] if split else "", int(n), xyz


def csv_files(results: Mapping[str, xr.Dataset]) -> list[File]:
    """Return the files of a CSV export: the tables of every analysis, of the study, and the foci of main effects."""
    files: list[File] = []
    simulated = is_simulated(*results.values())

    def add(name: str, make: Callable[[], pd.DataFrame]) -> None:
        def content() -> bytes:
            table = make()
            table = table.assign(simulated="yes") if simulated else table
            return str(escaped(table).to_csv(index=False, lineterminator="\n")).encode()

        files.append((f"{name}.csv", content))

    for name, result in results.items():
        base = stem(name)
        for suffix, table in cluster_tables(result).items():
            add(f"{base}/{base}_clusters{suffix}", partial(pd.DataFrame.copy, table))
        if set(model_of(result).parts) <= set(results):
            for source in INPUTS:
                make = partial(contribution_table, result, results, source=source)
                add(f"{base}/{base}_contributions{_ENDS[source]}", make)
        if model_of(result).kind == "main-effect":
            # Made now, so that a value which no table can hold is refused before any file is written.
            files.append((f"{base}/{base}_foci.csv", partial(bytes, foci_csv(result))))
    add("study_results", lambda: study_table(results))
    return files


def foci_csv(result: xr.Dataset) -> bytes:
    """Return the foci of a main effect as a table with a row per focus, as `write_foci` writes it.

    Raises
    ------
    InputError
        for a column or a value that a table cannot hold.
    """
    # Ids are unique and contain the column "contrast".
    foci = result.drop_vars("moderator_contrast", errors="ignore").assign(experiment_name=result["experiment_id"])
    if is_simulated(result):
        foci["moderator_simulated"] = xr.full_like(foci["experiment_id"], "yes")
    return write_table(foci).encode()


def for_compose(results: Mapping[str, xr.Dataset]) -> list[File]:
    """Return the files of an export to Neurosynth Compose, with the maps that NiMARE saves of each main effect."""
    maps = {
        name: [(f"{suffix}.nii.gz", _map(result, read, suffix)) for suffix, read in main_effect_maps(result).items()]
        for name, result in results.items()
        if model_of(result).kind == "main-effect"
    }
    # Its runner uploads no maps of labels.
    shown = {name: [each for each in of if not each[0].startswith("label_")] for name, of in maps.items()}
    return compose_files(results, shown)


PROGRAMS: dict[str, Callable[[Mapping[str, xr.Dataset]], list[File]]] = {
    "nimare": nimare_files,
    "gingerale": gingerale_files,
    "neurovault": neurovault_files,
    "csv": csv_files,
    "compose": for_compose,
}
