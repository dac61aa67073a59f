"""The rules of certainty on lines made by hand, and prevalence against plain computations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ale_dask.analyses.findings.certainty import (
    BASE_RATE,
    BY_COLUMN,
    DECISION,
    EXPERIMENTS,
    FAIL_SAFE,
    LEFT_OUT,
    LEVELS,
    POWER,
    PREVALENCE,
    PROFILES,
    RULES,
    SHARES,
    TITLES,
    VOXELS,
    Line,
    level_of,
)
from ale_dask.analyses.findings.prevalence import fisher_p

ALL = [Line(question, "good", "favours") for question in TITLES]


def card(*against: str, open: tuple[str, ...] = (), unknown: tuple[str, ...] = ()) -> list[Line]:
    """Lines that all favour a cluster, but for some that are against it, not computed, or cannot be known."""
    changed = {name: {"verdict": "against"} for name in against}
    changed |= {name: {"verdict": "unknown", "command": "ale-dask …"} for name in open}
    changed |= {name: {"verdict": "unknown"} for name in unknown}
    return [replace(line, **changed.get(line.question, {})) for line in ALL]


@pytest.mark.parametrize(
    ("lines", "level"),
    [
        (card(), "high"),
        (card(unknown=(BY_COLUMN,)), "high"),
        *((card(name), "moderate") for name in TITLES if name != DECISION),
        (card(DECISION), "low"),
        # Two lines of one rule lower the level once.
        (card(SHARES, LEFT_OUT, PREVALENCE), "moderate"),
        (card(VOXELS, BASE_RATE), "moderate"),
        (card(EXPERIMENTS, POWER), "moderate"),
        (card(SHARES, FAIL_SAFE), "low"),
        (card(SHARES, FAIL_SAFE, PROFILES), "very low"),
        (card(DECISION, FAIL_SAFE), "very low"),
        (card(*TITLES), "very low"),
        (card(open=(POWER,)), "moderate"),
        (card(open=(POWER, PROFILES)), "moderate"),
        (card(open=(POWER, PROFILES, FAIL_SAFE)), "low"),
        # What a line of its rule already speaks against is not open.
        (card(SHARES, open=(LEFT_OUT, POWER, PROFILES)), "moderate"),
        (card(SHARES, FAIL_SAFE, PROFILES, open=(POWER,)), "very low"),
        (card(SHARES, open=(POWER,)), "moderate"),
    ],
)
def test_the_rules_make_the_level(lines: list[Line], level: str) -> None:
    made, reasons = level_of(lines)
    assert made == level
    assert bool(reasons) == (level != "high")


def test_every_question_belongs_to_one_rule_and_reasons_name_the_lines() -> None:
    assert sorted(question for rule in RULES for question in rule.questions) == sorted(TITLES)
    _, reasons = level_of(card(DECISION, SHARES, open=(POWER,)))
    assert reasons == (
        "two levels lower: decided (decision)",
        "one level lower: many experiments (contributors)",
        "at most moderate: not computed is what decides design (power for such a place)",
    )


@given(st.lists(st.sampled_from([*TITLES]), unique=True), st.sampled_from([*TITLES]))
def test_one_more_line_against_never_raises_the_level(against: list[str], more: str) -> None:
    before, after = level_of(card(*against))[0], level_of(card(*against, more))[0]
    assert LEVELS.index(after) >= LEVELS.index(before)


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 9), st.integers(0, 9))
def test_two_values_have_the_p_of_scipy(a: int, b: int, c: int, d: int) -> None:
    p = fisher_p([(a, a + b), (c, c + d)])
    assert p == pytest.approx(stats.fisher_exact([[a, b], [c, d]]).pvalue, rel=1e-9)


def test_three_values_have_the_p_of_every_table_with_the_same_margins() -> None:
    counts = [(4, 5), (1, 6), (2, 4)]
    law = stats.multivariate_hypergeom(m=[n for _, n in counts], n=sum(x for x, _ in counts))
    tables = [(i, j, 7 - i - j) for i in range(6) for j in range(7) if 0 <= 7 - i - j <= 4]
    each = np.array([law.pmf(table) for table in tables])
    observed = law.pmf([x for x, _ in counts])
    assert fisher_p(counts) == pytest.approx(each[each <= observed * (1 + 1e-9)].sum())
    assert fisher_p([(2, 3)]) is None
    assert fisher_p([(9, 99)] * 4) is None
