"""Render a template as one offline page, with its style and scripts inside."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from ale_dask.reporting.common.templates import template
from ale_dask.version import __version__

_SCRIPTS = ("tables", "viewer")


def rendered(name: str, **content: Any) -> bytes:
    """Return the page that the template of this name makes of its content; needs jinja2."""
    from markupsafe import Markup

    script = "".join(_text(f"{part}.js") for part in _SCRIPTS)
    page = template(name).render(
        version=__version__,
        style=Markup(_text("report.css") + _text("evidence.css")),
        script=Markup(script),
        # By this hash the browser runs no other script, not even one that a name smuggles in.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **content,
    )
    return page.encode()


def _text(name: str) -> str:
    return (files("ale_dask.reporting") / "templates" / name).read_text(encoding="utf-8")
