"""Write the methods section on how the literature was searched, screened and extracted.

It is made of [records] of the study, and of the columns of its files on coverage, extraction and data from authors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ale_dask.reporting.common.phrases import counted, listed

_MOST_NAMED = 20
"""Experiments that are named; run.json has all of them."""


def literature(record: Mapping[str, Any]) -> list[str]:
    """Return paragraphs on question, protocol, search, flow, criteria and data; none where nothing is known of them."""
    given, columns = record.get("records", {}), record.get("columns", {})
    protocol = _protocol(record["protocol"]) if "protocol" in record else ""
    paragraphs = [_question(given), protocol, _search(given), _flow(given), _criteria(given), _data(given)]
    paragraphs.append(" ".join(filter(None, (_coverage(columns), _extraction(columns), _authors(columns)))))
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


def _coverage(columns: Mapping[str, Any]) -> str:
    if (found := columns.get("whole_brain")) is None:
        return ""
    if found["yes"] == columns["experiments"]:
        return f"Search coverage: all {counted(found['yes'], 'experiment')} searched the whole brain."
    part = f", {found['no']:,} a part of it" if found["no"] else ""
    unknown = f", and of {found['not_known']:,} it is not known" if found["not_known"] else ""
    of = counted(columns["experiments"], "experiment")
    return f"Search coverage: {found['yes']:,} of {of} searched the whole brain{part}{unknown}."


def _extraction(columns: Mapping[str, Any]) -> str:
    """Return who extracted and who checked how many experiments."""
    done = [
        f"{done} by {listed(f'{person} ({number:,})' for person, number in sorted(columns[role].items()))}"
        for role, done in (("extractor", "extracted"), ("checker", "checked"))
        if role in columns
    ]
    if not done:
        return ""
    # The checklist asks whether coordinates were extracted or checked twice.
    begin = "Extraction of coordinates: the coordinates" if len(done) > 1 else "The coordinates"
    stated = max(sum(columns[role].values()) for role in ("extractor", "checker") if role in columns)
    of = f"{stated:,} of " if stated < columns["experiments"] else ""
    return f"{begin} of {of}{counted(columns['experiments'], 'experiment')} were {' and '.join(done)}."


def _authors(columns: Mapping[str, Any]) -> str:
    if (found := columns.get("authors")) is None:
        return ""
    names, of = found["experiments"], counted(found["stated"], "experiment")
    unknown = columns["experiments"] - found["stated"]
    rest = f"; of {unknown:,} more this is not known" if unknown else ""
    if not names:
        return f"No data came from the authors of {of}, all of them from the publications{rest}."
    return (
        f"The data of {len(names):,} of {of} came from their authors ({'; '.join(names[:_MOST_NAMED])}"
        f"{' …' if len(names) > _MOST_NAMED else ''}){rest}."
    )


def _ended(words: str) -> str:
    """Return words with a full stop behind them, unless they end in one."""
    return words if words.rstrip()[-1:] in tuple(".?!") else f"{words.rstrip()}."
