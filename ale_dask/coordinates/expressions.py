"""Conditions on the columns of a table, such as "patients and weeks >= 4": interpreted here, never run as code."""

from __future__ import annotations

import ast
import keyword
import operator
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ale_dask.coordinates.readers.text import shown
from ale_dask.errors import InputError, did_you_mean

Values = npt.NDArray[Any]
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|`([^`]*)`""")
_MAX_CHARACTERS = 10_000
_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_KIND_OF_DTYPE = {"b": "true or false", "f": "a number", "O": "text"}


def literal(value: Any) -> str:
    """Return a value as a condition writes it: a number, True or False, or quoted text.

    Raises
    ------
    InputError
        for text with both kinds of quotes, which no condition can name.
    """
    if isinstance(value, bool | int | float):
        return repr(value)
    text = str(value)
    if '"' in text and "'" in text:
        raise InputError(f"{shown(text)}: a value with both kinds of quotes cannot be selected; rename it")
    return f"'{text}'" if '"' in text else f'"{text}"'


def holds(expression: str, table: pd.DataFrame, *, where: str) -> npt.NDArray[np.bool_]:
    """Return whether a condition holds for each row (row), bool.

    A condition is made of columns (in backticks where the name is no identifier), numbers, quoted text, True, False,
    and, or, not, comparisons, `in` with a list of values or for text within text, + - * / and known(column). A
    comparison with a missing number is false, and so is one with missing text, except != and not in.

    Raises
    ------
    InputError
        beginning with `where`, for anything else, an unknown column, or a comparison of text with a number.
    """
    if len(expression) > _MAX_CHARACTERS:
        raise InputError(f"{where}: {len(expression):,} characters; a condition has {_MAX_CHARACTERS:,} at most")
    quoted: dict[str, str] = {}

    def identifier(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        name = f"column_{len(quoted)}_"
        quoted[name] = match[1]
        return name

    try:
        with warnings.catch_warnings():
            # Python warns of text that is called as a function, which is refused below.
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(_QUOTED.sub(identifier, expression.strip()), mode="eval").body
        values = _Evaluation(table, quoted, where, expression).of(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        reason = error.msg if isinstance(error, SyntaxError) else "nested too deeply"
        raise InputError(
            f"{where}: cannot read {shown(expression)} ({reason}); write it as \"drug == 'x' and n > 9\""
        ) from error
    if values.dtype.kind != "b":
        kind = _KIND_OF_DTYPE[values.dtype.kind]
        raise InputError(f"{where}: {shown(expression)} is {kind}; compare it with something")
    return np.broadcast_to(values, (len(table),)).copy()


def columns_named(expression: str, columns: Iterable[str]) -> set[str]:
    """Return the columns that a condition names; a name inside a quoted text does not count."""
    words = _QUOTED.sub(lambda found: found[1] or "", expression)
    return {column for column in columns if re.search(rf"(?<!\w){re.escape(column)}(?!\w)", words)}


def text_asked(expression: str) -> tuple[str, str] | None:
    """Return column and text of a condition that is only `column == 'text'`, and None for any other condition."""
    match = _ONE_TEXT.fullmatch(expression.strip())
    return None if match is None or keyword.iskeyword(match[2] or "") else (match[1] or match[2], match[4])


_ONE_TEXT = re.compile(r"""(?:`([^`]+)`|([A-Za-z_]\w*))[ \t]*==[ \t]*(['"])([^'"\\\x00-\x1f]*)\3""", re.ASCII)


class _Evaluation:
    """The evaluation of a condition, with columns as arrays (row) and constants as arrays without dimensions."""

    def __init__(self, table: pd.DataFrame, quoted: Mapping[str, str], where: str, expression: str) -> None:
        self.table, self.quoted, self.where, self.expression = table, quoted, where, expression

    def wrong(self, what: str) -> InputError:
        return InputError(f"{self.where}: {what} in {shown(self.expression)}")

    def of(self, node: ast.expr) -> Values:
        match node:
            case ast.Name(id=name):
                return self.column(self.quoted.get(name, name))
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return self.constant(value)
            case ast.BoolOp(op=op, values=parts):
                read = [self.truth(part) for part in parts]
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return np.asarray(join.reduce(np.broadcast_arrays(*read)))
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return np.asarray(~self.truth(part))
            case ast.UnaryOp(op=ast.USub(), operand=part):
                return np.asarray(-self.number(part))
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _ARITHMETIC:
                with np.errstate(all="ignore"):
                    return np.asarray(_ARITHMETIC[type(op)](self.number(left), self.number(right)))
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [left, *others]
                steps = [self.compare(a, op, b) for a, op, b in zip(sides[:-1], ops, others, strict=True)]
                return np.asarray(np.logical_and.reduce(np.broadcast_arrays(*steps)))
            case ast.Call(func=ast.Name(id="known"), args=[part], keywords=[]):
                values = self.of(part)
                return np.asarray(~np.isnan(values) if values.dtype.kind == "f" else values != "")
        raise self.wrong(
            f"{shown(ast.unparse(node))} is not allowed; use and, or, not, comparisons, in, + - * / and known()"
        )

    def column(self, name: str) -> Values:
        if name not in self.table:
            names = [str(column) for column in self.table.columns]
            hint = did_you_mean(name, names) or "; text is written in quotes"
            raise self.wrong(f"no column '{name}'{hint}; there are: {', '.join(names)};")
        values = self.table[name].to_numpy()
        return values.astype(np.float64) if values.dtype.kind in "iuf" else values

    def constant(self, value: bool | float | str) -> Values:
        if isinstance(value, (bool, str)):
            return np.array(value, dtype=bool if isinstance(value, bool) else object)
        try:
            return np.array(float(value))
        except OverflowError as error:
            raise self.wrong("a number is too large") from error

    def truth(self, node: ast.expr) -> Values:
        return self.kind(node, "b")

    def number(self, node: ast.expr) -> Values:
        return self.kind(node, "f")

    def kind(self, node: ast.expr, kind: str) -> Values:
        values = self.of(node)
        if values.dtype.kind != kind:
            raise self.wrong(f"{_source(node, self.quoted)} is {self.described(values)}, not {_KIND_OF_DTYPE[kind]};")
        return values

    def described(self, values: Values) -> str:
        """Return the kind of values, with the first text that keeps a column from being one of numbers."""
        kind = _KIND_OF_DTYPE[values.dtype.kind]
        if values.dtype.kind != "O" or not values.ndim:
            return kind
        texts = [str(v) for v in values if v]
        example = next((t for t in texts if not re.fullmatch(r"[-+\d.eE]+", t)), texts[0] if texts else "")
        return f"{kind} (such as {example!r})"

    def compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Values:
        if isinstance(op, (ast.In, ast.NotIn)):
            inside = self.within(left, right)
            return ~inside if isinstance(op, ast.NotIn) else inside
        if type(op) not in _COMPARISONS:
            raise self.wrong("'is' is not allowed; use ==,")
        a, b = self.of(left), self.of(right)
        if a.dtype.kind != b.dtype.kind:
            raise self.wrong(
                f"{_source(left, self.quoted)} is {self.described(a)} and {_source(right, self.quoted)} is "
                f"{self.described(b)}: they cannot be compared"
            )
        result = np.asarray(_COMPARISONS[type(op)](a, b), dtype=bool)
        if a.dtype.kind == "O" and not isinstance(op, ast.NotEq):
            # "" is a missing text: it is equal to "" and in no order with other texts.
            result = result & ((a != "") | (b == "")) & ((b != "") | (a == ""))
        if a.dtype.kind == "f":
            result = result & ~np.isnan(a) & ~np.isnan(b)
        return result

    def within(self, left: ast.expr, right: ast.expr) -> Values:
        if isinstance(right, (ast.List, ast.Tuple, ast.Set)):
            steps = [self.compare(left, ast.Eq(), value) for value in right.elts]
            return np.asarray(np.logical_or.reduce(np.broadcast_arrays(*steps))) if steps else np.array(False)
        a, b = self.kind(left, "O"), self.kind(right, "O")
        pairs = np.broadcast(a, b)
        return np.array([str(part) in str(whole) for part, whole in pairs], dtype=bool).reshape(pairs.shape)


def _source(node: ast.expr, quoted: Mapping[str, str]) -> str:
    """Return a part of a condition as its user wrote it."""
    return f"'{quoted.get(node.id, node.id)}'" if isinstance(node, ast.Name) else ast.unparse(node)
