"""Compare the unthresholded maps of two runs, and their settings, inputs and thresholds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.findings.model import model_of
from ale_dask.config.inference import IMAGES
from ale_dask.config.run_record import RunRecord
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.presentation import presentation_of
from ale_dask.reporting.common.wording import setting

MAP_COLUMNS = ("analysis", "kind", "map", "largest_difference", "x", "y", "z", "value_1", "value_2", "correlation")
SETTING_COLUMNS = ("analysis", "setting", "value_1", "value_2")
_NUMBERS = ("iterations", "n_experiments", "n_foci", "n_subjects", "threshold_ale", "cut_size", "cut_mass", "cut_ale")


def differing_maps(a: xr.Dataset, b: xr.Dataset) -> Iterator[dict[str, Any]]:
    """Yield a row for each unthresholded map of two results: the largest difference, its place, and the correlation."""
    mask: Mask = model_of(a).mask
    for words, variable in presentation_of(a).compared.items():
        if variable not in a or variable not in b:
            continue
        first, second = (r[variable].values.astype(np.float64) for r in (a, b))
        # z is -inf where p is 1.
        finite = np.flatnonzero(np.isfinite(first) & np.isfinite(second))
        if not len(finite):
            continue
        at = int(finite[np.argmax(np.abs(second[finite] - first[finite]))])
        x, y, z = mask.to_mm(mask.voxel_ijk[at]).tolist()
        yield {
            "map": words,
            "largest_difference": second[at] - first[at],
            "x": x,
            "y": y,
            "z": z,
            "value_1": first[at],
            "value_2": second[at],
            "correlation": _correlation(first[finite], second[finite]),
        }


def _correlation(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return np.nan
    return float(np.corrcoef(first, second)[0, 1])


def differing_settings(
    pairs: Mapping[str, tuple[xr.Dataset, xr.Dataset]],
    records: tuple[RunRecord, RunRecord] | None,
) -> list[dict[str, str]]:
    """Return a row for each setting, input or threshold that differs; its analysis is "" where it differs in all."""
    names_by_difference: dict[tuple[str, str, str], list[str]] = {}
    for name, (a, b) in pairs.items():
        for key, values in _differing(_settings(a), _settings(b)):
            names_by_difference.setdefault((key, *values), []).append(name)
    rows = []
    if records is not None:
        first, second = ({**record["program"], "simulated": record["simulated"]} for record in records)
        rows = [("", f"program {key}", *values) for key, values in _differing(first, second)]
    for (key, value_1, value_2), names in names_by_difference.items():
        rows += [(name, key, value_1, value_2) for name in ([""] if len(names) == len(pairs) else names)]
    return [dict(zip(SETTING_COLUMNS, row, strict=True)) for row in rows]


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    for key in dict.fromkeys((*first, *second)):
        if first.get(key) != second.get(key):
            yield key, (_text(first.get(key)), _text(second.get(key)))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _settings(result: xr.Dataset) -> dict[str, Any]:
    """Return the settings, inputs and thresholds of a result.

    Without the mask, which both runs share, and without paths, which may be private.
    """
    settings = {k: v for k, v in model_of(result).inference.model_dump().items() if k not in IMAGES}
    for key in ("search", "base_rate"):
        settings[key] = " ".join(str(result.attrs.get(name, "")) for name in (key, f"{key}_sha256")).strip()
    cuts = (f"base_rate_cut_{what}" for what in ("size", "mass", "peak"))
    settings |= {key: setting(result, key) for key in cuts if key in result.attrs}
    settings |= {key: setting(result, key) for key in _NUMBERS if key in result.attrs}
    settings |= {key: ", ".join(map(str, result.attrs[key])) for key in ("arms", "of") if key in result.attrs}
    sources = json.loads(result.attrs.get("sources", "[]"))
    if sources:
        settings["files"] = ", ".join(sorted(f"sha256 {source['sha256'][:12]}" for source in sources))
    return settings
