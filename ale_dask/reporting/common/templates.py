"""The templates of pages and tables, compiled once per process."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template


@cache
def template(name: str) -> Template:
    """Return the template of this name; needs jinja2.

    What a template imports without context keeps its state from one page to the next; macros that count are imported
    with context.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Titles and names come from users' files: everything is escaped.
    environment = Environment(loader=PackageLoader("ale_dask.reporting"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(name)
