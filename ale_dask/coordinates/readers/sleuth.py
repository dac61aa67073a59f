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
from ale_dask.coordinates.readers.foci_file import FociFile
from ale_dask.coordinates.readers.headings import Heading, heading, is_heading, undressed
from ale_dask.coordinates.readers.sizes import IN_WORDS, stated_n
from ale_dask.coordinates.readers.text import as_focus, as_number, as_space, clean, shown
from ale_dask.errors import InputError
from ale_dask.schema import FOCI, check

_SEPARATORS = re.compile(r"[\s,;]+")
_LISTED = 5
_MESSAGES = {
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
"""The message on all lines of a decision, by its code: their number, and the first of them."""


@dataclass
class _Record:
    """An experiment being read."""

    line: int
    names: list[str] = field(default_factory=list)
    n: int | None = None
    has_size: bool = False
    """Whether its Subjects line was read, which ends the lines of its name."""
    space: str | None = None
    xyz: list[tuple[float, float, float]] = field(default_factory=list)
    begins_with_name: bool = True
    """Whether a line for its name came first, and not its Subjects line."""
    headings: int = 0
    """How many of the names stand above a Reference line."""
    no_blank_line_above: bool = False
    """Whether its first line follows foci or a Subjects line without a blank line between."""
    in_unknown_space: bool = False
    """Whether its Reference line names an unknown space."""
    zero_subjects_at: str = ""
    """The file:line that states that it has no subjects."""


@dataclass
class _State:
    """The experiments, faults and decisions of the lines read so far."""

    file: str
    space: str | None
    current: _Record | None = None
    records: list[_Record] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    decided: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """The file:line and the text of each line that a decision was made about, by the code of the decision."""
    blank_line_above: bool = True
    in_unknown_space: bool = False
    """Whether the last Reference line names an unknown space, which is a fault already."""

    def decide(self, code: str, where: str, text: str) -> None:
        self.decided.setdefault(code, []).append((where, text))

    def close(self) -> None:
        # A bare `//` with neither sample size nor foci is a separator, not an experiment.
        if self.current is not None and (self.current.names or self.current.has_size or self.current.xyz):
            self.records.append(self.current)
        self.current = None


def recognises(file: FociFile) -> bool:
    """Return whether a line of a text begins with //; texts that begin as a table are asked for before."""
    return any(map(is_heading, file.lines))


def read(file: FociFile) -> tuple[Experiment, ...]:
    """Return the experiments of a file of Sleuth text; `file.space` holds until its first Reference line."""
    return parse_lines(file.lines, name=file.name, space=file.space, tell=file.tell)


def parse_lines(
    lines: list[str], *, name: str, space: str | None = None, first: int = 1, tell: Tell = untold
) -> tuple[Experiment, ...]:
    """Return the experiments of lines of Sleuth text, the first of which has the number `first` in its file.

    Raises
    ------
    InputError
        with file:line of up to 20 lines that are not Sleuth text, and for a text without foci.
    """
    state = _State(name, space)
    for number, line in enumerate(lines, first):
        text = clean(line)
        if text:
            try:
                _read_line(state, text, number=number)
            except InputError as error:
                state.faults.add(str(error))
        state.blank_line_above = not text
    state.close()
    experiments = _experiments(state)
    if not any(e.xyz for e in experiments):
        raise InputError(
            f"{name}:{first + len(lines) - 1}: no foci in the whole file; write one 'x y z' in mm per line"
        )
    for code, decided in state.decided.items():
        more = f" and {len(decided) - _LISTED:,} more" if len(decided) > _LISTED else ""
        wheres = ", ".join(where for where, _ in decided[:_LISTED]) + more
        message = _MESSAGES[code].format(n=f"{len(decided):,}", shown=shown(decided[0][1]))
        tell(Decision(code, wheres, message, len(decided)))
    return experiments


def _read_line(state: _State, text: str, *, number: int) -> None:
    where = f"{state.file}:{number}"
    plain = undressed(text)
    if not plain.startswith("//"):
        _read_focus(state, text, where=where)
        return
    # "///" is a slip of the finger.
    body = clean(plain.lstrip("/"))
    line = heading(body, where=where)
    if plain != text:
        state.decide("spreadsheet-line", where, text)
    if line.kind == "focus":
        state.decide("focus-left-out", where, plain)
        return
    current = state.current
    below_experiment = not state.blank_line_above and current is not None and (bool(current.xyz) or current.has_size)
    if current is not None and current.xyz:
        state.close()
    if not line.exact:
        state.decide(f"{line.kind}-line", where, plain)
    if line.kind == "reference":
        _read_reference(state, line.value, where=where)
    elif line.kind == "subjects":
        _read_subjects(state, line.value, number=number, where=where)
    else:
        _read_name(state, body, number=number, where=where, no_blank_line_above=below_experiment)


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
        current.space, current.in_unknown_space = current.space or state.space, state.in_unknown_space
        current.xyz.append(focus)


def _is_focus(text: str) -> bool:
    """Return whether a line is meant as a focus: more than half of its words are numbers."""
    tokens = [token for token in _SEPARATORS.split(text[:200].split("//", 1)[0]) if token]
    return 2 * sum(as_number(token) is not None for token in tokens) > len(tokens) or len(text) > 10_000


def _read_reference(state: _State, value: str, *, where: str) -> None:
    state.space = as_space(value)
    state.in_unknown_space = state.space is None
    if state.in_unknown_space:
        raise InputError(f"{where}: unknown space {shown(value)}; write Reference=MNI or Reference=Talairach")
    if state.current is not None and not state.current.has_size:
        state.current.headings = len(state.current.names)


def _read_subjects(state: _State, value: str, *, number: int, where: str) -> None:
    current = state.current
    if current is not None and current.has_size:
        if current.begins_with_name or not current.names:
            raise InputError(
                f"{where}: second sample size for the experiment of line {current.line}; write a '// name' line "
                "above it"
            )
        state.close()
    current = state.current = state.current or _Record(line=number, begins_with_name=False)
    current.has_size = True
    if as_number(value) == 0:
        current.n, current.zero_subjects_at = 0, where
    else:
        current.n, in_words = stated_n(value, where=where)
        if in_words:
            state.decide(IN_WORDS, where, clean(value))


def _read_name(state: _State, body: str, *, number: int, where: str, no_blank_line_above: bool) -> None:
    current = state.current
    if current is not None and current.has_size and not current.begins_with_name:
        if not current.names and body:
            state.decide("subjects-above-name", where, body)
    elif current is not None and current.has_size:
        state.close()
    if state.current is None:
        state.current = _Record(line=number, no_blank_line_above=no_blank_line_above)
    current = state.current
    if not body:
        return
    if current.headings and current.headings == len(current.names):
        # A Reference line does not interrupt a name: lines above it are a heading of the file.
        state.decide("heading", f"{state.file}:{current.line}", "; ".join(current.names))
        current.names, current.line, current.headings = [], number, 0
    elif current.names and state.blank_line_above:
        state.decide("names-apart", where, f"{current.names[-1]}; {body}")
    current.names.append(body)


def _experiments(state: _State) -> tuple[Experiment, ...]:
    """Return the experiments of a whole file, or raise one error with all its faults."""
    some_have_sizes = any(record.has_size for record in state.records)
    experiments, without_space = [], []
    for record in state.records:
        title = "; ".join(record.names)
        where = f"{state.file}:{record.line}"
        if some_have_sizes and record.no_blank_line_above and record.xyz and not record.has_size:
            state.faults.add(
                f"{where}: {shown('// ' + title)} stands inside an experiment and has no Subjects line below it; "
                "remove it if it is a comment, or write '// Subjects=' below it if it begins an experiment"
            )
        if record.n == 0:
            if record.xyz:
                state.faults.add(
                    f"{record.zero_subjects_at}: sample size '0' of {shown(title)}, which has foci; write 1 or more"
                )
            state.decide("no-subjects", where, title)
        known = record.space or state.space
        if known is None and not (record.in_unknown_space or state.in_unknown_space):
            without_space.append((where, title))
        elif known is not None and not state.faults.count:
            experiments.append(Experiment(name=title, n=record.n, xyz=tuple(record.xyz), space=known, source=where))
    if without_space:
        where, title = without_space[0]
        more = f" and {len(without_space) - 1:,} more of {len(state.records):,}" if len(without_space) > 1 else ""
        state.faults.add(
            f"{where}: no Reference line above {shown(title)}{more}; write '// Reference=MNI' or "
            "'// Reference=Talairach' at the top, or say it for all: "
            'space = "MNI" below [foci.NAME] of study.toml, or --space MNI'
        )
    state.faults.refuse()
    return tuple(experiments)


def write_sleuth(dataset: xr.Dataset) -> str:
    """Return a foci Dataset as Sleuth text in MNI space, with all digits of the coordinates.

    Raises
    ------
    InputError
        for a name that would be read as something else, such as a Subjects line or a focus.
    """
    check(dataset, *FOCI)
    lines = ["// Reference=MNI"]
    names, sizes = dataset["experiment_name"].values, dataset["experiment_n_subjects"].values
    for study, n, xyz in zip(names, sizes, foci_of(dataset), strict=True):
        title = clean(str(study).replace("\r", " ").replace("\n", " "))
        if not _is_read_as_name(title):
            raise InputError(f"the name {shown(title)} cannot be written to Sleuth text; rename the experiment")
        # An empty Subjects= still ends a name, so that the next name is not joined to this one.
        lines += ["", f"// {title}".rstrip(), f"// Subjects={n if n else ''}"]
        lines += ["\t".join(map(repr, focus)) for focus in xyz.tolist()]
    return "\n".join(lines) + "\n"


def _is_read_as_name(title: str) -> bool:
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
