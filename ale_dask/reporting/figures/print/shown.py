"""Choose what a figure for print shows of a result: the voxels of one map, a value of each, and the scale of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import special

from ale_dask.analyses.corrections import CORRECTION_OF
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.config.analysis import INPUTS
from ale_dask.errors import InputError, did_you_mean
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.base_rate_maps import is_base_rate
from ale_dask.reporting.common.maps import LABELS, MapSpec, map_specs_of, pictured_map_specs
from ale_dask.reporting.common.palette import HUES, OVERLAP, hues_of
from ale_dask.reporting.common.wording import correction_of, label

F64 = npt.NDArray[np.float64]
QUANTITIES = {"z": "z", "logp": "−log10 p", "ale": "ALE", "difference": "difference of ALE"}
"""What can be coloured in the voxels of a map, and its name beside the colour bar."""


@dataclass(frozen=True)
class Side:
    """Values of one sign: the sign, what it says in words, and its colours from the threshold to the largest value."""

    sign: int
    words: str
    ramp: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ShownMap:
    """Hold what a figure shows: signed values (voxel), 0 where nothing is shown, clusters as in the table, the scale.

    The colours of absolute values go from `low` to `high`. `mark` says in words what `low` is, "" for a map without a
    threshold, and `quantity` what the values are.
    """

    name: str
    label: str
    mask: Mask
    values: F64
    clusters: list[Cluster]
    sides: tuple[Side, ...]
    low: float
    high: float
    quantity: str
    mark: str
    simulated: bool

    def rgba(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Return the colours (…, 4) from 0 to 1 of values (…); a value of 0 is transparent."""
        colours = np.zeros((*values.shape, 4), dtype=np.float32)
        place = (np.abs(values) - self.low) / (self.high - self.low)
        for side in self.sides:
            shown = side.sign * values > 0
            colours[shown, :3] = ramp_colours(side.ramp, place[shown])
            colours[shown, 3] = 1
        return colours

    def at(self, mm: F64) -> F64:
        """Return the values (point) at positions in mm MNI (point, axis), 0 outside of the mask."""
        voxel = self.mask.voxel_at(mm)
        return np.where(voxel >= 0, self.values[voxel], 0.0)

    def number_at(self, mm: F64) -> npt.NDArray[np.int64]:
        """Return the number of the cluster (point) at positions in mm MNI (point, axis), 0 outside of clusters."""
        number = np.zeros(len(self.values) + 1, dtype=np.int64)
        for cluster in self.clusters:
            number[cluster.voxels] = cluster.number
        # Voxel -1, outside of the mask, is the last.
        return number[self.mask.voxel_at(mm)]

    def turned(self) -> ShownMap:
        """Return the same with colours that are darkest at the largest value, for paper without a brain behind them."""
        return replace(self, sides=tuple(replace(side, ramp=side.ramp[::-1]) for side in self.sides))

    def description(self, what: str) -> str:
        """Return in words what a figure shows of the map, largest clusters first, for captions and for the blind."""
        clusters = sorted(self.clusters, key=lambda c: -len(c.voxels))
        words = []
        for cluster in clusters[:5]:
            x, y, z = (f"{v + 0.0:.0f}" for v in cluster.peak_mm)
            mm3 = len(cluster.voxels) * self.mask.voxel_volume
            words.append(f"{cluster.number} at {x}, {y}, {z} ({mm3:,.0f} mm³)")
        more = f" and {len(clusters) - 5} more" if len(clusters) > 5 else ""
        found = f" Clusters: {'; '.join(words)}{more}." if words else ""
        return f"{what} of {self.name}, {self.label}. Colours show {self.quantity}.{found}"


def ramp_colours(ramp: tuple[str, ...], place: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Return the colours (…, 3) from 0 to 1 at places (…) from 0 to 1 along a ramp."""
    known = np.array([list(bytes.fromhex(colour.removeprefix("#"))) for colour in ramp]) / 255
    at = np.linspace(0, 1, len(known))
    return np.stack([np.interp(place, at, channel) for channel in known.T], axis=-1).astype(np.float32)


def maps_by_name(result: xr.Dataset) -> dict[str, MapSpec]:
    """Return the maps that can be drawn, by each of their names: the level, and the end of the file's name.

    At the input "uncorrected" a level is LEVEL-of-uncorrected. Maps of p and of cluster numbers cannot be drawn.
    """
    drawable = [s for s in map_specs_of(result) if s.units != "p" and not s.level.startswith(LABELS[:-1])]
    levels = {
        f"{s.level}-of-{s.source}" if s.source == INPUTS[1] else s.level: s
        for s in drawable
        if s.level and s.units == "z"
    }
    return levels | {s.suffix: s for s in drawable}


def surviving_maps(result: xr.Dataset) -> dict[str, tuple[MapSpec, bool]]:
    """Return the thresholded maps that can be drawn by name, and whether any voxel survives in each."""
    maps = {name: spec for name, spec in maps_by_name(result).items() if spec.level and name != spec.suffix}
    return {name: (spec, bool(np.nan_to_num(spec.read(result)).any())) for name, spec in maps.items()}


def shown_map(
    result: xr.Dataset, map_name: str = "", values: str = "", *, study: Mapping[str, xr.Dataset] | None = None
) -> ShownMap:
    """Return what is shown of a map of a result; `study` gives each main effect the colour that it has in its report.

    Raises
    ------
    InputError
        when there is no such map or value, or no voxel of the map survives.
    """
    model = model_of(result)
    spec = _spec(result, map_name)
    mapped = np.nan_to_num(spec.read(result).astype(np.float64))
    if not mapped.any():
        raise InputError(
            f"{model.name}, {spec.level or spec.suffix}: no voxel survives, so there is nothing to draw; "
            f"another map (--map, map_name=): {', '.join(maps_by_name(result))}"
        )
    chosen = values or ("difference" if model.kind == "contrast" else "z")
    quantity = QUANTITIES.get(chosen, "")
    if spec.level or values:
        shown = np.where(mapped != 0, _values(result, spec, mapped, chosen), 0.0)
    else:
        shown, quantity = mapped, spec.units
    low, mark = _threshold(result, spec, chosen, shown)
    high = float(np.abs(shown).max())
    return ShownMap(
        name=model.name,
        label=label(result, spec) if spec.level else spec.what,
        mask=model.mask,
        values=shown,
        clusters=model.clusters(mapped, level=spec.level) if spec.level else [],
        sides=_sides(result, shown, study),
        low=low,
        high=high if high > low else low + 1e-9,
        quantity=quantity + _capped(result, spec, chosen, mapped),
        mark=mark,
        simulated=model.simulated,
    )


def _spec(result: xr.Dataset, map_name: str) -> MapSpec:
    if not map_name:
        return pictured_map_specs(result)[0]
    known = maps_by_name(result)
    if map_name not in known:
        raise InputError(
            f"{result.attrs['name']} has no map '{map_name}'{did_you_mean(map_name, known)}; it has {', '.join(known)}"
        )
    return known[map_name]


def _values(result: xr.Dataset, spec: MapSpec, mapped: F64, chosen: str) -> F64:
    """Return the chosen values (voxel) with the signs of the map, whose voxels hold z."""
    kind = model_of(result).kind
    if chosen == "z" and spec.units == "z":
        return mapped
    if chosen == "logp" and spec.units == "z" and kind != "conjunction":
        return np.asarray(np.sign(mapped) * _logp(np.abs(mapped)))
    if chosen == "ale" and kind == "main-effect":
        return np.asarray(result["ale"].values, dtype=np.float64)
    if chosen == "ale" and kind == "conjunction" and spec.source in INPUTS:
        return np.nan_to_num(result["ale_min"].sel(input=spec.source).values.astype(np.float64))
    if chosen == "difference" and kind == "contrast":
        return np.asarray(result["difference"].values, dtype=np.float64)
    known = {"main-effect": "z, logp, ale", "contrast": "difference, z, logp", "conjunction": "z, ale"}.get(
        kind, "z, logp"
    )
    raise InputError(
        f"values '{chosen}'{did_you_mean(chosen, QUANTITIES)}: the map {spec.level or spec.suffix} of "
        f"{result.attrs['name']} has {known}"
    )


def _logp(z: F64) -> F64:
    """Return -log10 of the one-sided p of z."""
    return np.asarray(-special.log_ndtr(-z) / np.log(10))


def _threshold(result: xr.Dataset, spec: MapSpec, chosen: str, shown: F64) -> tuple[float, str]:
    """Return the value at which the colours begin, and what it is in words: the forming p, or the smallest value."""
    if not spec.level:
        return 0.0, ""
    smallest = float(np.abs(shown[shown != 0]).min())
    p = _forming_p(result, spec)
    at = None
    if p is not None and chosen in ("z", "logp"):
        z = -float(special.ndtri(p))
        at = z if chosen == "z" else float(_logp(np.array(z)))
    elif p is not None and chosen == "ale" and model_of(result).kind == "main-effect" and not is_base_rate(spec):
        at = float(result.attrs["threshold_ale"])
    # Values are float32: the smallest that is shown can lie a rounding below its threshold.
    if at is None or at > smallest * (1 + 1e-6):
        return smallest, "smallest value shown"
    return at, f"p < {p:g}"


def _forming_p(result: xr.Dataset, spec: MapSpec) -> float | None:
    """Return the uncorrected p that every voxel of a map is below; None where the map's threshold is another one."""
    model, i = model_of(result), model_of(result).inference
    if model.kind in ("contrast", "moderator"):
        return {"uncorrected": i.contrast_p, "size-fwe": i.voxel_p, "mass-fwe": i.voxel_p}.get(spec.level)
    if model.kind == "conjunction":
        formed = spec.source == "uncorrected" or (spec.source == INPUTS[0] and model.correction.of_clusters)
        return i.voxel_p if formed else None
    level = correction_of(spec)
    formed = level == "uncorrected" or (level in CORRECTION_OF and CORRECTION_OF[level].of_clusters)
    return i.voxel_p if formed else None


def _capped(result: xr.Dataset, spec: MapSpec, chosen: str, mapped: F64) -> str:
    """Return ", at most …" where permutations limit the z that a result can have; "" elsewhere."""
    model = model_of(result)
    if model.kind not in ("contrast", "moderator") or chosen not in ("z", "logp") or not spec.level:
        return ""
    attrs = result.attrs
    n = int(attrs["iterations"])
    least = 1 / n if attrs["enumerated"] or model.inference.relabel_p == "share" else 1 / (1 + n)
    most = -float(special.ndtri(least))
    of = np.abs(mapped[mapped != 0])
    capped = float((of > most - 1e-4).mean())
    limit = most if chosen == "z" else -np.log10(least)
    reached = f"; {100 * capped:.0f} % of voxels have it" if capped else ""
    what = "relabellings" if model.kind == "contrast" else "permutations"
    return f" (at most {limit:.2f} of {n:,} {what}{reached})"


def _sides(result: xr.Dataset, shown: F64, study: Mapping[str, xr.Dataset] | None) -> tuple[Side, ...]:
    """Return each side that has a value, in the colours of the arms, of the main effect, or of what maps share."""
    model = model_of(result)
    known = hues_of(study or {})
    hues = [known.get(name, HUES[k % len(HUES)]) for k, name in enumerate(model.parts)]
    if not model.two_sided:
        hue = hues[0] if len(hues) == 1 else OVERLAP
        return (Side(1, model.directions[0], hue.ramp),)
    # A moderator is of one main effect: below 0 it has a colour of none.
    pairs = zip(model.sides.items(), (*hues, OVERLAP), strict=False)
    return tuple(Side(sign, words, hue.ramp) for (sign, words), hue in pairs if (sign * shown > 0).any())
