"""Sleuth text, the format of GingerALE: read and written.

// Reference=MNI
// Smith 2010; faces > houses
// Subjects=12
-24  -4  -18
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import xarray as xr

from ale_dask.data.decisions import Tell, untold
from ale_dask.data.foci import Experiment, foci_of
from ale_dask.data.readers.text import as_focus, as_space, as_subjects, clean, decode, shown
from ale_dask.words.errors import InputError
from ale_dask.words.variables import FOCI, check

_FIELD = re.compile(r"(reference|subjects?)\s*=\s*(.*)", re.IGNORECASE | re.DOTALL)


@dataclass
class _Open:
    """The experiment being read; `sized` once its Subjects line has ended the header."""

    line: int
    names: list[str] = field(default_factory=list)
    n: int | None = None
    sized: bool = False
    space: str | None = None
    xyz: list[tuple[float, float, float]] = field(default_factory=list)


def parse_sleuth(data: bytes, *, name: str, space: str | None = None) -> tuple[Experiment, ...]:
    """Return the experiments of a Sleuth file, n None where it states no sample size.

    `name` stands for the file in messages and sources; `space` ("MNI" or "TAL") holds until the file's
    first Reference line.

    Raises
    ------
    InputError
        with file:line, for anything that is not Sleuth text, and for a file without foci.
    """
    return parse_lines(decode(data, name=name), name=name, space=space)


def parse_lines(
    lines: list[str], *, name: str, space: str | None = None, first: int = 1, tell: Tell = untold
) -> tuple[Experiment, ...]:
    """Return the experiments of a Sleuth file's lines, as `parse_sleuth` does of its bytes; line 1 is its `first`."""
    done: list[Experiment] = []
    current: _Open | None = None

    def close() -> None:
        # A bare `//` with neither sample size nor foci is a separator, not an experiment.
        if current is not None and (current.names or current.sized or current.xyz):
            done.append(_finish(current, file=name, space=space))

    for number, line in enumerate(lines, first):
        text = clean(line)
        if not text:
            continue
        where = f"{name}:{number}"
        if not text.startswith("//"):
            if current is None:
                raise InputError(
                    f"{where}: found {shown(text)} before any experiment; write a '// name' and a "
                    "'// Subjects=' line above its foci"
                )
            current.space = current.space or space
            current.xyz.append(as_focus(_tokens(text, where=where), line=text, where=where))
            continue
        body = clean(text[2:])
        stated = _FIELD.fullmatch(body)
        if current is not None and current.xyz:
            close()
            current = None
        if stated and stated[1].lower() == "reference":
            space = as_space(stated[2])
            if space is None:
                raise InputError(
                    f"{where}: unknown space {shown(stated[2])}; write Reference=MNI or Reference=Talairach"
                )
        elif stated:
            if current is not None and current.sized:
                raise InputError(
                    f"{where}: second sample size for the experiment of line {current.line}; "
                    "write a '// name' line above it"
                )
            current = current or _Open(line=number)
            current.n, current.sized = as_subjects(stated[2], where=where), True
        else:
            if current is not None and current.sized:
                close()
                current = None
            current = current or _Open(line=number)
            if body:
                current.names.append(body)
    close()
    if not any(e.xyz for e in done):
        raise InputError(
            f"{name}:{first + len(lines) - 1}: no foci in the whole file; write one 'x y z' in mm per line"
        )
    return tuple(done)


def write_sleuth(dataset: xr.Dataset) -> str:
    """Return the foci Dataset as Sleuth text in MNI space, coordinates to the last digit.

    Raises
    ------
    InputError
        for a name that a reader would take for a Reference or Subjects line.
    """
    check(dataset, *FOCI)
    lines = ["// Reference=MNI"]
    names, sizes = dataset["experiment_name"].values, dataset["experiment_n_subjects"].values
    for study, n, xyz in zip(names, sizes, foci_of(dataset), strict=True):
        title = clean(str(study).replace("\r", " ").replace("\n", " "))
        if _FIELD.fullmatch(title):
            raise InputError(f"the name {shown(title)} cannot be written to Sleuth text; rename the experiment")
        # An empty Subjects= still ends the header, so that the next name is not stacked onto this one.
        lines += ["", f"// {title}".rstrip(), f"// Subjects={n if n else ''}"]
        lines += ["\t".join(map(repr, focus)) for focus in xyz.tolist()]
    return "\n".join(lines) + "\n"


def _finish(record: _Open, *, file: str, space: str | None) -> Experiment:
    title = "; ".join(record.names)
    where = f"{file}:{record.line}"
    known = record.space or space
    if known is None:
        raise InputError(
            f"{where}: no Reference line above {shown(title)}; write '// Reference=MNI' or "
            "'// Reference=Talairach' at the top, or give space"
        )
    return Experiment(name=title, n=record.n, xyz=tuple(record.xyz), space=known, source=where)


def _tokens(text: str, *, where: str) -> list[str]:
    # A comment may follow a focus; the focus counts.
    focus = text.split("//", 1)[0].rstrip().rstrip(",;").rstrip()
    if ";" in focus:
        return focus.split(";")
    tokens = focus.split()
    if "," not in focus:
        return tokens
    if len(tokens) != 3:
        return focus.split(",")
    # Of three words, commas inside are decimal (-12,5 3,0 4) and commas at the ends separate (1, 2, 3).
    if any(token.startswith(",") for token in tokens):
        raise InputError(
            f"{where}: cannot tell a decimal comma from a separator in {shown(text)}; write 0,5 or '1, 2, 3'"
        )
    return [token.removesuffix(",") for token in tokens]
