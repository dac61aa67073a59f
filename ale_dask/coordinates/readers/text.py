"""Text of all formats: bytes decoded to lines, and words read as numbers, coordinates, sample sizes and spaces."""

from __future__ import annotations

import codecs
import math
import re

from ale_dask.coordinates.decisions import Decision, Tell, untold
from ale_dask.coordinates.foci import LIMIT_MM, MAX_SUBJECTS
from ale_dask.errors import InputError

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE | re.ASCII)
# Minus signs and dashes that word processors and PDF tables put in place of the hyphen.
_MINUS = str.maketrans(dict.fromkeys("\u2212\u2013\u2010\u2011\ufe63\uff0d", "-"))
_BLANK = "".join(chr(c) for c in range(0x10000) if chr(c).isspace()) + "\ufeff"
_SPACES = {"mni": "MNI", "mni152": "MNI", "icbm152": "MNI"} | dict.fromkeys(
    ("tal", "talairach", "tlrc", "t88", "talairachtournoux", "talairachandtournoux"), "TAL"
)
_MARKS = re.compile(r"[\s_.&()-]+")
# Names of MNI152 templates in TemplateFlow (MNI152NLin2009cAsym) and NiMARE (mni152_2mm, ale_2mm). MNI305 and
# MNIColin27 are other brains, which differ by millimetres.
_MNI152 = re.compile(r"mni152n?lin[a-z0-9]*|(?:mni152|ale)_[12]mm", re.ASCII)
_NOT_IN_WINDOWS = (0x81, 0x8D, 0x8F, 0x90, 0x9D)
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_LINE_END = re.compile(rb"\r\n|\r|\n")
# Without U+0085, the end of a line on mainframes, which counts as a blank.
_CONTROLS = re.compile("[\x80-\x84\x86-\x9f]")
_WINDOWS = {code: bytes([code]).decode("cp1252") for code in range(0x80, 0xA0) if code not in _NOT_IN_WINDOWS}


def decode(data: bytes, *, name: str, tell: Tell = untold) -> list[str]:
    """Return the lines of bytes in UTF-8, UTF-16 with its mark, or else Windows-1252, with any line ends.

    Raises
    ------
    InputError
        for bytes that are not text.
    """
    text = as_text(data, name=name, tell=tell)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if "\0" in text:
        at = next(i for i, line in enumerate(lines, 1) if "\0" in line)
        raise InputError(
            f"{name}:{at}: holds NUL bytes, so it is not a text file, or UTF-16 without its mark; give Sleuth text or "
            "a table, saved as UTF-8"
        )
    return lines


def as_text(data: bytes, *, name: str, tell: Tell = untold) -> str:
    """Return bytes in UTF-8, UTF-16 with its mark, or else Windows-1252 as text.

    Raises
    ------
    InputError
        for bytes that are not valid in their encoding, and for a file in which lines have different encodings.
    """
    encoding = next((e for bom, e in _BOMS if data.startswith(bom)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise InputError(f"{name}:1: marked as UTF-16 but is not; save it as UTF-8") from error
        return _windows(data, at=error.start, name=name, tell=tell)
    return without_controls(text, name=name, tell=tell)


def without_controls(text: str, *, name: str, tell: Tell) -> str:
    """Return text with the quotes and dashes that became control characters, which no text has.

    They do where a program takes Windows-1252 for Latin-1.
    """
    if _CONTROLS.search(text):
        text = _CONTROLS.sub(lambda match: _WINDOWS.get(ord(match[0]), match[0]), text)
        tell(Decision("encoding", name, "control characters were read as the quotes and dashes of Windows-1252"))
    return text


def _windows(data: bytes, *, at: int, name: str, tell: Tell) -> str:
    where = f"{name}:{len(re.findall(_LINE_END, data[:at])) + 1}"
    if any(c != "\ufffd" and not c.isascii() for c in data.decode("utf-8", "replace")):
        raise InputError(f"{where}: not UTF-8, as other lines of the file are; save the whole file as UTF-8")
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        where = f"{name}:{len(re.findall(_LINE_END, data[: error.start])) + 1}"
        raise InputError(
            f"{where}: the byte 0x{data[error.start]:02x} is neither UTF-8 nor Windows-1252; save the file as UTF-8"
        ) from error
    tell(
        Decision(
            "encoding", where, "not UTF-8, so the file was read as Windows-1252; save it as UTF-8 if letters are wrong"
        )
    )
    return text


def clean(text: str) -> str:
    """Return the text without the blanks, no-break spaces and byte-order marks at its ends."""
    return text.strip(_BLANK)


def shown(text: str) -> str:
    """Return the text quoted for an error message, cut at 60 characters."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def as_space(text: str) -> str | None:
    """Return "MNI" or "TAL" for a name of either, None for anything else."""
    word = clean(text).lower()
    if _MNI152.fullmatch(word):
        return "MNI"
    # "MNI 152", "MNI-152", "ICBM 152", "Talairach space", "Tal.": without blanks, marks and the word itself.
    return _SPACES.get(_MARKS.sub("", word).removesuffix("space").removesuffix("coordinates"))


def as_subjects(text: str, *, where: str) -> int | None:
    """Return the number of subjects that a text states (12 or 12.0), None where it is empty.

    Raises
    ------
    InputError
        for a text that is no whole number of 1 or more.
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


def as_number(token: str) -> float | None:
    """Return the number that a token states with a decimal point or comma, None where it is no number."""
    return _float(clean(token).translate(_MINUS).replace(",", "."))


def _float(token: str) -> float | None:
    return float(token) if _NUMBER.fullmatch(token) else None
