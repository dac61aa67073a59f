"""Make names of samples and analyses that a study allows; without pydantic, which takes long to import."""

from __future__ import annotations

import re

_IMAGE_ENDINGS = (".nii", ".nii.gz", ".img", ".img.gz", ".hdr", ".hdr.gz", ".mgh", ".mgz")


def name_from(words: str, *, otherwise: str = "foci") -> str:
    """Return the letters and digits of a text as a name that a study allows, or `otherwise` if it has none."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or otherwise


def is_image_file(file: object) -> bool:
    """Return whether a file is an image by the ending of its name, such as .nii.gz."""
    return str(file).lower().endswith(_IMAGE_ENDINGS)
