"""What a design can find, as a table and in a line."""

from __future__ import annotations

import pandas as pd
import xarray as xr

from ale_dask.analyses.sensitivity.power import BESIDE, OF_BASE_RATE, PER_ARM
from ale_dask.reporting.common.wording import detectable, price

POWER = ("Experiments", "Prevalence (%)", "Power (%)", "Low (%)", "High (%)")
_VALUES = ("power", "power_low", "power_high")


def power_table(curve: xr.Dataset) -> pd.DataFrame:
    """Return the power of a main effect's design by how many experiments report a place, with its 95 % interval.

    Of the null that decides what is found; with both, that against the base rate has columns of its own.
    """
    columns = (curve["reporting"], *(100 * curve[name] for name in ("prevalence", *_VALUES)))
    table = pd.DataFrame({name: column.values for name, column in zip(POWER, columns, strict=True)})
    if f"power{BESIDE}" in curve:
        beside = {
            f"{name.removesuffix(' (%)')} Base Rate (%)": 100 * curve[f"{value}{BESIDE}"].values
            for name, value in zip(POWER[2:], _VALUES, strict=True)
        }
        table = table.assign(**beside)
    return table


def power_line(curve: xr.Dataset) -> str:
    """Return in a line how many experiments must report a place for a power, and what the base rate costs."""
    attrs = curve.attrs
    each = {key: [attrs[key]] for key in (*PER_ARM, *OF_BASE_RATE) if key in attrs}
    words = detectable(attrs | {"power_of": [attrs["name"]], **each})
    return f"{100 * attrs['power_target']:.0f} % power: {words}" + (f". {said}" if (said := price(attrs)) else "")
