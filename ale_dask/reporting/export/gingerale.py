"""Write results as files of GingerALE: NAME_ALE.nii, NAME_p001_C05_10k_clust.nii …, Sleuth text, cluster tables.

Names are GingerALE's where its own files could be seen: NAME_p001_C05_1k_clust.nii, A-B_10k-p05_clust.nii and
A_conj_B_clust.nii are in alexenge/snl_2022, and scripts hand NAME_…_C…_ALE.nii to its getClustersStats. Maps for which
GingerALE 2 and 3 have no name (mass, TFCE, a thresholded Z map) are named in their manner.

The table of clusters follows BrainMap's description of GingerALE's (brainmap.org/meta/clusters.html): volume, centre of
mass and every maximum of each cluster, with labels of the Talairach Daemon, here at the peak. Columns and wording of
GingerALE's own table are not confirmed: no such table, and no program that reads one, was found. Ours is a
tab-separated text for a spreadsheet, one row per maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy import special

from ale_dask.analyses.corrections import CORRECTION_OF
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.config.analysis import INPUTS
from ale_dask.coordinates.readers.sleuth import write_sleuth
from ale_dask.coordinates.spreadsheet_cells import escaped
from ale_dask.reporting.common.map_files import MNI152, SIMULATED, File, to_volume
from ale_dask.reporting.common.maps import find_map_spec, main_clusters, stem
from ale_dask.reporting.common.presentation import presentation_of
from ale_dask.reporting.tables.clusters import cluster_table
from ale_dask.reporting.tables.comparisons import conjunction_table, contrast_table
from ale_dask.reporting.tables.contributions import contribution_table

COLUMNS = (
    "Cluster #",
    "Volume (mm^3)",
    *(f"Weighted Center ({axis})" for axis in "xyz"),
    "Extrema Value",
    *"xyz",
    "P",
    "Z",
    "Label",
    "Contributors",
)
Values = npt.NDArray[Any]


def gingerale_files(results: Mapping[str, xr.Dataset]) -> list[File]:
    """Return the files of a GingerALE export: images (.nii), Sleuth text and cluster tables (.txt), in one folder.

    The thresholded contrasts are those at the corrected input, uncorrected as GingerALE's are, each direction by
    itself; conjunctions those at the corrected input.
    """
    files: list[File] = []
    for name, result in results.items():
        files += presentation_of(result).gingerale(name, result, results)
    return files


def threshold_name(result: xr.Dataset, *, source: str) -> str:
    """Return how GingerALE names a main effect's threshold: "p001_C05_10k", or "p001" for "uncorrected"."""
    i = model_of(result).inference
    forming = f"p{_digits(i.voxel_p)}"
    if source == "uncorrected":
        return forming
    level = (
        f"{CORRECTION_OF[i.correction].gingerale}{_digits(i.cluster_p)}_{_thousands(int(result.attrs['iterations']))}"
    )
    return f"{forming}_{level}" if CORRECTION_OF[i.correction].of_clusters else level


def _digits(p: float) -> str:
    return np.format_float_positional(p, trim="-").removeprefix("0.")


def _thousands(n: int) -> str:
    return f"{n // 1000}k" if n and n % 1000 == 0 else str(n)


def main_effect_files(name: str, result: xr.Dataset, results: Mapping[str, xr.Dataset]) -> list[File]:
    """Return the files of a main effect: Sleuth text, images, and at each input the clusters."""
    base = stem(name)
    # A remark in the text itself would become part of the next experiment's name.
    foci = f"{base}_simulated.txt" if model_of(result).simulated else f"{base}.txt"
    files: list[File] = [
        (foci, lambda: write_sleuth(result).encode()),
        (f"{base}_ALE.nii", _image(result, lambda: result["ale"].values, "ALE Image")),
        (f"{base}_P.nii", _image(result, lambda: _p(result), "P Image", fill=1)),
        (f"{base}_Z.nii", _image(result, lambda: np.maximum(result["z"].values, 0), "Z Image")),
    ]
    for source in INPUTS:

        def labels(source: str = source) -> Values:
            return _numbered(result, main_clusters(result, source=source))

        def thresholded_ale(labels: Callable[[], Values] = labels) -> Values:
            return np.where(labels() > 0, result["ale"].values, 0)

        thresholded = f"{base}_{threshold_name(result, source=source)}"
        table = _table(partial(cluster_table, result, source=source), "Peak ALE", result, results, source)
        files += _thresholded(thresholded, result, {"ALE": thresholded_ale}, labels, table)
    return files


def _p(result: xr.Dataset) -> Values:
    return np.asarray(10.0 ** -result["logp"].values.astype(np.float64))


def contrast_files(name: str, result: xr.Dataset, results: Mapping[str, xr.Dataset]) -> list[File]:
    """Return the files of both directions of a contrast at the corrected input."""
    i, source = model_of(result).inference, INPUTS[0]
    arms = [stem(str(arm)) for arm in result.attrs["arms"]]
    spec = find_map_spec(result, level="uncorrected", source=source)
    files: list[File] = []
    for sign, side, (first, second) in ((1, "greater", arms), (-1, "less", arms[::-1])):

        def values(sign: int = sign) -> Values:
            return np.asarray(np.maximum(sign * spec.read(result), 0))

        def p(side: str = side) -> Values:
            return np.asarray(np.nan_to_num(result[f"p_{side}"].values, nan=1))

        def difference(values: Callable[[], Values] = values, sign: int = sign) -> Values:
            return np.where(values() > 0, sign * result["difference"].values, 0)

        def labels(values: Callable[[], Values] = values) -> Values:
            return _numbered(result, model_of(result).clusters(values()))

        def table(sign: int = sign) -> pd.DataFrame:
            both: pd.DataFrame = contrast_table(result, source=source)
            clusters: pd.DataFrame = both.loc[np.sign(both["Peak Stat"]) == sign].copy()
            # Numbered as in the label image, which holds this direction alone.
            clusters["Cluster ID"] = [str(k) for k in range(1, len(clusters) + 1)]
            clusters["Peak Difference"] *= sign
            clusters["Peak Stat"] *= sign
            return clusters

        base = f"{first}-{second}"
        thresholded = f"{base}_{_thousands(int(result.attrs['iterations']))}-p{_digits(i.contrast_p)}"
        files.append((f"{base}_P.nii", _image(result, p, "P Image", fill=1)))
        text = _table(table, "Peak Difference", result, {}, source)
        files += _thresholded(thresholded, result, {"ALE": difference, "Z": values}, labels, text)
    return files


def conjunction_files(name: str, result: xr.Dataset, results: Mapping[str, xr.Dataset]) -> list[File]:
    """Return the files of a conjunction at the corrected input."""
    source = INPUTS[0]
    base = "_conj_".join(stem(str(part)) for part in result.attrs["of"])

    def smallest_ale() -> Values:
        return np.asarray(result["ale_min"].sel(input=source).values)

    def labels() -> Values:
        return _numbered(result, model_of(result).clusters(result["z_min"].sel(input=source).values))

    table = _table(lambda: conjunction_table(result, source=source), "Peak ALE", result, results, source)
    return _thresholded(base, result, {"ALE": smallest_ale}, labels, table)


def _thresholded(
    base: str,
    result: xr.Dataset,
    maps: Mapping[str, Callable[[], Values]],
    labels: Callable[[], Values],
    table: Callable[[], bytes],
) -> list[File]:
    images = [(f"{base}_{name}.nii", _image(result, read, f"{name} Image")) for name, read in maps.items()]
    clusters = _image(result, labels, "Cluster Image", intent="Clusters", dtype=np.int32)
    return [*images, (f"{base}_clust.nii", clusters), (f"{base}_clust.txt", table)]


def _numbered(result: xr.Dataset, clusters: list[Cluster]) -> Values:
    labels = np.zeros(result.sizes["voxel"], dtype=np.int32)
    for cluster in clusters:
        labels[cluster.voxels] = cluster.number
    return labels


def _image(
    result: xr.Dataset,
    read: Callable[[], Values],
    title: str,
    *,
    fill: float = 0,
    intent: str = "",
    dtype: type = np.float32,
) -> Callable[[], bytes]:
    def content() -> bytes:
        mask = model_of(result).mask
        image = nib.Nifti1Image(to_volume(read().astype(dtype), mask=mask, fill=fill), mask.affine)
        image.set_sform(mask.affine, code=MNI152)
        image.set_qform(mask.affine, code=MNI152)
        image.header.set_xyzt_units("mm")
        image.header["descrip"] = f"ale_dask {title} {SIMULATED if model_of(result).simulated else ''}".strip().encode()
        image.header["intent_name"] = intent.encode()
        return bytes(image.to_bytes())

    return content


def _table(
    make: Callable[[], pd.DataFrame],
    extrema: str,
    result: xr.Dataset,
    results: Mapping[str, xr.Dataset],
    source: str,
) -> Callable[[], bytes]:
    def content() -> bytes:
        contributors = _contributors(result, results, source)
        rows = [_row(row, extrema, contributors) for row in make().to_dict("records")]
        text = escaped(pd.DataFrame(rows, columns=list(COLUMNS))).to_csv(sep="\t", index=False, lineterminator="\n")
        return ((f"// {SIMULATED}\n" if model_of(result).simulated else "") + str(text)).encode()

    return content


def _row(row: Mapping[Any, Any], extrema: str, contributors: Mapping[str, str]) -> dict[str, str]:
    number = str(row["Cluster ID"])
    peak = number.isdigit()
    z = float(row["Peak Stat"])
    p = float(row["p"]) if "p" in row else float(special.ndtr(-z))
    values: dict[str, str] = {
        "Cluster #": number.rstrip("abc"),
        "Extrema Value": f"{row[extrema]:.6g}",
        **{axis: f"{row[axis.upper()] + 0.0:.6g}" for axis in "xyz"},
        "P": f"{p:.4g}",
        "Z": f"{z:.4f}",
        "Label": ". ".join(v for v in map(row.get, ("Gyrus", "Brodmann Area", "Nucleus")) if isinstance(v, str) and v),
        "Contributors": contributors.get(number, "") if peak else "",
    }
    if peak:
        values["Volume (mm^3)"] = f"{row['Cluster Size (mm3)']:g}"
        values |= {f"Weighted Center ({axis})": f"{row[f'Center {axis.upper()}'] + 0.0:.1f}" for axis in "xyz"}
    return values


def _contributors(result: xr.Dataset, results: Mapping[str, xr.Dataset], source: str) -> dict[str, str]:
    """Return by cluster number the experiments with foci inside, and how many; none for a contrast, as in GingerALE."""
    if not set(model_of(result).parts) <= set(results):
        return {}
    by_cluster: dict[str, list[str]] = {}
    for row in contribution_table(result, results, source=source).to_dict("records"):
        if row["Foci"]:
            foci = "focus" if row["Foci"] == 1 else "foci"
            by_cluster.setdefault(str(row["Cluster ID"]), []).append(f"{row['Foci']} {foci} from {row['Experiment']}")
    return {number: "; ".join(each) for number, each in by_cluster.items()}
