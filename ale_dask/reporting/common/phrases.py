"""Write numbers and lists in words, and look up entries of a run's record."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from ale_dask.config.inference import EARLIER, Inference
from ale_dask.config.run_record import RunRecord


def inference_of_record(record: RunRecord) -> Inference:
    """Return the settings that a record holds."""
    values = {**EARLIER, **record["inference"]}
    return Inference.model_validate({name: values[name] for name in Inference.model_fields})


def of_kind(record: RunRecord, kind: str) -> dict[str, Any]:
    """Return the record's entries of one kind of analysis by name."""
    return {name: entry for name, entry in record["analyses"].items() if entry["kind"] == kind}


def mains_of(record: RunRecord) -> dict[str, Any]:
    """Return the record's main effects by name, without those pooled for a contrast."""
    return {n: e for n, e in of_kind(record, "main-effect").items() if "pooled_for" not in e}


def knows_n(record: RunRecord, *, used: bool) -> bool:
    """Return whether every experiment that was read, or only `used` in an analysis, has a sample size."""
    # An analysis needs no sample sizes only if its kernel has a fixed width.
    return (used and record["inference"]["fwhm"] is None) or not any(
        s["without_n"] and not s["n"] for s in record["samples"].values()
    )


def volume(i: Inference, record: RunRecord) -> str:
    """Return the minimum volume in mm³ and whole voxels."""
    return f"{i.min_volume:g} mm³ ({counted(i.min_voxels(voxel_mm3(record)), 'voxel')})"


def voxel_mm3(record: RunRecord) -> float:
    """Return the volume of one voxel in mm³."""
    return float(math.prod(record["inference"]["mask_voxel_mm"]))


def volume_at(mm3: float, place: Sequence[float]) -> str:
    """Return a volume and a position in mm in words: "8,344 mm³ at -52, 28, 8"."""
    return f"{mm3:,.0f} mm³ at {', '.join(f'{round(v, 1) + 0.0:g}' for v in place)}"


def decimal(value: float) -> str:
    """Return a number as decimals, however small."""
    return f"{Decimal(f'{value:g}'):f}"


def in_instalments(record: RunRecord) -> bool:
    """Return whether iterations of a main effect were added to earlier ones, as `extend` does."""
    return any(len(entry["segments"]) > 1 for entry in mains_of(record).values())


def counted(number: int, word: str) -> str:
    """Return a number with its noun."""
    plural = {"focus": "foci", "study": "studies"}.get(word, f"{word}s")
    return f"{number:,} {word if number == 1 else plural}"


def listed(words: Iterable[str]) -> str:
    """Return words joined by commas and "and"."""
    *first, last = list(words)
    return f"{', '.join(first)} and {last}" if first else last


def plain(text: str) -> str:
    """Return a text on one line."""
    return re.sub(r"\s+", " ", text).strip()
