"""Lines of Sleuth text that begin with //: a space, a sample size, a focus that is left out, or a name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from ale_dask.coordinates.readers.sizes import stated_n
from ale_dask.coordinates.readers.text import as_number, as_space, clean, shown
from ale_dask.errors import InputError

Kind = Literal["reference", "subjects", "focus", "name"]

_FIELD = re.compile(r"(reference|subjects?)\s*=\s*(.*)", re.IGNORECASE | re.DOTALL)
_FIELD_IN_NAME = re.compile(r"\b(?:reference|subjects?)\s*=", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s,;]+")
_BLANKS = re.compile(r"[\s;]+")
_REFERENCES = frozenset(
    ("ref", "space", "template", "coordinates", "coordinate space", "coordinate system", "reference space")
)
_SUBJECTS = frozenset(("n", "participants", "sample size", "number of subjects", "no. of subjects", "n subjects"))
# "coordinate system:" has 18 characters; a sign further on belongs to a name.
_MAX_KEY = 20
# Ratio of difflib from which on a word is another one misspelt.
_ALIKE = 0.8


@dataclass(frozen=True)
class Heading:
    """The kind and the value of a line; `exact` unless the line is spelt in other words than those of the format."""

    kind: Kind
    value: str
    exact: bool = True


def undressed(text: str) -> str:
    """Return a line that begins with // without the quotes and the separators of empty cells of a spreadsheet."""
    short = text.rstrip(",;\t")
    # One comma may belong to a name.
    plain = short.rstrip() if len(text) - len(short) > 1 else text
    if plain.startswith('"//') and plain.rstrip(",;").endswith('"'):
        return clean(plain.rstrip(",;")[1:-1].replace('""', '"'))
    return plain if plain.startswith("//") else text


def is_heading(line: str) -> bool:
    """Return whether a line begins with //, maybe in the quotes of a spreadsheet."""
    return undressed(clean(line)).startswith("//")


def heading(text: str, *, where: str) -> Heading:
    """Return the kind and the value of the text after //.

    Raises
    ------
    InputError
        for a line that may be meant in two ways.
    """
    field = _FIELD.fullmatch(text)
    if field:
        return Heading("reference" if field[1][:1] in "rR" else "subjects", clean(field[2]))
    if as_space(text) is not None:
        return Heading("reference", text, exact=False)
    return _misspelt(text, where=where) or _left_out(text, where=where) or _name(text, where=where)


def _name(text: str, *, where: str) -> Heading:
    if field := _FIELD_IN_NAME.search(text):
        raise InputError(
            f"{where}: {shown(text[field.start() :])} stands inside the name {shown(text)}; write it in a line of its "
            "own that begins with //"
        )
    return Heading("name", text)


def _misspelt(text: str, *, where: str) -> Heading | None:
    """Return the space or sample size that a line states in other words than the format, None where it states none."""
    for key, sign, value in _keys(text):
        if key in _REFERENCES or _alike(key, "reference"):
            if as_space(value) is not None:
                return Heading("reference", value, exact=False)
            # "Preference: sweet > sour" is a name, and "Reference: Smith 2010" may be one.
            if _resembles_space(value) or key == "reference":
                raise InputError(
                    f"{where}: cannot tell the space in {shown(text)}; write '// Reference=MNI' or "
                    "'// Reference=Talairach', or begin the line with another word if it is a name"
                )
        if (key in _SUBJECTS or _alike(key, "subjects")) and value[:1].isdigit():
            stated_n(value, where=where)
            return Heading("subjects", value, exact=False)
        if sign == "=" and _alike(key, "subjects"):
            raise InputError(f"{where}: cannot tell the sample size in {shown(text)}; write '// Subjects=12'")
    return None


def _keys(text: str) -> list[tuple[str, str, str]]:
    """Return (key, sign, value) of "key = value", "key: value", "key value" and "12 subjects"."""
    at = next((i for i, c in enumerate(text[: _MAX_KEY + 1]) if c in "=:"), None)
    if at is not None:
        return [(clean(text[:at]).lower().replace("_", " "), text[at], clean(text[at + 1 :].lstrip("=:")))]
    words = text.split()
    if len(words) != 2 or len(text) > 2 * _MAX_KEY:
        return []
    first, second = words
    # "N 12" may be a name, "12 N" hardly is.
    keys = [(first.lower(), " ", second)] if len(first) > 1 else []
    return [*keys, (second.lower(), " ", first)] if first.isdigit() else keys


def _resembles_space(value: str) -> bool:
    words = re.findall(r"[a-z]+", value[:100].lower())
    return any(w.startswith(("mni", "icbm", "tal")) or _alike(w, "talairach") for w in words)


def _alike(word: str, wanted: str) -> bool:
    return abs(len(word) - len(wanted)) <= 2 and SequenceMatcher(None, word, wanted).ratio() > _ALIKE


def _left_out(text: str, *, where: str) -> Heading | None:
    """Return a focus that was made a comment, None for a text that does not begin with three numbers."""
    begin = text.strip("()[] ")[:100]
    # "-1,5; 2; 3" has decimal commas, "-1,5,2" has none.
    tokens = [clean(token).rstrip(",") for token in _BLANKS.split(begin) if token.strip(",")]
    if len(tokens) < 3:
        tokens = [token for token in _SEPARATORS.split(begin) if token]
    if len(tokens) < 3 or any(as_number(token) is None for token in tokens[:3]):
        return None
    # The fourth number may be the statistic of the focus.
    if len(tokens) <= 4 and as_number(tokens[-1]) is not None:
        return Heading("focus", text)
    raise InputError(
        f"{where}: cannot tell whether {shown(text)} is a focus left out or a name; remove the line, or begin the name "
        "with a word"
    )
