"""Say in a few sentences what a sweep found: which places do not depend on a setting, and which setting matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ale_dask.reporting.common.phrases import counted, listed
from ale_dask.reporting.sensitivity.sweep_clusters import SweepPlaces

_NAMED = 3
"""Places and values that a sentence names; the tables have them all."""
Place = tuple[SweepPlaces, int]
"""The places of an analysis, and the number of one of them."""


def sweep_sentences(
    sweeps: Sequence[SweepPlaces], *, axes: Mapping[str, Sequence[Any]], cells: int, tests: int, failed: int
) -> list[str]:
    """Return three to five sentences on a sweep: what was run, what is found always and sometimes, and what matters.

    Parameters
    ----------
    sweeps
        The places of each analysis and direction.
    axes
        The values of each setting.
    cells
        Number of combinations that were run.
    tests
        Number of thresholded analyses in them.
    failed
        Number of combinations that could not be run.

    Returns
    -------
    list of str
        Whole sentences.
    """
    left_out = f"; {counted(failed, 'combination')} could not be run" if failed else ""
    what = f"{tests:,} thresholded {'analysis was' if tests == 1 else 'analyses were'} made"
    settings = listed(_axis_words(name, values) for name, values in axes.items())
    begin = (
        f"{what} in {counted(cells, 'combination')} of {settings}{left_out}; nothing corrects for their number, so "
        "that this is descriptive."
    )
    places = [(each, i) for each in sweeps for i in range(len(each.places))]
    if not places:
        return [
            begin,
            "No combination has a cluster.",
            "There is nothing whose dependence on a setting could be shown.",
        ]
    return [begin, *_found(places), _dependence(sweeps, list(axes)), _retained(places)]


def _axis_words(name: str, values: Sequence[Any]) -> str:
    more = f" … {values[-1]}" if len(values) > _NAMED + 1 else ""
    return f"{name} ({', '.join(map(str, values[: _NAMED if more else None]))}{more})"


def _in(place: Place) -> int:
    sweep, i = place
    return int((sweep.share[i] > 0).sum())


def _words(place: Place) -> str:
    sweep, i = place
    where = sweep.places[i]
    x, y, z = (f"{v + 0.0:.0f}".replace("-", "−") for v in where.xyz)
    region = (
        f" ({where.region[:1].lower()}{where.region[1:].replace(' (', ', ').removesuffix(')')})" if where.region else ""
    )
    return f"{where.mm3:,.0f} mm³ at {x}, {y}, {z}{region} in {sweep.direction or sweep.analysis}"


def _found(places: Sequence[Place]) -> list[str]:
    """Return a sentence on the places with a cluster in every cell, and one on those in some."""
    ordered = sorted(places, key=lambda place: -place[0].places[place[1]].mm3)
    always = [place for place in ordered if _in(place) == place[0].share.shape[1]]
    some = [place for place in ordered if _in(place) < place[0].share.shape[1]]
    named = f": {'; '.join(map(_words, always[:_NAMED]))}" if always else ""
    more = f"; and {len(always) - _NAMED} more" if len(always) > _NAMED else ""
    of = f"the {counted(len(places), 'place')}" if len(places) > 1 else "one place"
    have = "have" if len(always) > 1 else "has"
    first = f"{len(always) or 'None'} of {of} where any combination has a cluster {have} one in all{named}{more}."
    if not some:
        return [first]
    largest = some[0]
    return [
        first,
        f"{len(some)} {'has' if len(some) == 1 else 'have'} one in only some of them, the largest of which "
        f"({_words(largest)}) in {_in(largest)} of {largest[0].share.shape[1]}.",
    ]


def _dependence(sweeps: Sequence[SweepPlaces], axes: Sequence[str]) -> str:
    """Return which setting the places depend on most, and by how much."""
    spread: dict[str, float] = {}
    rates: dict[str, dict[str, list[float]]] = {}
    for axis in axes:
        each = []
        for sweep in sweeps:
            for i in range(len(sweep.places)):
                shares = {value: n / cells for value, (n, cells) in sweep.counts(i, axis).items()}
                each.append(max(shares.values()) - min(shares.values()))
                for value, share in shares.items():
                    rates.setdefault(axis, {}).setdefault(value, []).append(share)
        spread[axis] = 100 * float(np.mean(each))
    most = max(spread, key=lambda axis: spread[axis])
    if spread[most] == 0:
        return "No setting changes which places have a cluster."
    mean = {value: 100 * float(np.mean(shares)) for value, shares in rates[most].items()}
    low, high = min(mean, key=lambda v: mean[v]), max(mean, key=lambda v: mean[v])
    others = [f"{axis} by {value:.0f}" for axis, value in spread.items() if axis != most]
    beside = f", {listed(others)}" if others else ""
    return (
        f"{most} matters most: averaged over places, the share of combinations with a cluster changes by "
        f"{spread[most]:.0f} percentage points along its values{beside}; a place has one in {mean[low]:.0f} % of the "
        f"combinations with {most} {low} and in {mean[high]:.0f} % of those with {high}."
    )


def _retained(places: Sequence[Place]) -> str:
    retained = np.mean([sweep.share[i].mean() for sweep, i in places])
    return f"On average {100 * retained:.0f} % of the voxels of a place survive a combination."
