"""Make names of samples and analyses that a study allows; without pydantic, which takes long to import."""

from __future__ import annotations

import re


def name_from(words: str, *, otherwise: str = "foci") -> str:
    """Return the letters and digits of a text as a name that a study allows, or `otherwise` if it has none."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or otherwise
