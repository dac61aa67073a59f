"""What is known of a cluster line by line, and the written rules that make one of four levels of certainty of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ale_dask.analyses.sensitivity.power import TARGET
from ale_dask.coordinates.lint import ENOUGH_EXPERIMENTS

Verdict = Literal["favours", "against", "unknown", "tells"]
"""What a line says of a cluster: for it, against it, nothing yet, or something that no rule judges."""
LEVELS = ("high", "moderate", "low", "very low")
"""The four levels, named as GRADE names its own (Guyatt et al. 2008); they are this program's and no GRADE rating."""
LARGEST_SHARE = 50.0
"""Percent of a cluster's ALE that one experiment may have (Eickhoff et al. 2016)."""
LARGEST_LEVERAGE = 1 / 3
"""Share of a moderator's sum of squares from which on a result is that of one group."""
SMALLEST_P = 0.05
"""Fisher's p, times the number of columns tested, below which reports of a place depend on a column."""
OPEN_MODERATE, OPEN_LOW = 1, 3
"""From so many open rules of the six on a cluster is at most of moderate, and at most of low, certainty."""


@dataclass(frozen=True)
class Line:
    """One kind of evidence on a cluster: its question, what was found, and where that stands or how to compute it."""

    question: str
    finding: str
    verdict: Verdict
    file: str = ""
    command: str = ""
    """The command that computes what is not known; "" where nothing can."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The numbers of the finding."""

    @property
    def open(self) -> bool:
        """Whether this is not known yet, and a command would compute it."""
        return self.verdict == "unknown" and bool(self.command)


@dataclass(frozen=True)
class Rule:
    """A rule: the questions that it looks at, and by how many levels certainty is lower if a line is against."""

    name: str
    questions: tuple[str, ...]
    levels: int
    says: str


PREVALENCE, BY_COLUMN, SHARES, LEFT_OUT = "prevalence", "prevalence by column", "contributors", "leave-one-out"
FAIL_SAFE, PROFILES, VOXELS, BASE_RATE = "fail-safe N", "profiles", "voxel level", "base rate"
EXPERIMENTS, POWER, DECISION = "experiments", "power", "decision"
EFFECT, FOCI = "effect", "number of foci"
TITLES: Mapping[str, str] = {
    PREVALENCE: "Experiments within reach",
    BY_COLUMN: "Experiments within reach by",
    EFFECT: "Effect of the moderator",
    FOCI: "Number of foci",
    SHARES: "Contributors",
    LEFT_OUT: "Without each",
    FAIL_SAFE: "Fail-safe N",
    PROFILES: "Conventions of other programs",
    VOXELS: "Voxel-wise FWE",
    BASE_RATE: "Base-rate null",
    EXPERIMENTS: "Experiments",
    POWER: "Power for such a place",
    DECISION: "Decision",
}
"""The questions, in the order of a card."""
RULES = (
    Rule(
        "decided",
        (DECISION,),
        2,
        "Two levels lower if the cluster is undecided, or decided not to be significant: further iterations may "
        "remove it.",
    ),
    Rule(
        "many experiments",
        (PREVALENCE, BY_COLUMN, EFFECT, SHARES, LEFT_OUT),
        1,
        "One level lower if the interval of its prevalence reaches down to what chance gives (of a contrast, if "
        f"Fisher's test does not show more reports in the greater arm, p below {SMALLEST_P:g}), if reports depend "
        f"on a column (Fisher's p times the number of columns below {SMALLEST_P:g}), if one experiment has more than "
        f"{LARGEST_SHARE:.0f} % of it (Eickhoff et al. 2016), or if it is lost without one of the sets of experiments "
        "(of a moderator, if the interval of its effect contains 0 or one group has a third of its sum of squares).",
    ),
    Rule(
        "unpublished experiments",
        (FAIL_SAFE,),
        1,
        "One level lower if its fail-safe N is below 30 % of the experiments (Acar et al. 2018).",
    ),
    Rule(
        "conventions",
        (PROFILES,),
        1,
        "One level lower if it is not found under the conventions of every program.",
    ),
    Rule(
        "other tests",
        (VOXELS, BASE_RATE),
        1,
        "One level lower if none of its voxels survives voxel-wise FWE, or none the test against the base rate: it may "
        "then be wide and weak, or lie where foci are reported whatever was studied.",
    ),
    Rule(
        "design",
        (EXPERIMENTS, POWER, FOCI),
        1,
        f"One level lower if the main effect has fewer than {ENOUGH_EXPERIMENTS} experiments (Eickhoff et al. 2016), "
        f"or less than {100 * TARGET:.0f} % power for a place that as many experiments report; of a moderator, if it "
        "goes with the number of foci (r beyond .3) and that is no nuisance column.",
    ),
)
"""The six rules."""
HOW = (
    "Every cluster begins at high, and each rule that a line speaks against lowers it, at most to very low. A rule "
    "without a line against it is open while one of its lines is not computed; with one open rule a cluster is at most "
    f"moderate, with {OPEN_LOW} or more at most low. The levels are named as GRADE names its own, but are no GRADE "
    "rating."
)
"""How the rules make a level."""


@dataclass(frozen=True)
class Card:
    """All that is known of one cluster, its level of certainty, and the rules that decided it."""

    analysis: str
    cluster: int
    xyz: tuple[float, float, float]
    mm3: float
    lines: tuple[Line, ...]

    @property
    def certainty(self) -> str:
        """The level of certainty."""
        return level_of(self.lines)[0]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Each rule that lowered the level or holds it down, in words."""
        return level_of(self.lines)[1]


@dataclass(frozen=True)
class Evidence:
    """The cards of the clusters of a result, and the columns by which they look at prevalence."""

    analysis: str
    columns: tuple[str, ...]
    cards: tuple[Card, ...]


def level_of(lines: Sequence[Line]) -> tuple[str, tuple[str, ...]]:
    """Return the level of certainty that the rules make of the lines on a cluster, and in words the rules that did."""
    lowered, reasons, not_known = 0, [], []
    for rule in RULES:
        own = [line for line in lines if line.question in rule.questions]
        against = [line for line in own if line.verdict == "against"]
        if against:
            lowered += rule.levels
            down = "one level" if rule.levels == 1 else "two levels"
            reasons.append(f"{down} lower: {rule.name} ({', '.join(_name(line) for line in against)})")
        elif missing := [_name(line) for line in own if line.open]:
            not_known.append(f"{rule.name} ({', '.join(missing)})")
    least = 2 if len(not_known) >= OPEN_LOW else 1 if len(not_known) >= OPEN_MODERATE else 0
    if not_known:
        reasons.append(f"at most {LEVELS[least]}: not computed is what decides {'; '.join(not_known)}")
    return LEVELS[min(max(lowered, least), len(LEVELS) - 1)], tuple(reasons)


def title_of(line: Line) -> str:
    """Return the title of a line."""
    of = str(line.values.get("of", ""))
    return f"{TITLES[line.question]} {of}".strip()


def _name(line: Line) -> str:
    title = title_of(line)
    return title[0].lower() + title[1:]
