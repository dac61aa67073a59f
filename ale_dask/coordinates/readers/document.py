"""JSON documents of foci: read within a limit of memory; values that are wrong are named by their path."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from typing import Any

from ale_dask.coordinates.decisions import Tell
from ale_dask.coordinates.foci import LIMIT_MM
from ale_dask.coordinates.readers.sizes import several_n, stated_n
from ale_dask.coordinates.readers.text import as_focus, as_space, as_text, clean, shown
from ale_dask.errors import InputError

Focus = tuple[float, float, float]

# Possessive repetitions need no memory for backtracking.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"(\s*+:)?', re.DOTALL)
_START = re.compile(rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[\s\0]*[\[{]")
# Bytes of memory that each such character stands for (CPython 3.11, 64 bit): a dict, a list, a key, an item.
# "[],[],…" would take 22 times the size of the file; study sets take 3 to 9 times.
_BYTES_OF = {"{": 210, "[": 90, ":": 30, ",": 16}
_MAX_RATIO = 18
_FREE_BYTES = 1 << 20
# The smallest real analysis takes 150 bytes of a file.
_BYTES_PER_EXPERIMENT = 80
_BYTES_PER_CELL = 8
_MAX_COLUMNS = 10_000
_FREE_CELLS = 10_000
_MAX_NAME = 500
# Longer integers overflow every use, and int() refuses more than 4,300 digits.
_MAX_DIGITS = 18
_NUMBERS = {int, float}
_float_of_int = lru_cache(maxsize=4096)(float)
_SAMPLE_SIZES = ("sample_sizes", "sample_size")
# NeuroStore exports carry "None" where null was meant.
_NOT_KNOWN = frozenset({"", "none", "null", "na", "n/a", "nan"})
_NO_SPACE = _NOT_KNOWN | {"unknown"}


def is_json(data: bytes) -> bool:
    """Return whether the first character of a file's bytes is that of a JSON object or array."""
    return _START.match(data) is not None


def load(data: bytes, *, name: str) -> Any:
    """Return the value of a JSON file's bytes.

    Raises
    ------
    InputError
        with file:line, for a file that is not JSON, has a key twice in one object, or would fill the memory.
    """
    text = as_text(data, name=name)
    if sum(size * text.count(mark) for mark, size in _BYTES_OF.items()) > _FREE_BYTES + _MAX_RATIO * len(data):
        raise InputError(f"{name}:1: almost all brackets and commas; this is no study set, check how it was saved")

    # Coordinates repeat: shared numbers take a third of the memory.
    integer = lru_cache(maxsize=4096)(lambda digits: int(digits) if len(digits) <= _MAX_DIGITS else float(digits))
    read = partial(json.loads, text, parse_int=integer, parse_float=lru_cache(maxsize=4096)(float))
    try:
        root = read()
    except json.JSONDecodeError as error:
        raise InputError(f"{name}:{error.lineno}: not JSON ({error.msg}); save or download it again") from error
    except RecursionError as error:
        raise InputError(f"{name}:1: nested too deeply for a study set; check how it was saved") from error
    # Keys of the text that are not in the value were repeated in an object. A hook on all objects would name the key,
    # but takes 10 times the size of the file where one object has most of the keys.
    if _number_of_keys(root) < sum(string[1] is not None for string in _STRING.finditer(text)):
        if len(text) < _FREE_BYTES:
            read(object_pairs_hook=partial(_refuse_repeated_key, name=name))
        raise InputError(f"{name}: a key is there twice in one object; rename or remove one")
    return root


def _refuse_repeated_key(pairs: list[tuple[str, Any]], *, name: str) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        key = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise InputError(f"{name}: the key {shown(key)} is there twice in one object; rename or remove one")
    return values


def _number_of_keys(root: Any) -> int:
    count, stack = 0, [root]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            count += len(value)
            value = list(value.values())
        if isinstance(value, list):
            stack += [item for item in value if isinstance(item, (dict, list))]
    return count


def below(where: str, key: str) -> str:
    """Return the path of a key, "file: a" below "file: " and "file: a.b" below "file: a"."""
    return f"{where}{key}" if where.endswith(": ") else f"{where}.{key}"


def mapping(value: Any, *, where: str) -> dict[str, Any]:
    """Return the value itself, an object; an InputError for anything else."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: found {_kind(value)}; it must be an object with its keys in braces")
    return value


def part(parent: Mapping[str, Any], key: str, *, where: str) -> dict[str, Any]:
    """Return the object under a key, empty where there is none or null; an InputError for anything else."""
    value = parent.get(key)
    return {} if value is None else mapping(value, where=below(where, key))


def items(parent: Mapping[str, Any], key: str, *, where: str) -> list[Any]:
    """Return the list under a key, empty where there is none or null; an InputError for anything else."""
    value = parent.get(key)
    if value is not None and not isinstance(value, list):
        raise InputError(f"{below(where, key)}: found {_kind(value)}; it must be a list")
    return value or []


def word(value: Any, *, where: str) -> str:
    """Return a scalar as the text that a table would hold: true, 12, 3.5, a name; "" for null and NaN.

    Raises
    ------
    InputError
        for a list or an object, and for characters that no text file can hold.
    """
    if isinstance(value, str):
        if "\0" in value or not _encodes(value):
            raise InputError(f"{where}: {shown(value)} holds a character that is none; correct it")
        return clean(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    raise InputError(f"{where}: found {_kind(value)}; it must be a text or a number")


def bound(experiments: int, columns: int, *, size: int, name: str) -> None:
    """Raise an InputError for a table of more experiments and columns than a file of `size` bytes can mean."""
    needed = experiments * (_BYTES_PER_EXPERIMENT + _BYTES_PER_CELL * columns)
    if columns > _MAX_COLUMNS or needed > _FREE_CELLS * _BYTES_PER_CELL + size:
        raise InputError(
            f"{name}: {experiments:,} experiments with {columns:,} columns in {size:,} bytes; "
            "remove metadata, labels or notes that few of them have"
        )


def title_of(value: Any, *, where: str) -> str:
    """Return the name of a study or an analysis; an InputError for one of more than 500 characters."""
    text = word(value, where=where)
    if len(text) > _MAX_NAME:
        raise InputError(f"{where}: {len(text):,} characters, {shown(text)}; give a name of at most {_MAX_NAME}")
    return text


def plain(values: Any) -> Focus | None:
    """Return the coordinates of three numbers within a metre, None for anything else."""
    if isinstance(values, (list, tuple)) and len(values) == 3:
        x, y, z = values
        numbers = {type(x), type(y), type(z)} <= _NUMBERS
        # max() of several numbers is not NaN where one of them is.
        if numbers and abs(x) <= LIMIT_MM and abs(y) <= LIMIT_MM and abs(z) <= LIMIT_MM:
            return _float(x), _float(y), _float(z)
    return None


def focus(values: Any, *, where: str) -> Focus:
    """Return the coordinates in mm of a list of three numbers; an InputError for anything else."""
    if not isinstance(values, (list, tuple)):
        raise InputError(f"{where}: found {_kind(values)}; a focus is a list of three numbers, x y z in mm")
    known = plain(values)
    if known:
        return known
    tokens = [v if isinstance(v, str) else _kind(v) if isinstance(v, (list, dict)) else str(v) for v in values[:9]]
    return as_focus(tokens if len(values) < 9 else [*tokens, "…"], line=" ".join(tokens), where=where)


def space_of(value: Any, *, default: str | None, where: str) -> str:
    """Return "MNI" or "TAL" for the name of a space, `default` where it is unknown or null.

    Raises
    ------
    InputError
        for another space, and for an unknown one without a default.
    """
    text = word(value, where=where)
    known = default if text.lower() in _NO_SPACE else as_space(text)
    if known is None and text.lower() in _NO_SPACE:
        raise InputError(
            f"{where}: the space is {shown(text) if text else 'not given'}; write MNI or TAL, or "
            'say it for all: space = "MNI" below [foci.NAME] of study.toml, or --space MNI'
        )
    if known is None:
        raise InputError(f"{where}: unknown space {shown(text)}; write MNI or TAL")
    return known


def subjects(holders: Iterable[tuple[str, Mapping[str, Any]]], *, tell: Tell, title: str) -> int | None:
    """Return the smallest sample size of the first (path, object) that states any, None where none does.

    `tell` is called with the decision to use the smallest of several sample sizes of the experiment `title`.
    """
    for where, holder in holders:
        texts: list[str] = []
        for key, value in holder.items():
            if is_sample_size(key):
                at = f"{where}.{key}"
                stated = value if isinstance(value, list) else [value]
                texts += [text for v in stated if (text := word(v, where=at)).lower() not in _NOT_KNOWN]
        sizes = []
        for text in texts:
            n, in_words = stated_n(text, where=where)
            sizes += [] if n is None else [n]
            if in_words:
                tell(in_words)
        if sizes:
            if decision := several_n(sizes, title=title, where=where):
                tell(decision)
            return min(sizes)
    return None


def is_sample_size(key: str) -> bool:
    """Return whether a key of metadata holds sample sizes."""
    return key.lower().replace(" ", "_") in _SAMPLE_SIZES


def columns(holder: Mapping[str, Any], *, where: str) -> dict[str, str]:
    """Return the scalars of an object as columns of a table, without sample sizes and nested values."""
    texts: dict[str, str] = {}
    for key, value in holder.items():
        # In a zarr store a "/" in the name of a variable would make a group.
        column = word(key, where=where).replace("/", "_")
        if column and not is_sample_size(column) and not isinstance(value, (list, dict)):
            texts[column] = word(value, where=f"{where}.{column}")
            if len(texts) > _MAX_COLUMNS:
                raise InputError(f"{where}: more than {_MAX_COLUMNS:,} columns; remove those that are not needed")
    return texts


def _float(value: float) -> float:
    return value if type(value) is float else _float_of_int(value)


def _encodes(text: str) -> bool:
    # "\ud800", half of a surrogate pair, is valid JSON and no character.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return shown(value)
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else shown(str(value))
