"""The documentation site: the pages of this repository in the order of notebooks/README.md, and a generated reference.

Nothing is fetched while it is built, and no notebook is run: the stored outputs are shown.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

import reference  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

from ale_dask.version import __version__  # noqa: E402

project = "ale_dask"
author = "The ale_dask developers"
copyright = author
version = release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

root_doc = "README"
include_patterns = ["*.md", "notebooks/*.md", "notebooks/*.ipynb", "deploy/*/README.md", "scripts/*-results.md"]
exclude_patterns = [".*", "build", "dist", "ale_dask", "tests", "demo", "**/.ipynb_checkpoints"]
nb_execution_mode = "off"
# Tables of notebooks come with HTML; the plain text of the same output is for terminals.
nb_mime_priority_overrides = [("html", "image/svg+xml", 0)]
myst_enable_extensions = ["dollarmath", "fieldlist"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
highlight_language = "none"
# Options begin with two hyphens.
smartquotes = False

default_role = "code"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
nitpicky = True
# Types in signatures of other packages, whose inventories would have to be downloaded, and of modules within.
nitpick_ignore_regex = [("py:.*", r"(?!ale_dask\.\w+$).*")]

html_theme = "furo"
html_title = f"ale_dask {version}"
html_copy_source = False
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
html_theme_options = {"top_of_page_buttons": []}

PAGE = re.compile(r"\[([^]]+)\]\(([\w./-]+\.(?:md|ipynb))\)")


def contents(text: str) -> str:
    """Return a hidden table of contents for each section of notebooks/README.md, of the pages that it links to."""
    trees = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        caption = section.partition("\n")[0]
        entries = [f"{title[0].upper()}{title[1:]} </{_source(page)}>" for title, page in PAGE.findall(section)]
        trees.append("\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *entries, "```"]))
    return "\n\n".join(trees)


def _source(page: str) -> str:
    """Return the path from the root of the repository of a page that notebooks/README.md links to."""
    return os.path.normpath(f"notebooks/{page}")


def complete(app: Sphinx, name: str, source: list[str]) -> None:
    """Add the tables of contents to the front page, changes to the changelog, and what is generated at its marks."""
    if name == root_doc:
        source[0] += "\n" + contents((HERE.parent / "README.md").read_text())
    if name == "CHANGELOG":
        source[0] = source[0].replace("\n", f"\n\n{reference.changes()}\n", 1)
    source[0] = re.sub(r"^<!-- reference: (\w+) -->$", lambda m: reference.PARTS[m[1]](), source[0], flags=re.MULTILINE)


def add_index(app: Sphinx, exception: Exception | None) -> None:
    """Give the front page the name that servers show first."""
    out = Path(app.outdir)
    if exception is None and (out / f"{root_doc}.html").exists():
        (out / "index.html").write_text((out / f"{root_doc}.html").read_text())


def setup(app: Sphinx) -> None:
    """Connect the two to Sphinx."""
    app.connect("source-read", complete)
    app.connect("build-finished", add_index)
