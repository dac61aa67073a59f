"""Values that a cache recognises by a key, so that plans which differ in their seed alone share the rest."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")


@dataclass(frozen=True)
class Keyed(Generic[T]):
    """A value that equals another one when their keys are equal.

    The key must differ wherever the function that is cached would return something else.
    """

    key: Hashable
    value: T = field(compare=False, repr=False)


def key_of(*arrays: npt.NDArray[np.generic]) -> tuple[Hashable, ...]:
    """Return a key that arrays have in common when shape, type and every number agree."""
    return tuple((a.shape, a.dtype.str, a.tobytes()) for a in arrays)
