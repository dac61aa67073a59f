"""Write cards of evidence as a table, as JSON, and in lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ale_dask.analyses.findings.certainty import HOW, RULES, Card, Evidence, title_of
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.text.follow_up_files import EVIDENCE, write_follow_up

TABLE = (
    *("Analysis", "Cluster ID", "X", "Y", "Z", "Cluster Size (mm3)"),
    *("Certainty", "Question", "Finding", "Verdict", "File", "Command"),
)
_SIGNS = {"favours": "+", "against": "-", "unknown": "?", "tells": " "}


def evidence_table(cards: Sequence[Card]) -> pd.DataFrame:
    """Return a row per cluster and line of evidence."""
    rows = [
        (*_of_card(card), title_of(line), line.finding, line.verdict, line.file, line.command)
        for card in cards
        for line in card.lines
    ]
    return pd.DataFrame(rows, columns=list(TABLE))


def _of_card(card: Card) -> tuple[object, ...]:
    """Return the columns of a table that are the same in every line of a card."""
    return card.analysis, card.cluster, *card.xyz, card.mm3, card.certainty


def as_record(card: Card) -> dict[str, Any]:
    """Return a card as plain values."""
    return {
        "analysis": card.analysis,
        "cluster": card.cluster,
        **dict(zip("xyz", card.xyz, strict=True)),
        "volume_mm3": card.mm3,
        "certainty": card.certainty,
        "decided_by": list(card.reasons),
        "lines": [
            {
                "question": title_of(line),
                "finding": line.finding,
                "verdict": line.verdict,
                "file": line.file,
                "command": line.command,
                **({"values": dict(line.values)} if line.values else {}),
            }
            for line in card.lines
        ],
    }


def head_of(card: Card) -> str:
    """Return where a cluster is, and its level of certainty, in a line."""
    x, y, z = (f"{v:.0f}" for v in card.xyz)
    return f"{card.analysis} {card.cluster}, {card.mm3:,.0f} mm³ at {x} {y} {z}: certainty {card.certainty}"


def reasons_of(card: Card) -> str:
    """Return in words which rules decided the level of a card."""
    return "; ".join(card.reasons) or "no rule speaks against it"


def card_lines(card: Card, *, out: str = "OUT") -> list[str]:
    """Return a card in lines for a terminal: + for it, - against it, ? not known; commands name the folder `out`."""
    lines = [
        f"  {_SIGNS[line.verdict]} {title_of(line)}: "
        + (line.finding.replace(" OUT", f" {out}") if line.command else line.finding)
        for line in card.lines
    ]
    return [head_of(card), *lines, f"  {reasons_of(card)}"]


def certainty_lines(evidence: Mapping[str, Evidence]) -> list[str]:
    """Return the level of certainty of each cluster, and what decided it, in a line for a terminal."""
    return [f"{head_of(card)} ({reasons_of(card)})" for each in evidence.values() for card in each.cards]


def for_page(evidence: Evidence | None) -> dict[str, Any]:
    """Return the cards of a main effect for the template, and the rules that made their levels."""
    return {
        "cards": [as_record(card) | {"why": reasons_of(card)} for card in (evidence.cards if evidence else ())],
        "how": HOW,
        "rules": [(rule.name, rule.says) for rule in RULES],
    }


def write_evidence(evidence: Evidence, folder: Path) -> None:
    """Write NAME_evidence.tsv and .json into the folder of an analysis."""
    content = {
        "title": "Evidence on each cluster",
        "says": HOW,
        "rules": [{"rule": rule.name, "says": rule.says} for rule in RULES],
        "by": list(evidence.columns),
        "cards": [as_record(card) for card in evidence.cards],
    }
    write_follow_up(folder / f"{stem(evidence.analysis)}_{EVIDENCE}", evidence_table(evidence.cards), content)
