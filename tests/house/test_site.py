"""The pages become a site without a warning or a dead link, and the commands and the code in them are right."""

from __future__ import annotations

import ast
import functools
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pandas as pd
import pytest
from support.commands import ale as command
from support.real_data import shared
from support.studies import write_tiny
from typer.main import get_command

import ale_dask
from ale_dask.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "notebooks").glob("*.md"), *(ROOT / "deploy").glob("*/README.md")])
TUTORIAL = ROOT / "notebooks" / "tutorial.md"
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", re.S | re.M)
GROUP = get_command(app)
PLACEHOLDER = {"COMMAND"}
"""What stands for any command."""


class Links(HTMLParser):
    """The links of a page, and the places in it that links lead to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {values[key] or "" for key in ("id", "name") if key in values}
        self.links |= {values[key] or "" for key in ("href", "src") if key in values and tag != "svg"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the site, built as anyone builds it; a warning is an error there."""
    out = tmp_path_factory.mktemp("site")
    env = os.environ | {"VENV": sys.prefix, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([ROOT / "scripts" / "docs", out], env=env, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_no_link_of_the_site_is_dead(site: Path) -> None:
    pages = {page.resolve(): Links(page) for page in site.rglob("*.html")}
    assert len(pages) > 50
    dead = []
    for page, found in pages.items():
        for link in found.links:
            if re.match(r"[a-z]+:|//", link):
                continue
            name, _, anchor = unquote(link).partition("#")
            name = name.partition("?")[0]
            target = (page.parent / name).resolve() if name else page
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                dead.append(f"{page.name}: {link}")
    assert dead == []


def test_the_reference_has_every_command_name_and_key(site: Path) -> None:
    text = {name: (site / "notebooks" / f"{name}.html").read_text() for name in ("commands", "python", "study_toml")}
    assert [name for name in GROUP.commands if f'id="ale-dask-{name}"' not in text["commands"]] == []
    exported = [name for name in ale_dask.__all__ if name != "__version__"]
    assert [name for name in exported if f'id="ale_dask.{name}"' not in text["python"]] == []
    keys = ("voxel_p", "one_per", "spending", "until_decided", "walltime", "risk_of_bias")
    assert [key for key in keys if f">{key}<" not in text["study_toml"]] == []


def test_no_output_of_a_notebook_changes_the_look_of_its_page(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not re.search(r"<body[^>]*style=", page.read_text()), page


def test_the_site_asks_the_network_for_nothing(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//|<link[^>]+href=\"https?:|@import|url\(http")
    assert [page.name for page in site.rglob("*.html") if loaded.search(page.read_text())] == []


def commands_of(page: Path) -> list[str]:
    """Return the commands of ale-dask in a page's blocks, without comments, and with lines joined that go on."""
    lines = [line for _, kind, block in BLOCK.findall(page.read_text()) if kind in ("", "bash", "sh")
             for line in block.replace("\\\n", " ").splitlines()]  # fmt: skip
    return [line.strip() for line in lines if re.match(r" *ale-dask ", line)]


def words_of(line: str) -> list[str]:
    """Return the arguments of the first command in a line of a shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words = list(lexer)
    return words[1 : next((i for i, word in enumerate(words) if set(word) <= set("|;&<>")), None)]


def unknown(words: list[str]) -> list[str]:
    """Return what the command line does not know: the command, or options of it."""
    name, *rest = words
    if name.startswith("-"):
        return [] if name in {"--version", "--help", "--install-completion", "--show-completion"} else [name]
    if name in PLACEHOLDER:
        return []
    if name not in GROUP.commands:
        return [name]
    known = {option for p in GROUP.commands[name].params for option in (*p.opts, *p.secondary_opts)} | {"--help"}
    options = [word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)]
    return [f"{name} {option}" for option in options if option not in known]


def test_what_the_command_line_does_not_know_is_seen() -> None:
    assert unknown(words_of("ale-dask run study -o out --seed 1 -w 4:64   # --nothing")) == []
    assert unknown(words_of("ale-dask run study --sed 1 | ale-dask other")) == ["run --sed"]
    assert unknown(words_of("ale-dask rnu study")) == ["rnu"]
    assert len([line for page in PAGES for line in commands_of(page)]) > 80


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_options_in_a_page_exist(page: Path) -> None:
    text = page.read_text()
    inline = [line.replace("\n", " ") for line in re.findall(r"(?<!`)`(ale-dask [a-z-][^`]*)`(?!`)", text)]
    wrong = [what for line in commands_of(page) + inline for what in unknown(words_of(line))]
    assert wrong == []


@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands_of(page)], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_commands_in_blocks_are_whole(page: Path) -> None:
    for line in commands_of(page):
        name, *rest = words_of(line)
        if not name.startswith("-") and not {"…", "..."} & set(rest):
            GROUP.commands[name].make_context(name, ["0" if word in ("K", "N") else word for word in rest])


def python_of(page: Path) -> list[str]:
    return [block for _, kind, block in BLOCK.findall(page.read_text()) if kind == "python"]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if python_of(page)], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_python_in_a_page_compiles_and_names_what_there_is(page: Path) -> None:
    for block in python_of(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Import):
                assert all(importlib.import_module(alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and f"pip install {node.module}" not in page.read_text():
                module = importlib.import_module(str(node.module))
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ale":
                assert node.attr in ale_dask.__all__


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder: small foci under the names that the pages have, a mask and a finished run `out`."""
    tiny = write_tiny(tmp_path / "tiny")
    for name, path in {"antidepressants": "drug.txt", "psychotherapy": "therapy.txt"}.items():
        ale_dask.write_foci(ale_dask.read_foci(tiny / path), tiny / f"{name}.csv")
        rows = pd.read_csv(tiny / f"{name}.csv")
        rows.assign(weeks=rows["study"].rank(method="dense")).to_csv(tiny / f"{name}.csv", index=False)
    (tiny / "published").mkdir()
    for name, path in {"children": "drug.txt", "adults": "therapy.txt"}.items():
        shutil.copy(tiny / path, tiny / "published" / f"{name}.txt")
    shutil.copy(tiny / "drug.txt", tiny / "nimare_dataset.json")
    monkeypatch.chdir(tiny)
    return tiny


def small_names() -> SimpleNamespace:
    """Return the exported names, with main effects of a small mask and few iterations if nothing else is said."""
    small = SimpleNamespace(**{name: getattr(ale_dask, name) for name in ale_dask.__all__})
    settings = {"mask": "ball.nii.gz", "iterations": 60, "voxel_p": 0.01, "null": "uniform"}
    small.main_effect = functools.partial(ale_dask.main_effect, **settings)
    small.subsampled = lambda a, *, size: ale_dask.subsampled(a, size=min(size, 5), subsamples=3)
    small.balanced_contrast = functools.partial(ale_dask.balanced_contrast, subsamples=3)
    return small


@pytest.mark.parametrize("name", ["python", "coming_from"])
def test_python_of_the_pages_runs(name: str, folder: Path) -> None:
    command("run", folder, "-o", folder / "out", "-b", "serial", "-q", "--no-pictures")
    for block in python_of(ROOT / "notebooks" / f"{name}.md"):
        # The import of the block would give the names with their own defaults.
        exec(block.replace("import ale_dask as ale\n", ""), {"ale": small_names()})
    assert (folder / ("figure.pdf" if name == "python" else "z.nii.gz")).is_file()


def test_the_tutorial_runs_on_a_small_sample(folder: Path) -> None:
    for _, kind, block in BLOCK.findall(TUTORIAL.read_text()):
        if kind == "python":
            exec(block, {})
        for line in commands_of_block(kind, block):
            words = words_of(line)
            # The foci are here already, and what draws the template or computes much is left to the test below.
            if words[0] not in ("example", "figure", "leave-one-out"):
                command(*[{"1000": "60", "10000": "80"}.get(word, word) for word in words])
            if words[0] == "new":
                study = folder / "language" / "study.toml"
                small = {'mask = "brain"': f'mask = "{folder / "ball.nii.gz"}"', 'null = "both"': 'null = "uniform"'}
                text = functools.reduce(lambda text, pair: text.replace(*pair), small.items(), study.read_text())
                study.write_text(text + '[backend]\nname = "serial"\n')
    assert {"table1.html", "foci.xlsx", "out"} <= {path.name for path in folder.iterdir()}
    assert (folder / "out" / "report.html").is_file()


def commands_of_block(kind: str, block: str) -> list[str]:
    return block.splitlines() if kind == "bash" else []


@pytest.mark.slow
def test_the_tutorial_gives_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shared("language_children"), tmp_path / "published")
    text, said = TUTORIAL.read_text(), ""
    for _, kind, block in BLOCK.findall(text):
        if kind == "python":
            exec(block, {})
        for line in commands_of_block(kind, block):
            words = words_of(line)
            if words[0] not in ("example", "extend"):
                done = command(*words)
                said += done.stdout + done.stderr
    shown = [line.split("…")[0] for _, kind, block in BLOCK.findall(text) if not kind for line in block.splitlines()]
    assert [line for line in shown if line not in said] == []
    assert (tmp_path / "figure1.png").stat().st_size > 100_000
