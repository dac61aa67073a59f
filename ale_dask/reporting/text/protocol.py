"""Write the protocol of a study before its data are seen: question, samples, rules, analyses and settings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ale_dask.config.protocol import plan_block, plan_of
from ale_dask.config.study import Study
from ale_dask.reporting.common.phrases import listed, plain
from ale_dask.reporting.text.literature import literature
from ale_dask.version import __version__

_NO_RECORDS = (
    "Nothing is written here yet: [records] of study.toml takes the question, the databases, the search string and "
    "the criteria of inclusion."
)


def protocol(study: Study, *, date: str | None = None) -> str:
    """Return the protocol of a study as Markdown: what is planned, and the sha256 of the plan.

    Parameters
    ----------
    study
        The study; its files of foci need not exist.
    date
        The date of the protocol, such as "2026-11-30"; by default today's in UTC.

    Returns
    -------
    str
        Markdown, which ends with the plan as TOML. `protocol = "FILE"` below [records] of study.toml makes later runs
        say how they deviate from it.

    Notes
    -----
    The sha256 is of the plan alone, which holds no data: registered with the protocol, it shows later that the plan was
    not changed.

    Examples
    --------
    >>> text = ale.protocol(ale.load_study("study.toml"), date="2026-11-30")
    >>> text.splitlines()[0]
    '# Protocol: tiny'
    """
    plan = plan_of(study)
    day = date or datetime.now(UTC).date().isoformat()
    # A plan says nothing of a protocol that it is written to itself.
    searched = literature({"records": study.records.model_dump(exclude={"protocol"}, exclude_defaults=True)})
    sections = {
        "Question and literature": searched or [_NO_RECORDS],
        "Samples": [_sample(name, source) for name, source in plan["foci"].items()],
        "Analyses": [_analysis(name, values) for name, values in plan["analysis"].items()],
        "Inference": [
            "Every setting stands in the plan below; `ale-dask cite` writes them as methods text after a run."
        ],
        "Plan": [
            "Later runs are compared with this block. The protocol is void if its sha256 differs.",
        ],
    }
    blocks = [
        f"# Protocol: {plain(study.title)}",
        f"Written on {day} by ale_dask {__version__}, before the data were seen.",
    ]
    for heading, paragraphs in sections.items():
        blocks += [f"## {heading}", *paragraphs]
    return "\n\n".join([*blocks, plan_block(plan)])


def _sample(name: str, source: Mapping[str, Any]) -> str:
    rules = source.get("select", [])
    settings = [f"{key} = {value}" for key, value in source.items() if key != "select"]
    words = [f"**{name}**" + (f" ({listed(settings)})" if settings else "")]
    for number, rule in enumerate(rules, 1):
        why = f" (reason: {rule['why']})" if "why" in rule else ""
        words.append(f"{number}. {', '.join(f'{k}: {v}' for k, v in rule.items() if k != 'why')}{why}")
    return "\n".join(words if rules else [f"{words[0]}: every experiment of its files"])


def _analysis(name: str, values: Mapping[str, Any]) -> str:
    words = {
        "main-effect": lambda v: f"ALE of {listed(v['foci'])}",
        "contrast": lambda v: f"{' against '.join(v['arms'])}, in both directions",
        "conjunction": lambda v: f"conjunction of {listed(v['of'])}",
        "subsampled": lambda v: f"{v['subsamples']} subsamples of {v['size']} groups of subjects of {v['of']}",
        "balanced-contrast": lambda v: (
            f"{' against '.join(v['arms'])} in {v['subsamples']} pairs of equally large subsamples"
        ),
        "moderator": _moderator,
    }
    return f"**{name}**: {words[values['kind']](values)}"


def _moderator(values: Mapping[str, Any]) -> str:
    further = {
        "levels in the order": listed(map(str, values.get("levels") or [])) if values.get("levels") else "",
        "by ranks": "by ranks" if values.get("ranks") else "",
        "nuisance": listed(values["nuisance"]) if values.get("nuisance") else "",
        "permuted within": values.get("strata") or "",
    }
    words = [f"{name} {value}" if name != value else name for name, value in further.items() if value]
    return "; ".join([f"{' × '.join(values['on'])} as a moderator of {values['of']}, in both directions", *words])
