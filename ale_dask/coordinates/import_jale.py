"""Import of the analyses of JALE 0.2 as a study, with a note on each row of JALE's sheet of analyses."""

from __future__ import annotations

import csv
import io
import keyword
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import tomli_w

from ale_dask.config.study import parse_study
from ale_dask.coordinates.expressions import holds
from ale_dask.coordinates.foci import Experiment, build, shared_keys, subset, table
from ale_dask.coordinates.readers import parse
from ale_dask.coordinates.readers.jale import TIDY, filled, tag_of
from ale_dask.coordinates.readers.packed import unpacked
from ale_dask.coordinates.readers.table import rows_of
from ale_dask.coordinates.readers.text import decode, shown
from ale_dask.coordinates.readers.workbook import is_workbook, sheets
from ale_dask.coordinates.shared_subjects import shared
from ale_dask.errors import InputError

FOCI = "foci.csv"


@dataclass(frozen=True)
class Analysis:
    """A row of JALE's sheet of analyses; kind is M, P25, C, B20, Cluster, or "" in the second row of a contrast."""

    where: str
    kind: str
    title: str
    conditions: tuple[str, ...]


@dataclass(frozen=True)
class Note:
    """A message on a row of JALE's sheet; not `same` where the study does not compute what JALE computes."""

    where: str
    text: str
    same: bool = True


@dataclass(frozen=True)
class Imported:
    """A study as its files by name, and a note for each row of JALE's sheet."""

    files: dict[str, bytes]
    notes: tuple[Note, ...]


def import_jale(experiments: bytes, analyses: bytes, *, names: tuple[str, str], space: str | None = None) -> Imported:
    """Return study.toml, foci.csv and notes for JALE's workbooks (or CSV files) of experiments and of analyses.

    Raises
    ------
    InputError
        with file:sheet:row, for a row that cannot be read, a tag that no experiment has, or no experiment selected.
    """
    listed = parse(experiments, name=names[0], space=space)
    rows = parse_analyses(analyses, name=names[1])
    study = _StudyInProgress(listed)
    # The substitute for a balanced contrast or probabilistic ALE may be an analysis of another row.
    for i, row in enumerate(rows):
        study.add(row, rows[i + 1 : i + 2])
    for i, row in enumerate(rows):
        study.add_substitute(row, rows[i + 1 : i + 2])
    if not study.analysis:
        raise InputError(f"{names[1]}: no analysis of kind M, P, C or B; its first column holds the kind")
    without_n = sum(e.n is None for e in listed)
    if without_n:
        study.note(names[0], f"{without_n} experiments have no sample size: give n in study.toml", same=False)
    text = tomli_w.dumps(
        {"title": f"Analyses of {names[1]}", "foci": study.foci, "analysis": study.analysis, **study.settings}
    )
    parse_study(text)
    order = {row.where: i for i, row in enumerate(rows)}
    notes = sorted(study.notes, key=lambda note: order.get(note.where, -1))
    return Imported({"study.toml": text.encode(), FOCI: write_table(listed).encode()}, tuple(notes))


def parse_analyses(data: bytes, *, name: str) -> list[Analysis]:
    """Return the rows of JALE's sheet of analyses, the first of a workbook, or of a CSV file.

    Raises
    ------
    InputError
        for a file that cannot be read, or without rows.
    """
    data = unpacked(data, name=name)
    if is_workbook(data):
        with sheets(data, name=name) as all_sheets:
            title, sheet = next(all_sheets, ("", iter(())))
            rows = [(f"{name}:{title}:{number}", [*map(filled, row)]) for number, row in sheet]
    else:
        lines = rows_of(decode(data, name=name), begin=0, delimiter=",", file=name)
        rows = [(f"{name}:{number}", [*map(filled, row)]) for number, row in lines]
    padded = [(where, [*cells, "", ""]) for where, cells in rows if any(cells)]
    if not padded:
        raise InputError(f"{name}: no analyses; give rows of kind, title and tags such as M, Faces, +faces, -drug")
    return [Analysis(where, c[0], c[1], tuple(filter(None, c[2:]))) for where, c in padded]


def write_table(experiments: Sequence[Experiment]) -> str:
    """Return experiments as the text of a tidy CSV table that is read back to the same experiments."""
    columns = [*dict.fromkeys(c for e in experiments for c in e.columns if c not in TIDY)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*TIDY, *columns])
    for e in experiments:
        begin = [e.study or e.name, e.columns.get("contrast", ""), e.n or "", e.space]
        end = [e.columns.get(c, "") for c in columns]
        writer.writerows([*begin, *map(repr, focus), *end] for focus in e.xyz)
        if not e.xyz:
            writer.writerow([*begin, "", "", "", *end])
    return text.getvalue()


def condition(conditions: Sequence[str], *, tags: Sequence[str], where: str) -> str:
    """Return JALE's conditions (+tag, -tag, ?) as an expression on the columns of the tags, "" for all experiments.

    Experiments have all tags with +, or, before a ?, at least one of them, and no tag with -. +all selects all
    experiments; $image names a region and selects nothing.

    Raises
    ------
    InputError
        beginning with `where`, for a tag that is not among `tags`, and for anything else.
    """
    wanted: list[list[str]] = []
    unwanted: list[str] = []
    for cell in conditions:
        sign, tag = cell[0], tag_of(cell[1:])
        if sign in "+-" and tag != "all" and tag not in tags:
            raise InputError(f"{where}: no experiment has the tag {shown(tag)}; there are: {', '.join(tags) or 'none'}")
        if sign == "+":
            wanted.append([] if tag == "all" else [_column(tag)])
        elif sign == "-":
            unwanted.append("True" if tag == "all" else _column(tag))
        elif cell == "?":
            wanted = [[] if [] in wanted else [column for columns in wanted for column in columns]] if wanted else []
        elif sign != "$":
            raise InputError(f"{where}: cannot read {shown(cell)}; a tag begins with + or -, or write ? for or")
    if not wanted:
        raise InputError(f"{where}: no tag to include; write +tag, or +all for all experiments")
    parts = [*dict.fromkeys(" or ".join(dict.fromkeys(columns)) for columns in wanted if columns)]
    single = len(parts) + len(unwanted) == 1
    parts = [part if single or " or " not in part else f"({part})" for part in parts]
    return " and ".join([*parts, *dict.fromkeys(f"not {c}" for c in unwanted)])


def _column(tag: str) -> str:
    plain = tag.isascii() and tag.isidentifier() and not keyword.iskeyword(tag)
    return tag if plain else f"`{tag}`"


def _slug(title: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", ascii_only).strip("-_") or "analysis"


class _StudyInProgress:
    """The study that the rows of JALE's sheet become: samples, analyses, settings and notes."""

    def __init__(self, experiments: Sequence[Experiment]) -> None:
        self.experiments = experiments
        self.foci: dict[str, dict[str, Any]] = {}
        self.analysis: dict[str, dict[str, Any]] = {}
        self.settings: dict[str, Any] = {}
        self.notes: list[Note] = []
        self.expressions: dict[str, str] = {}

    @cached_property
    def dataset(self) -> Any:
        return build(self.experiments)

    @cached_property
    def tags(self) -> list[str]:
        carried = self.dataset["tag"].values.tolist() if "experiment_tag" in self.dataset else []
        return sorted(set(carried) - set(TIDY))

    def note(self, where: str, text: str, *, same: bool = True) -> None:
        self.notes.append(Note(where, text, same))

    def selected(self, expression: str) -> npt.NDArray[np.bool_]:
        if not expression:
            return np.ones(len(self.experiments), dtype=bool)
        return holds(expression, table(self.dataset), where="where")

    def condition(self, row: Analysis) -> str:
        expression = condition(row.conditions, tags=self.tags, where=row.where)
        if not self.selected(expression).any():
            raise InputError(f"{row.where}: no experiment has the tags of {shown(row.title)} ({expression})")
        return expression

    def main_effect(self, row: Analysis) -> str:
        """Return the name of a row's main effect, which is added unless there is one of its title and experiments."""
        expression, name = self.condition(row), _slug(row.title)
        if self.expressions.get(name) == expression:
            return name
        if name in self.analysis:
            name = self.unused(name)
            self.note(row.where, f"the name of {shown(row.title)} stands for other tags above: it is '{name}' here")
        self.expressions[name] = expression
        source: dict[str, Any] = {"files": [FOCI]}
        if any(e.space == "TAL" for e in self.experiments):
            # JALE converts all Talairach coordinates by the variant of icbm2tal for SPM.
            source["talairach"] = "spm"
        if expression:
            source["select"] = [{"where": expression}]
        self.foci[name] = source
        self.analysis[name] = {"kind": "main-effect", "foci": [name]}
        for image in (c[1:] for c in row.conditions if c[0] == "$"):
            self.note(row.where, f"the ROI analysis in {shown(image)} is not made here", same=False)
        return name

    def unused(self, name: str) -> str:
        return next(n for n in (f"{name}-{i}" for i in range(2, len(self.analysis) + 3)) if n not in self.analysis)

    def described(self, name: str) -> str:
        return f"'{name}' of {int(self.selected(self.expressions[name]).sum())} experiments"

    def add(self, row: Analysis, below: Sequence[Analysis]) -> None:
        """Add the analyses that JALE computes in the same way: main effects, and contrasts with their conjunction."""
        if row.kind.upper() == "M":
            self.note(row.where, f"main effect {self.described(self.main_effect(row))}")
        elif row.kind.upper() == "C":
            self.contrast(row, below)

    def add_substitute(self, row: Analysis, below: Sequence[Analysis]) -> None:
        """Add the analysis that is most like one of JALE that is not computed here."""
        kind = row.kind.upper()
        if kind in ("", "M", "C"):
            return
        size = kind[1:]
        if kind[0] == "P" and (not size or size.isdecimal()):
            expression = self.condition(row)
            name = next((n for n, e in self.expressions.items() if e == expression), None) or self.main_effect(row)
            text = f"probabilistic ALE of samples of {size or '?'} is not made here; nearest is the main effect"
            self.note(row.where, f"{text} {self.described(name)}", same=False)
        elif kind[0] == "B" and (not size or size.isdecimal()):
            text = f"a balanced contrast of {f'samples of {size}' if size else 'equal samples'} is not made here"
            self.note(row.where, f"{text}; nearest is a contrast of all experiments:", same=False)
            self.contrast(row, below)
        else:
            self.note(row.where, f"{shown(row.kind)} ({shown(row.title)}) is not made here and left out", same=False)

    def contrast(self, row: Analysis, below: Sequence[Analysis]) -> None:
        if not below:
            raise InputError(f"{row.where}: {shown(row.title)} has no second analysis; write it in the row below")
        a, b = self.main_effect(row), self.main_effect(below[0])
        if a == b:
            raise InputError(
                f"{row.where}: {shown(row.title)} is contrasted with itself; write another in the row below"
            )
        self.analysis[f"{a}-and-{b}"] = {"kind": "conjunction", "of": [a, b]}
        first, second = (subset(self.dataset, self.selected(self.expressions[arm])) for arm in (a, b))
        both = shared_keys(first, second).size
        if both in (first.sizes["experiment"], second.sizes["experiment"]):
            text = f"conjunction '{a}-and-{b}'; no contrast, for all experiments of one stand in the other"
            self.note(row.where, text, same=False)
            return
        self.analysis[f"{a}-vs-{b}"] = {"kind": "contrast", "arms": [a, b]}
        arms = f"{self.described(a)} and {self.described(b)}"
        self.note(row.where, f"contrast '{a}-vs-{b}' and conjunction '{a}-and-{b}' of {arms}")
        if both:
            self.settings = {"inference": {"shared": "exclude"}}
            text = f"{both} experiments stand in both: here they are left out of the contrast, in JALE they are not"
            self.note(row.where, text, same=False)
        elif shared(first, second):
            # The setting is that of all contrasts: "exclude" is kept if any of them needs it.
            self.settings.setdefault("inference", {"shared": "keep"})
            text = "both have experiments of one study; kept as in JALE, though relabelling takes them as independent"
            self.note(row.where, text, same=False)
