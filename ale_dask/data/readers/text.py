"""What the formats share: bytes to text, text to numbers and spaces."""

from __future__ import annotations

import codecs
import math
import re

from ale_dask.data.foci import LIMIT_MM, MAX_SUBJECTS
from ale_dask.words.errors import InputError

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE | re.ASCII)
# Minus signs that word processors and PDF tables put in place of the hyphen.
_MINUS = str.maketrans(dict.fromkeys("\u2212\u2013\u2010\u2011\ufe63\uff0d", "-"))
_BLANK = "".join(chr(c) for c in range(0x10000) if chr(c).isspace()) + "\ufeff"
_SPACES = {"mni": "MNI", "mni152": "MNI", "icbm152": "MNI", "tal": "TAL", "talairach": "TAL"}
# Templates of MNI152 as TemplateFlow (MNI152NLin2009cAsym) and NiMARE (mni152_2mm, ale_2mm) name them. MNI305 and
# MNIColin27 are other brains, millimetres apart.
_MNI152 = re.compile(r"mni152n?lin[a-z0-9]*|(?:mni152|ale)_[12]mm", re.ASCII)
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def decode(data: bytes, *, name: str) -> list[str]:
    """Return the lines of a file's bytes: UTF-8, UTF-16 with its mark, else Latin-1; any line ends.

    Raises
    ------
    InputError
        for bytes that are not text.
    """
    text = as_text(data, name=name)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if "\0" in text:
        at = next(i for i, line in enumerate(lines, 1) if "\0" in line)
        raise InputError(f"{name}:{at}: holds NUL bytes, so it is not a text file; give Sleuth text or a table")
    return lines


def as_text(data: bytes, *, name: str) -> str:
    """Return a file's bytes as text: UTF-8, UTF-16 with its mark, else Latin-1; an InputError if the mark lies."""
    encoding = next((e for bom, e in _BOMS if data.startswith(bom)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise InputError(f"{name}:1: marked as UTF-16 but is not; save it as UTF-8") from error
        return data.decode("latin-1")


def clean(text: str) -> str:
    """Return the text without the blanks, no-break spaces and byte-order marks at its ends."""
    return text.strip(_BLANK)


def shown(text: str) -> str:
    """Return the text quoted for an error message, cut at 60 characters."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def as_space(text: str) -> str | None:
    """Return "MNI" or "TAL" for a name of either, None for anything else."""
    word = clean(text).lower()
    return "MNI" if _MNI152.fullmatch(word) else _SPACES.get(word)


def as_subjects(text: str, *, where: str) -> int | None:
    """Return the number of subjects that a text states (12 or 12.0), None where it is empty.

    Raises
    ------
    InputError
        for what is not a whole number of 1 or more.
    """
    token = clean(text)
    if not token:
        return None
    value = _float(token.translate(_MINUS).replace(",", "."))
    if value is None or not 1 <= value <= MAX_SUBJECTS or value != int(value):
        raise InputError(f"{where}: sample size {shown(token)}; write a whole number of 1 or more")
    return int(value)


def as_focus(tokens: list[str], *, line: str, where: str) -> tuple[float, float, float]:
    """Return the coordinates in mm of three tokens, each with a decimal point or a decimal comma.

    Raises
    ------
    InputError
        for tokens that are not three finite numbers within 1000 mm.
    """
    if len(tokens) != 3:
        raise InputError(f"{where}: found {len(tokens)} values in {shown(line)}; a focus is three numbers, x y z in mm")
    values = []
    for token in tokens:
        value = _float(token)
        if value is None:
            plain = clean(token).translate(_MINUS)
            value = _float(plain.replace(",", "."))
            value = math.nan if _NOT_FINITE.fullmatch(plain) else value
        if value is None:
            raise InputError(f"{where}: {shown(token)} in {shown(line)} is not a number; a focus is x y z in mm")
        if not math.isfinite(value):
            raise InputError(f"{where}: coordinate {shown(token)} is not finite; correct or remove the focus")
        if abs(value) > LIMIT_MM:
            raise InputError(f"{where}: coordinate {shown(token)} lies beyond {LIMIT_MM:g} mm; give x y z in mm")
        values.append(value)
    x, y, z = values
    return x, y, z


def _float(token: str) -> float | None:
    return float(token) if _NUMBER.fullmatch(token) else None
