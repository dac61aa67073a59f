"""Write the methods section on how the literature was searched and screened, from [records] of the study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ale_dask.reporting.common.phrases import listed


def literature(record: Mapping[str, Any]) -> list[str]:
    """Return paragraphs on question, protocol, search, flow, criteria and data; none without [records]."""
    given = record.get("records", {})
    protocol = _protocol(record["protocol"]) if "protocol" in record else ""
    paragraphs = [_question(given), protocol, _search(given), _flow(given), _criteria(given), _data(given)]
    return [paragraph for paragraph in paragraphs if paragraph]


def _protocol(protocol: Mapping[str, Any]) -> str:
    """Return the sentences on the protocol that was written before the data were seen, and on deviations from it."""
    frozen = (
        f"Question, samples, rules of selection and settings were frozen in a protocol before the data were seen "
        f"(SHA-256 {protocol['sha256'][:12]}…)"
    )
    deviations = protocol["deviations"]
    return (
        f"{frozen}; the run does not deviate from it."
        if not deviations
        else (f"{frozen}. The run deviates from the protocol in {len(deviations)} of these: {'; '.join(deviations)}.")
    )


def _question(given: Mapping[str, Any]) -> str:
    registration = given.get("registration", "")
    registered = {
        "": "",
        "none": "The protocol was not registered.",
    }.get(registration, f"The protocol was registered: {_ended(registration)}")
    asked = f"The question was: {_ended(given['question'])}" if "question" in given else ""
    return " ".join(filter(None, (asked, registered)))


def _search(given: Mapping[str, Any]) -> str:
    if not {"databases", "searched", "query"} & set(given):
        return ""
    where = listed(given["databases"]) if "databases" in given else "The literature"
    was = "were" if len(given.get("databases", [])) > 1 else "was"
    on = f", last on {given['searched']}" if "searched" in given else ""
    query = f" The search string was: {_ended(given['query'])}" if "query" in given else ""
    return f"{where} {was} searched{on}.{query}"


def _flow(given: Mapping[str, Any]) -> str:
    """Return the numbers of the PRISMA 2020 flow that are given, in its order."""
    parts = []
    if "identified" in given:
        parts.append(f"{given['identified']:,} records were identified")
    if "duplicates" in given:
        parts.append(f"{given['duplicates']:,} duplicates were removed")
    if "screened" in given:
        parts.append(f"{given['screened']:,} records were screened{_reasons(given.get('excluded', {}))}")
    if "assessed" in given:
        parts.append(f"{given['assessed']:,} full texts were assessed{_reasons(given.get('not_eligible', {}))}")
    if "included" in given:
        parts.append(f"{given['included']:,} studies were included")
    return f"{'; '.join(parts)}." if parts else ""


def _reasons(numbers: Mapping[str, int]) -> str:
    if not numbers:
        return ""
    reasons = "; ".join(f"{reason}, {number:,}" for reason, number in numbers.items())
    return f", of which {sum(numbers.values()):,} were excluded ({reasons})"


def _criteria(given: Mapping[str, Any]) -> str:
    criteria = f"Criteria of inclusion: {_ended(given['criteria'])}" if "criteria" in given else ""
    coverage = f"Search coverage: {_ended(given['coverage'])}" if "coverage" in given else ""
    return " ".join(filter(None, (criteria, coverage)))


def _data(given: Mapping[str, Any]) -> str:
    labels = {
        "extraction": "Extraction of coordinates",
        "risk_of_bias": "Risk of bias",
        "availability": "Availability",
    }
    return " ".join(f"{label}: {_ended(given[key])}" for key, label in labels.items() if key in given)


def _ended(words: str) -> str:
    """Return words with a full stop behind them, unless they end in one."""
    return words if words.rstrip()[-1:] in tuple(".?!") else f"{words.rstrip()}."
