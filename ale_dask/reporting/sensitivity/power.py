"""Write the power of a design as a table and in a line."""

from __future__ import annotations

import pandas as pd
import xarray as xr

from ale_dask.analyses.sensitivity.power import BESIDE, OF_BASE_RATE, PER_ARM
from ale_dask.reporting.common.wording import detectable, price

COLUMNS = ("Reporting", "Prevalence (%)", "Power (%)", "Low (%)", "High (%)")
_VALUES = ("power", "power_low", "power_high")


def power_table(curve: xr.Dataset) -> pd.DataFrame:
    """Return the power of a main effect's design by how many experiments report a place, with its 95 % interval.

    The power is that of the null which decides; with both nulls, the power against the base rate has its own columns.
    """
    columns = (curve["reporting"], *(100 * curve[name] for name in ("prevalence", *_VALUES)))
    table = pd.DataFrame({name: column.values for name, column in zip(COLUMNS, columns, strict=True)})
    if f"power{BESIDE}" in curve:
        base_rate = {
            f"{name.removesuffix(' (%)')} Base Rate (%)": 100 * curve[f"{value}{BESIDE}"].values
            for name, value in zip(COLUMNS[2:], _VALUES, strict=True)
        }
        table = table.assign(**base_rate)
    return table


def power_line(curve: xr.Dataset) -> str:
    """Return in a line how many experiments must report a place for a power, and what the base rate costs."""
    attrs = curve.attrs
    per_arm = {key: [attrs[key]] for key in (*PER_ARM, *OF_BASE_RATE) if key in attrs}
    words = detectable(attrs | {"power_of": [attrs["name"]], **per_arm})
    return f"{100 * attrs['power_target']:.0f} % power: {words}" + (f". {cost}" if (cost := price(attrs)) else "")
