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

from ale_dask.coordinates.decisions import Decision, Tell, untold
from ale_dask.coordinates.foci import Experiment, foci_of
from ale_dask.coordinates.readers.faults import Faults
from ale_dask.coordinates.readers.headings import Heading, heading, undressed
from ale_dask.coordinates.readers.sizes import IN_WORDS, stated_n
from ale_dask.coordinates.readers.text import as_focus, as_number, as_space, clean, decode, shown
from ale_dask.errors import InputError
from ale_dask.schema import FOCI, check

_SEPARATORS = re.compile(r"[\s,;]+")
_WHERES = 5
_SAID = {
    IN_WORDS: "{n} sample size(s) in words, such as {shown}, were read as the first number; write '// Subjects=12'",
    "reference-line": "{n} line(s) such as {shown} were read as a Reference line; write '// Reference=MNI' or "
    "'// Reference=Talairach'",
    "subjects-line": "{n} line(s) such as {shown} were read as a Subjects line; write '// Subjects=12'",
    "subjects-above-name": "{n} Subjects line(s) stand above the name of their experiment, such as {shown}, and were "
    "read as its sample size",
    "focus-left-out": "{n} focus or foci behind //, such as {shown}, were left out; remove the // to use them",
    "heading": "{n} line(s) above a Reference line, such as {shown}, were taken for headings and are in no name",
    "names-apart": "{n} name(s) were put together from lines with a blank line between them, such as {shown}; write a "
    "'// Subjects=' line below each experiment that is one of its own",
    "no-subjects": "{n} experiment(s) with 0 subjects and no foci, such as {shown}, count as experiments without foci",
    "spreadsheet-line": "{n} line(s) such as {shown} were read without the quotes or empty cells of a spreadsheet",
}
"""What is said of the decisions of each code: how many lines, and the first of them."""


@dataclass
class _Open:
    """The experiment being read; `sized` once its Subjects line has ended the header."""

    line: int
    names: list[str] = field(default_factory=list)
    n: int | None = None
    sized: bool = False
    space: str | None = None
    xyz: list[tuple[float, float, float]] = field(default_factory=list)
    headed: bool = True
    """Whether a line for its name came first, and not its Subjects line."""
    headings: int = 0
    """How many of the names stand above a Reference line."""
    glued: bool = False
    """Whether its first line follows foci or a Subjects line without a blank line between."""
    lost: bool = False
    """Whether its Reference line names an unknown space."""
    zero_at: str = ""
    """Where it states that it has no subjects."""


@dataclass
class _State:
    """What has been read of a file so far."""

    file: str
    space: str | None
    current: _Open | None = None
    done: list[_Open] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    said: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    blank: bool = True
    lost: bool = False
    """Whether the last Reference line names an unknown space, which is a fault already."""

    def say(self, code: str, where: str, text: str) -> None:
        self.said.setdefault(code, []).append((where, text))

    def close(self) -> None:
        # A bare `//` with neither sample size nor foci is a separator, not an experiment.
        if self.current is not None and (self.current.names or self.current.sized or self.current.xyz):
            self.done.append(self.current)
        self.current = None


def parse_sleuth(data: bytes, *, name: str, space: str | None = None, tell: Tell = untold) -> tuple[Experiment, ...]:
    """Return the experiments of a Sleuth file, n None where it states no sample size.

    `name` stands for the file in messages and sources; `space` ("MNI" or "TAL") holds until the file's
    first Reference line. `tell` is called with each decision about lines that could be read in two ways.

    Raises
    ------
    InputError
        with file:line of up to 20 lines that are not Sleuth text, and for a file without foci.
    """
    return parse_lines(decode(data, name=name, tell=tell), name=name, space=space, tell=tell)


def is_heading(line: str) -> bool:
    """Return whether a line begins with //, maybe in the quotes of a spreadsheet."""
    return undressed(clean(line)).startswith("//")


def parse_lines(
    lines: list[str], *, name: str, space: str | None = None, first: int = 1, tell: Tell = untold
) -> tuple[Experiment, ...]:
    """Return the experiments of a Sleuth file's lines, as `parse_sleuth` does of its bytes; line 1 is its `first`."""
    state = _State(name, space)
    for number, line in enumerate(lines, first):
        text = clean(line)
        if text:
            try:
                _read_line(state, text, number=number)
            except InputError as error:
                state.faults.add(str(error))
        state.blank = not text
    state.close()
    made = _finish(state)
    if not any(e.xyz for e in made):
        raise InputError(
            f"{name}:{first + len(lines) - 1}: no foci in the whole file; write one 'x y z' in mm per line"
        )
    for code, found in state.said.items():
        more = f" and {len(found) - _WHERES:,} more" if len(found) > _WHERES else ""
        wheres = ", ".join(where for where, _ in found[:_WHERES]) + more
        tell(Decision(code, wheres, _SAID[code].format(n=f"{len(found):,}", shown=shown(found[0][1])), len(found)))
    return made


def _read_line(state: _State, text: str, *, number: int) -> None:
    where = f"{state.file}:{number}"
    plain = undressed(text)
    if not plain.startswith("//"):
        _read_focus(state, text, where=where)
        return
    # "///" is a slip of the finger.
    body = clean(plain.lstrip("/"))
    found = heading(body, where=where)
    if plain != text:
        state.say("spreadsheet-line", where, text)
    if found.kind == "focus":
        state.say("focus-left-out", where, plain)
        return
    glued = not state.blank and state.current is not None and (bool(state.current.xyz) or state.current.sized)
    if state.current is not None and state.current.xyz:
        state.close()
    if not found.exact:
        state.say(f"{found.kind}-line", where, plain)
    if found.kind == "reference":
        _read_reference(state, found.value, where=where)
    elif found.kind == "subjects":
        _read_subjects(state, found.value, number=number, where=where)
    else:
        _read_name(state, body, number=number, where=where, glued=glued)


def _read_focus(state: _State, text: str, *, where: str) -> None:
    current = state.current
    if current is None and _is_focus(text):
        raise InputError(
            f"{where}: found {shown(text)} before any experiment; write a '// name' and a '// Subjects=' line above "
            "its foci"
        )
    try:
        focus = as_focus(_tokens(text, where=where), line=text, where=where)
    except InputError:
        if _is_focus(text):
            raise
        raise InputError(
            f"{where}: found {shown(text)}, neither a focus nor a line that begins with //; begin the line with // if "
            "it is part of a name, else remove it"
        ) from None
    if current is not None:
        current.space, current.lost = current.space or state.space, state.lost
        current.xyz.append(focus)


def _is_focus(text: str) -> bool:
    """Return whether a line is meant as a focus: most of it is numbers."""
    tokens = [token for token in _SEPARATORS.split(text[:200].split("//", 1)[0]) if token]
    return 2 * sum(as_number(token) is not None for token in tokens) > len(tokens) or len(text) > 10_000


def _read_reference(state: _State, value: str, *, where: str) -> None:
    state.space = as_space(value)
    state.lost = state.space is None
    if state.lost:
        raise InputError(f"{where}: unknown space {shown(value)}; write Reference=MNI or Reference=Talairach")
    if state.current is not None and not state.current.sized:
        state.current.headings = len(state.current.names)


def _read_subjects(state: _State, value: str, *, number: int, where: str) -> None:
    current = state.current
    if current is not None and current.sized:
        if current.headed or not current.names:
            raise InputError(
                f"{where}: second sample size for the experiment of line {current.line}; write a '// name' line "
                "above it"
            )
        state.close()
    current = state.current = state.current or _Open(line=number, headed=False)
    current.sized = True
    if as_number(value) == 0:
        current.n, current.zero_at = 0, where
    else:
        current.n, in_words = stated_n(value, where=where)
        if in_words:
            state.say(IN_WORDS, where, clean(value))


def _read_name(state: _State, body: str, *, number: int, where: str, glued: bool) -> None:
    current = state.current
    if current is not None and current.sized and not current.headed:
        if not current.names and body:
            state.say("subjects-above-name", where, body)
    elif current is not None and current.sized:
        state.close()
    if state.current is None:
        state.current = _Open(line=number, glued=glued)
    current = state.current
    if not body:
        return
    if current.headings and current.headings == len(current.names):
        # A name is not interrupted by a Reference line: what is above it heads the file.
        state.say("heading", f"{state.file}:{current.line}", "; ".join(current.names))
        current.names, current.line, current.headings = [], number, 0
    elif current.names and state.blank:
        state.say("names-apart", where, f"{current.names[-1]}; {body}")
    current.names.append(body)


def _finish(state: _State) -> tuple[Experiment, ...]:
    """Return the experiments of a whole file, or raise one error with everything that is wrong with it."""
    sized = any(record.sized for record in state.done)
    made, homeless = [], []
    for record in state.done:
        title = "; ".join(record.names)
        where = f"{state.file}:{record.line}"
        if sized and record.glued and record.xyz and not record.sized:
            state.faults.add(
                f"{where}: {shown('// ' + title)} stands inside an experiment and has no Subjects line below it; "
                "remove it if it is a comment, or write '// Subjects=' below it if it begins an experiment"
            )
        if record.n == 0:
            if record.xyz:
                state.faults.add(
                    f"{record.zero_at}: sample size '0' of {shown(title)}, which has foci; write 1 or more"
                )
            state.say("no-subjects", where, title)
        known = record.space or state.space
        if known is None and not (record.lost or state.lost):
            homeless.append((where, title))
        elif known is not None and not state.faults.count:
            made.append(Experiment(name=title, n=record.n, xyz=tuple(record.xyz), space=known, source=where))
    if homeless:
        where, title = homeless[0]
        more = f" and {len(homeless) - 1:,} more of {len(state.done):,}" if len(homeless) > 1 else ""
        state.faults.add(
            f"{where}: no Reference line above {shown(title)}{more}; write '// Reference=MNI' or "
            "'// Reference=Talairach' at the top, or give space"
        )
    state.faults.refuse()
    return tuple(made)


def write_sleuth(dataset: xr.Dataset) -> str:
    """Return the foci Dataset as Sleuth text in MNI space, coordinates to the last digit.

    Raises
    ------
    InputError
        for a name that a reader would take for something else, such as a Subjects line or a focus.
    """
    check(dataset, *FOCI)
    lines = ["// Reference=MNI"]
    names, sizes = dataset["experiment_name"].values, dataset["experiment_n_subjects"].values
    for study, n, xyz in zip(names, sizes, foci_of(dataset), strict=True):
        title = clean(str(study).replace("\r", " ").replace("\n", " "))
        if not _stays(title):
            raise InputError(f"the name {shown(title)} cannot be written to Sleuth text; rename the experiment")
        # An empty Subjects= still ends the header, so that the next name is not stacked onto this one.
        lines += ["", f"// {title}".rstrip(), f"// Subjects={n if n else ''}"]
        lines += ["\t".join(map(repr, focus)) for focus in xyz.tolist()]
    return "\n".join(lines) + "\n"


def _stays(title: str) -> bool:
    """Return whether a reader takes the line of a name for that name."""
    line = f"// {title}"
    try:
        return not title or (undressed(line) == line and heading(title, where="") == Heading("name", title))
    except InputError:
        return False


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
