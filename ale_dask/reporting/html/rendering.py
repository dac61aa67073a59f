"""Render a template as one offline page, with its style and scripts inside."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from ale_dask.version import __version__

_SCRIPTS = ("tables", "viewer")


def rendered(template: str, **content: Any) -> bytes:
    """Return a page that is made of a template and its content; needs jinja2."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    script = "".join(_text(f"{name}.js") for name in _SCRIPTS)
    # Titles and names come from users' files: everything is escaped.
    environment = Environment(loader=PackageLoader("ale_dask.reporting"), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template(template).render(
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
