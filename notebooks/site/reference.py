"""Markdown of the reference, generated from the commands, the models of study.toml, the exported names and the output.

A key of study.toml or an option without a description is an error.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.main import get_command

import ale_dask
from ale_dask import errors
from ale_dask.cli import COMMANDS, app
from ale_dask.cli.options import SETTINGS, RunOptions
from ale_dask.config.inference import CHANGES_NULL, CONVENTIONS, PROFILES
from ale_dask.config.study import Study
from ale_dask.reporting import kinds  # noqa: F401 - each kind of analysis adds its presentation
from ale_dask.reporting.common.presentation import presentations
from ale_dask.reporting.tables.columns import COLUMNS

ROOT = Path(__file__).resolve().parents[2]
SHARED = (*(field.name for field in fields(RunOptions)), *SETTINGS)
"""Options that every command has which runs a study to its end."""
WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "anything", Path: "path"}
LIMITS = ((Ge, "ge", "from"), (Gt, "gt", "above"), (Le, "le", "to"), (Lt, "lt", "below"))
ROOMS = {
    "coordinates": "Foci",
    "datasets": "Foci",
    "config": "Studies",
    "analyses": "Analyses: Dataset in, Dataset out",
    "workflows": "Runs in a folder",
    "reporting": "Tables, figures and text",
    "errors": "Errors",
}
"""Headings of the exported names, by the room of their module."""


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table; a bar in a cell does not end it."""
    lines = [head, ("---",) * len(head), *rows]
    return ["", *("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines), ""]


def code(value: object) -> str:
    """Return a value as study.toml or a shell has it, in the type of code."""
    text = str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
    return f"`{text}`"


def kind_of(hint: Any) -> str:
    """Return in words what a type allows."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return " ".join([kind_of(inner[0]), *limits(inner[1:])])
    if origin is Literal:
        return ", ".join(code(value) for value in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(kind_of(part) for part in inner if part is not type(None)))
    if origin is list:
        return f"list: {kind_of(inner[0])}"
    if origin is dict:
        return f"table of {kind_of(inner[1])}"
    return WORDS.get(hint, "table")


def limits(metadata: Iterable[Any]) -> list[str]:
    """Return in words the limits of a number."""
    parts = [part for entry in metadata for part in getattr(entry, "metadata", (entry,))]
    return [f"{word} {getattr(p, name):,}" for cls, name, word in LIMITS for p in parts if isinstance(p, cls)]


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return what a model's source says of each field: the text below it, or that below the name of its type."""
    said: dict[str, str] = {}
    models = [part for part in model.__mro__ if issubclass(part, BaseModel) and part.__module__.startswith("ale_dask.")]
    bodies = [_class(part).body for part in reversed(models)]
    for body in (ast.parse(inspect.getsource(sys.modules[model.__module__])).body, *bodies):
        for node, after in itertools.pairwise(body):
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                if isinstance(node, ast.AnnAssign):
                    said[ast.unparse(node.target)] = inspect.cleandoc(after.value.value)
                elif isinstance(node, ast.Assign):
                    said[ast.unparse(node.targets[0])] = inspect.cleandoc(after.value.value)
    for node in itertools.chain(*bodies):
        if isinstance(node, ast.AnnAssign) and (key := ast.unparse(node.target)) not in said:
            named = [part.id for part in ast.walk(node.annotation) if isinstance(part, ast.Name) and part.id in said]
            said |= {key: said[named[0]]} if named else {}
    return said


def _class(model: type[BaseModel]) -> ast.ClassDef:
    found = ast.parse(inspect.getsource(model)).body[0]
    assert isinstance(found, ast.ClassDef)
    return found


def tables_of(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the heading and the model of every table that a model holds, and of those within."""
    for name, field in model.model_fields.items():
        origin = typing.get_origin(field.annotation)
        below = f"{path}{name}{'.NAME' if origin is dict else ''}"
        for inner in models_in(field.annotation):
            kind = inner.model_fields["kind"].annotation if "kind" in inner.model_fields else None
            marks = f' kind = "{typing.get_args(kind)[0]}"' if kind else ""
            yield (f"[[{below}]]" if origin is list else f"[{below}]") + marks, inner
            yield from tables_of(inner, f"{below}.")


def models_in(hint: Any) -> list[type[BaseModel]]:
    """Return the models in a type."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return [hint]
    return [model for part in typing.get_args(hint) for model in models_in(part)]


def key_row(name: str, field: FieldInfo, says: str) -> tuple[str, ...]:
    """Return the row of a key: name, what it may be, default and effect."""
    kind = " ".join([kind_of(field.annotation), *limits(field.metadata)])
    default = "required" if field.is_required() else "" if field.default is None else code(field.default)
    mark = " Part of a null's identity." if name in CHANGES_NULL else ""
    return f"`{name}`", kind, default, " ".join(says.split()) + mark


def study() -> str:
    """Return every table of study.toml with its keys."""
    lines = []
    for heading, model in tables_of(Study):
        said = descriptions(model)
        if lacking := [name for name in model.model_fields if name != "kind" and name not in said]:
            raise ValueError(f"{model.__name__}: say below {', '.join(lacking)} what it does, as a docstring")
        rows = [key_row(name, field, said[name]) for name, field in model.model_fields.items() if name != "kind"]
        lines += [f"## {heading}", "", " ".join((model.__doc__ or "").split())]
        lines += table(("key", "value", "default", "effect"), rows)
    return "\n".join(lines)


def profiles() -> str:
    """Return what each profile sets."""
    rows = [
        (f"`{key}`", *("" if v[key] == PROFILES["recommended"][key] and n != "recommended" else code(v[key])
                       for n, v in PROFILES.items()))
        for key in CONVENTIONS
    ]  # fmt: skip
    return "\n".join(table(("setting", *PROFILES), rows))


def option_row(option: Any, hint: Any) -> tuple[str, ...]:
    """Return the row of an option or an argument: how it is written, its default and its effect."""
    if not option.help:
        raise ValueError(f"{option.name}: an option without help")
    names = option.opts + option.secondary_opts
    value = "" if hint is bool or getattr(option, "is_flag", False) else f" {option.metavar or _metavar(hint)}"
    shown = f"`{option.metavar or option.name.upper()}`"
    if names[0].startswith("-"):
        shown = ", ".join(f"`{name}`" for name in names[:-1]) + ", " * (len(names) > 1) + f"`{names[-1]}{value}`"
    default = names[0] if option.default is True else option.default
    said = (
        "" if default in (None, False, (), []) or callable(default) else f"`{names[0] if default is True else default}`"
    )
    return shown, "required" if option.required else said, option.help + (" Repeatable." if option.multiple else "")


def _metavar(hint: Any) -> str:
    known = {int: "N", float: "NUMBER", Path: "PATH"}
    inner = [hint, *typing.get_args(hint), *(a for part in typing.get_args(hint) for a in typing.get_args(part))]
    return next((known[part] for part in inner if part in known), "TEXT")


def command_lines(name: str, function: Callable[..., None], command: Any) -> Iterator[str]:
    """Yield the section of one command."""
    hints = typing.get_type_hints(function)
    shared = set(SHARED) <= {p.name for p in command.params}
    own = [p for p in command.params if not (shared and p.name in SHARED)]
    arguments = [option_row(p, hints[p.name])[0].strip("`") for p in own if not p.opts[0].startswith("-")]
    needed = [f"{p.opts[0]} {p.metavar or _metavar(hints[p.name])}" for p in own if p.required and p.opts[0][0] == "-"]
    yield from (f"### ale-dask {name}", "", command.help, "")
    yield f"`{' '.join(['ale-dask', name, *arguments, *needed])}`"
    yield from table(("option", "default", "effect"), (option_row(p, hints[p.name]) for p in own))
    if shared:
        yield "And the [options of every run](#options-of-every-run).\n"


def commands() -> str:
    """Return every command with its options, under the headings of the help."""
    group = get_command(app)
    run = group.commands["run"]
    hints = typing.get_type_hints(COMMANDS["Run"]["run"])
    lines = ["## Options of every run", "", "Those of settings override study.toml."]
    lines += table(
        ("option", "default", "effect"), (option_row(p, hints[p.name]) for p in run.params if p.name in SHARED)
    )
    for heading, below in COMMANDS.items():
        lines += [f"## {heading}", ""]
        for name, function in below.items():
            lines += command_lines(name, function, group.commands[name])
    return "\n".join(lines)


def python() -> str:
    """Return every exported name with its docstring, by the room that it comes from."""
    stub = ast.parse((ROOT / "ale_dask" / "__init__.pyi").read_text())
    by_heading: dict[str, list[str]] = {heading: [] for heading in ROOMS.values()}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom) and node.names[0].name != "__version__":
            by_heading[ROOMS[str(node.module).split(".")[1]]].append(node.names[0].name)
    lines = []
    for heading, names in by_heading.items():
        lines += [f"## {heading}", "", "```{eval-rst}"]
        for name in names:
            kind = "autoclass" if isinstance(getattr(ale_dask, name), type) else "autofunction"
            lines.append(f".. {kind}:: ale_dask.{name}")
        lines += ["```", ""]
    return "\n".join(lines)


def exits() -> str:
    """Return the exit codes, from the errors that have them."""
    named = [(e.exit_code, name, " ".join((e.__doc__ or "").partition("\n\n")[0].split()))
             for name, e in vars(errors).items() if isinstance(e, type) and issubclass(e, errors.AleError)]  # fmt: skip
    rows = [("0", "", "Done, also when nothing survives."), ("2", "", "The command line is wrong; nothing was done.")]
    rows += [(str(code), f"`{name}`", says) for code, name, says in sorted(named)]
    return "\n".join(table(("code", "in Python", "what happened"), rows))


def maps() -> str:
    """Return every map that a run writes, by kind of analysis."""
    lines = []
    for shown in presentations():
        lines += [f"### Maps of kind {shown.kind}"]
        rows = [(f"`NAME_{spec.suffix}`", spec.what, spec.units) for spec in shown.maps]
        lines += ["", *table(("file", "what it is", "unit"), rows)]
    return "\n".join(lines)


def columns() -> str:
    """Return every column of the tables of clusters."""
    return "\n".join(table(("column", "what it says"), [(f"`{c.name}`", c.says) for c in COLUMNS]))


def changes() -> str:
    """Return what changed since the last release, from the fragments that the next one will collect."""
    lines = ["## Not yet released", ""]
    for kind in ("added", "changed", "fixed", "removed"):
        found = sorted((ROOT / ".changes").glob(f"*.{kind}.md"))
        lines += [f"### {kind.capitalize()}", ""] if found else []
        lines += [f"- {' '.join(path.read_text().split())}" for path in found] + [""]
    return "\n".join(lines)


PARTS: dict[str, Callable[[], str]] = {
    part.__name__: part for part in (commands, study, profiles, python, exits, maps, columns, changes)
}
