"""Error that is spent over repeated looks at growing data (Lan & DeMets 1983)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import special

_BEYOND = 8.0
"""Standard deviations up to which a statistic is integrated: beyond lies less than 1e-15."""
_NODES = 801


def obrien_fleming(t: float, alpha: float) -> float:
    """Return the error spent up to a share t of the information: 2 - 2 Phi(z(1 - alpha / 2) / sqrt(t)).

    Little at early looks, as by O'Brien and Fleming (1979).
    """
    return float(2 * special.ndtr(special.ndtri(alpha / 2) / math.sqrt(min(t, 1.0))))


def pocock(t: float, alpha: float) -> float:
    """Return the error spent up to a share t of the information: alpha ln(1 + (e - 1) t), about equal at each look."""
    return float(alpha * math.log1p((math.e - 1) * min(t, 1.0)))


SPENDING: dict[str, Callable[[float, float], float]] = {"obrien-fleming": obrien_fleming, "pocock": pocock}
"""The functions by which error is spent, by name."""


def increments(shares: Sequence[float], *, alpha: float, spending: str) -> list[float]:
    """Return the error that each look may spend: what its share of the information allows beyond the looks before.

    A test at each look at this level has an error of at most `alpha` over all looks, however they depend on each other
    (Boole's inequality).
    """
    spent = [0.0, *(SPENDING[spending](t, alpha) for t in shares)]
    return [after - before for before, after in pairwise(spent)]


def boundaries(shares: Sequence[float], *, alpha: float, spending: str) -> list[float]:
    """Return the one-sided boundary of each look for a statistic that gains independent normal increments.

    That statistic is Z = B(t) / sqrt(t), B a Brownian motion: then P(Z passes its boundary first at look k) is the
    error that look k may spend, by numerical integration over B at the look before (Armitage, McPherson & Rowe 1969).

    Parameters
    ----------
    shares
        The shares of the information at the looks (look), ascending, up to 1.
    alpha
        The one-sided error over all looks.
    spending
        A name in `SPENDING`.
    """
    from scipy import optimize

    found: list[float] = []
    at, weight, before = np.zeros(1), np.ones(1), 0.0
    for t, error in zip(shares, increments(shares, alpha=alpha, spending=spending), strict=True):
        step = math.sqrt(t - before)

        def missing(
            z: float,
            t: float = t,
            error: float = error,
            at: npt.NDArray[np.float64] = at,
            weight: npt.NDArray[np.float64] = weight,
            step: float = step,
        ) -> float:
            return float(weight @ special.ndtr((at - z * math.sqrt(t)) / step)) - error

        z = float(optimize.brentq(missing, -_BEYOND, _BEYOND))
        found.append(z)
        # Simpson's weights over B at this look, of those that have not passed a boundary.
        nodes = np.linspace(-_BEYOND * math.sqrt(t), z * math.sqrt(t), _NODES)
        rule = np.ones(_NODES)
        rule[1:-1:2], rule[2:-1:2] = 4, 2
        density = np.exp(-(((nodes[:, None] - at[None, :]) / step) ** 2) / 2) @ weight / (step * math.sqrt(2 * math.pi))
        at, weight, before = nodes, density * rule * (nodes[1] - nodes[0]) / 3, t
    return found
