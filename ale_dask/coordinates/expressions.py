"""Conditions on the columns of a table, such as "patients and weeks >= 4": read by our own rules, never run as code."""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ale_dask.coordinates.readers.text import shown
from ale_dask.errors import InputError

Values = npt.NDArray[Any]
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|`([^`]*)`""")
_MOST = 10_000
_ORDER: dict[type, Callable[[Any, Any], Any]] = {
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
_KINDS = {"b": "true or false", "f": "a number", "O": "text"}


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

    Columns are named as they are, or in backticks where that is no identifier; beside them stand numbers, quoted
    text, True, False, and, or, not, comparisons, `in` with a list of values or for text within text, + - * / and
    known(column). A number that is missing compares false, and so does missing text but with != and not in.

    Raises
    ------
    InputError
        beginning with `where`, for anything else, an unknown column, or a comparison of text with a number.
    """
    if len(expression) > _MOST:
        raise InputError(f"{where}: {len(expression):,} characters; a condition has {_MOST:,} at most")
    quoted: dict[str, str] = {}

    def stand_in(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        name = f"column_{len(quoted)}_"
        quoted[name] = found[1]
        return name

    try:
        with warnings.catch_warnings():
            # Python would tell of text that is called as a function, which is refused below.
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(_QUOTED.sub(stand_in, expression.strip()), mode="eval").body
        found = _Reading(table, quoted, where, expression).of(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        reason = error.msg if isinstance(error, SyntaxError) else "nested too deeply"
        raise InputError(
            f"{where}: cannot read {shown(expression)} ({reason}); write it as \"drug == 'x' and n > 9\""
        ) from (error)
    if found.dtype.kind != "b":
        raise InputError(f"{where}: {shown(expression)} is {_KINDS[found.dtype.kind]}; compare it with something")
    return np.broadcast_to(found, (len(table),)).copy()


class _Reading:
    """One condition being read: columns as arrays, constants as arrays of no dimension."""

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
                found = self.of(part)
                return np.asarray(~np.isnan(found) if found.dtype.kind == "f" else found != "")
        raise self.wrong(
            f"{shown(ast.unparse(node))} is not allowed; use and, or, not, comparisons, in, + - * / and known()"
        )

    def column(self, name: str) -> Values:
        if name not in self.table:
            near = get_close_matches(name, map(str, self.table.columns), n=1)
            hint = f"did you mean '{near[0]}'?" if near else "text is written in quotes"
            raise self.wrong(f"no column '{name}'; {hint} There are: {', '.join(map(str, self.table.columns))};")
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
        found = self.of(node)
        if found.dtype.kind != kind:
            raise self.wrong(f"{_said(node, self.quoted)} is {self.described(found)}, not {_KINDS[kind]};")
        return found

    def described(self, values: Values) -> str:
        """Say what values are, with the first that keeps a column from being one of numbers."""
        kind = _KINDS[values.dtype.kind]
        if values.dtype.kind != "O" or not values.ndim:
            return kind
        texts = [str(v) for v in values if v]
        example = next((t for t in texts if not re.fullmatch(r"[-+\d.eE]+", t)), texts[0] if texts else "")
        return f"{kind} (such as {example!r})"

    def compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Values:
        if isinstance(op, (ast.In, ast.NotIn)):
            found = self.within(left, right)
            return ~found if isinstance(op, ast.NotIn) else found
        if type(op) not in _ORDER:
            raise self.wrong("'is' is not allowed; use ==,")
        a, b = self.of(left), self.of(right)
        if a.dtype.kind != b.dtype.kind:
            raise self.wrong(
                f"{_said(left, self.quoted)} is {self.described(a)} and {_said(right, self.quoted)} is "
                f"{self.described(b)}: they cannot be compared"
            )
        found = np.asarray(_ORDER[type(op)](a, b), dtype=bool)
        if a.dtype.kind == "O" and not isinstance(op, ast.NotEq):
            # "" < "x" holds for Python; for a table, nothing is known.
            found = found & ((a != "") | (b == "")) & ((b != "") | (a == ""))
        if a.dtype.kind == "f":
            found = found & ~np.isnan(a) & ~np.isnan(b)
        return found

    def within(self, left: ast.expr, right: ast.expr) -> Values:
        if isinstance(right, (ast.List, ast.Tuple, ast.Set)):
            steps = [self.compare(left, ast.Eq(), each) for each in right.elts]
            return np.asarray(np.logical_or.reduce(np.broadcast_arrays(*steps))) if steps else np.array(False)
        a, b = self.kind(left, "O"), self.kind(right, "O")
        pairs = np.broadcast(a, b)
        return np.array([str(part) in str(whole) for part, whole in pairs], dtype=bool).reshape(pairs.shape)


def _said(node: ast.expr, quoted: Mapping[str, str]) -> str:
    return f"'{quoted.get(node.id, node.id)}'" if isinstance(node, ast.Name) else ast.unparse(node)
