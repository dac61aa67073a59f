"""Draw the risk of bias of each study by domain, from the columns of a table of experiments."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import xarray as xr

from ale_dask.coordinates.foci import table, word_of
from ale_dask.errors import InputError
from ale_dask.reporting.common.palette import FAINT, LINE
from ale_dask.reporting.common.svg import WIDTH, box, fitting, svg, text

_COLUMN = re.compile(r"(?:rob|risk[ _-]of[ _-]bias)(?:[ _:.-]+(?P<domain>.+))?", re.IGNORECASE)
_ROW, _TOP, _NAMES, _SIZE = 22, 78, 250, 12


@dataclass(frozen=True)
class _Level:
    """A level of risk: its words in a table, its sign and its colour; the sign says the same without colour."""

    words: re.Pattern[str]
    label: str
    sign: str
    colour: str


_LEVELS = (
    _Level(re.compile(r"low|\+|yes|green", re.IGNORECASE), "low", "+", "#009e73"),
    _Level(re.compile(r"some( concerns)?|moderate|medium|unclear|\?|yellow", re.IGNORECASE), "some", "?", "#e69f00"),
    _Level(re.compile(r"high|serious|critical|-|−|no|red", re.IGNORECASE), "high", "−", "#cc3311"),
)
_UNKNOWN = _Level(re.compile(""), "no information", "", LINE)


def risk_of_bias(foci: xr.Dataset, *, title: str = "Risk of bias") -> str:
    """Return the risk of bias of each study and domain as an SVG figure.

    Parameters
    ----------
    foci
        A foci Dataset as `read_foci` returns it, whose table has columns such as "rob_selection" or "risk of bias:
        blinding", with "low", "some concerns" or "high" in them.
    title
        Title of the figure.

    Returns
    -------
    str
        SVG: a row per study, a column per domain, and below them the share of studies at each level.

    Raises
    ------
    InputError
        When there is no such column, a value is none of the levels, or two experiments of a study have two values.

    Examples
    --------
    >>> from pathlib import Path
    >>> rows = ["study,n,space,rob_blinding,x,y,z", "A 2010,20,MNI,low,1,2,3", "B 2011,20,MNI,high,4,5,6"]
    >>> _ = Path("rob.csv").write_text(chr(10).join(rows))
    >>> "blinding" in ale.risk_of_bias(ale.read_foci("rob.csv"))
    True
    """
    experiments = table(foci)
    domains = {str(c): match["domain"] or "overall" for c in experiments if (match := _COLUMN.fullmatch(str(c)))}
    if not domains:
        raise InputError(
            "no column of risk of bias; name one column per domain rob_DOMAIN, with low, some concerns or high in it"
        )
    studies = list(dict.fromkeys(map(str, experiments["study"])))
    levels = {
        column: [_level(experiments.loc[experiments["study"] == s, column].tolist(), s, column) for s in studies]
        for column in domains
    }
    step = (WIDTH - _NAMES - 20) / len(domains)
    parts = [
        text(_NAMES + step * (k + 0.5), 62, fitting(d.replace("_", " "), width=step - 6, size=_SIZE), anchor="middle")
        for k, d in enumerate(domains.values())
    ]
    for row, study in enumerate(studies):
        y = _TOP + _ROW * row
        parts.append(text(14, y + 15, fitting(study, width=_NAMES - 24, size=_SIZE)))
        for k, column in enumerate(domains):
            parts += _cell(_NAMES + step * k, y, step, levels[column][row], alt=f"{study}, {domains[column]}")
    bottom = _TOP + _ROW * len(studies) + 14
    parts.append(text(14, bottom + 15, "Share of studies", bold=True))
    for k, column in enumerate(domains):
        parts += _shares(_NAMES + step * k, bottom, step, levels[column])
    parts.append(text(14, bottom + 48, _legend(), fill=FAINT))
    return svg(parts, height=bottom + 62, title=title, alt=_alt(domains, levels))


def _level(values: Sequence[object], study: str, column: str) -> _Level:
    given = {_word(value) for value in values} - {""}
    if len(given) > 1:
        raise InputError(f"{study}: the column {column} says {' and '.join(sorted(given))}; give one level per study")
    word = next(iter(given), "")
    if not word:
        return _UNKNOWN
    for level in _LEVELS:
        if level.words.fullmatch(word):
            return level
    raise InputError(f"{study}: '{word}' in the column {column} is no level; give low, some concerns or high")


def _word(value: object) -> str:
    # A column of yes and no is read as true and false; "no" bias is a yes to a criterion that is met.
    word = word_of(value)
    return "" if word.lower() in ("nan", "na", "n/a", "not reported") else word


def _cell(x: float, y: float, width: float, level: _Level, *, alt: str) -> list[str]:
    made = [box(x + 2, y + 1, width - 4, _ROW - 2, level.colour, alt=f"{alt}: {level.label}")]
    return [*made, text(x + width / 2, y + 16, level.sign, size=15, fill="#fff", anchor="middle", bold=True)]


def _shares(x: float, y: float, width: float, levels: Sequence[_Level]) -> list[str]:
    parts = []
    for level in (*_LEVELS, _UNKNOWN):
        share = levels.count(level) / len(levels)
        if share:
            alt = f"{level.label}: {levels.count(level)} of {len(levels)}"
            parts.append(box(x + 2, y + 1, (width - 4) * share, _ROW - 2, level.colour, alt=alt))
            x += (width - 4) * share
    return parts


def _legend() -> str:
    return " · ".join([*(f"{level.sign} {level.label}" for level in _LEVELS), "grey: no information"])


def _alt(domains: Mapping[str, str], levels: Mapping[str, Sequence[_Level]]) -> str:
    lines = []
    for column, domain in domains.items():
        counts = [(level.label, levels[column].count(level)) for level in (*_LEVELS, _UNKNOWN)]
        lines.append(f"{domain}: {', '.join(f'{label} {n}' for label, n in counts if n)}")
    return "; ".join(lines)
