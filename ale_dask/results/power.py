"""What a design can find, as a table and in a line."""

from __future__ import annotations

import pandas as pd
import xarray as xr

from ale_dask.results.wording import detectable

POWER = ("Experiments", "Prevalence (%)", "Power (%)", "Low (%)", "High (%)")


def power_table(curve: xr.Dataset) -> pd.DataFrame:
    """Return the power of a main effect's design by how many experiments report a place, with its 95 % interval."""
    columns = (curve["reporting"], *(100 * curve[name] for name in ("prevalence", "power", "power_low", "power_high")))
    return pd.DataFrame({name: column.values for name, column in zip(POWER, columns, strict=True)})


def power_line(curve: xr.Dataset) -> str:
    """Return in a line how many experiments must report a place for a power."""
    attrs = curve.attrs
    each = {key: [attrs[key]] for key in ("power_needed", "power_experiments", "power_found")}
    words = detectable({"power_of": [attrs["name"]], "power_simulations": attrs["power_simulations"], **each})
    return f"{100 * attrs['power_target']:.0f} % power: {words}"
