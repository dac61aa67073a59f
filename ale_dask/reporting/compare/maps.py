"""How far the unthresholded maps of two runs agree, and what was set or came out differently."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.findings.clusters import grid_of
from ale_dask.analyses.main_effect import inference_of
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.wording import setting

MAPS = ("analysis", "kind", "map", "largest_difference", "x", "y", "z", "value_1", "value_2", "correlation")
SETTINGS = ("analysis", "setting", "value_1", "value_2")
_UNTHRESHOLDED = {
    "main-effect": {"ALE": "ale", "z": "z", "z against the base rate": "z_base_rate"},
    "contrast": {"difference of ALE": "difference"},
    "conjunction": {"minimum z": "z_min_unthresholded"},
}
_NUMBERS = ("iterations", "n_experiments", "n_foci", "n_subjects", "threshold_ale", "cut_size", "cut_mass", "cut_ale")


def differing_maps(a: xr.Dataset, b: xr.Dataset) -> Iterator[dict[str, Any]]:
    """Yield a row for each unthresholded map of two results: where they differ most, and their correlation."""
    mask: Mask = grid_of(a)
    for words, variable in _UNTHRESHOLDED[a.attrs["kind"]].items():
        if variable not in a or variable not in b:
            continue
        first, second = (r[variable].values.astype(np.float64) for r in (a, b))
        # z is -inf where p is 1.
        kept = np.flatnonzero(np.isfinite(first) & np.isfinite(second))
        if not len(kept):
            continue
        at = int(kept[np.argmax(np.abs(second[kept] - first[kept]))])
        x, y, z = mask.to_mm(mask.voxel_ijk[at]).tolist()
        yield {
            "map": words,
            "largest_difference": second[at] - first[at],
            "x": x,
            "y": y,
            "z": z,
            "value_1": first[at],
            "value_2": second[at],
            "correlation": _correlation(first[kept], second[kept]),
        }


def _correlation(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return np.nan
    return float(np.corrcoef(first, second)[0, 1])


def differing_settings(
    pairs: Mapping[str, tuple[xr.Dataset, xr.Dataset]],
    records: tuple[Mapping[str, Any], Mapping[str, Any]] | None,
) -> list[dict[str, str]]:
    """Return a row for each setting, input or threshold that is not the same; analysis "" where it is so in all."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for name, (a, b) in pairs.items():
        for key, values in _differing(_told(a), _told(b)):
            found.setdefault((key, *values), []).append(name)
    rows = []
    if records is not None:
        first, second = ({**record["program"], "simulated": record["simulated"]} for record in records)
        rows = [("", f"program {key}", *values) for key, values in _differing(first, second)]
    for (key, one, other), names in found.items():
        rows += [(name, key, one, other) for name in ([""] if len(names) == len(pairs) else names)]
    return [dict(zip(SETTINGS, row, strict=True)) for row in rows]


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    for key in dict.fromkeys((*first, *second)):
        one, other = first.get(key), second.get(key)
        if one != other:
            yield key, (_text(one), _text(other))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _told(result: xr.Dataset) -> dict[str, Any]:
    """Return the settings, inputs and thresholds of a result; the mask is the same, and paths may be private."""
    told = {k: v for k, v in inference_of(result).model_dump().items() if k not in ("mask", "search", "base_rate")}
    for key in ("search", "base_rate"):
        told[key] = " ".join(str(result.attrs.get(name, "")) for name in (key, f"{key}_sha256")).strip()
    cuts = (f"base_rate_cut_{what}" for what in ("size", "mass", "peak"))
    told |= {key: setting(result, key) for key in cuts if key in result.attrs}
    told |= {key: setting(result, key) for key in _NUMBERS if key in result.attrs}
    told |= {key: ", ".join(map(str, result.attrs[key])) for key in ("arms", "of") if key in result.attrs}
    listed = json.loads(result.attrs.get("sources", "[]"))
    if listed:
        told["files"] = ", ".join(sorted(f"sha256 {source['sha256'][:12]}" for source in listed))
    return told
