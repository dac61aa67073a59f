"""Answer the items of reporting guidelines from a finished run: the sentence and file of each, or what is lacking."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd

from ale_dask.config.run_record import RunRecord
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.text.methods import Methods, methods_of_run
from ale_dask.storage.location import Place, place

ANSWERED, PARTLY, LACKING = "answered", "partly", "not answered"
COLUMNS = ("guideline", "item", "question", "status", "answer", "where")
_METHODS = "logs/CITATION.md"


@dataclass(frozen=True)
class _Run:
    """A finished run: its folder, the names of its main effects as its files have them, and its methods text."""

    out: Place
    mains: tuple[str, ...]
    methods: Methods


def checklist(out: str | Place) -> pd.DataFrame:
    """Return the items of reporting guidelines, each with what a finished run answers or what an author must write.

    Parameters
    ----------
    out
        Folder of a finished run, or its address in object storage.

    Returns
    -------
    pandas.DataFrame
        A row per item: guideline, item, question (in words of our own), status ("answered", "partly" or "not
        answered"), answer (a sentence of the methods text, or what is lacking) and where (the file that has it).

    Raises
    ------
    StoreError
        When the folder holds no finished run, or one whose record another version wrote.

    Notes
    -----
    The guidelines are Müller et al. 2018 (ten rules for neuroimaging meta-analysis), PRISMA 2020 (Page et al. 2021),
    and what COBIDAS (Nichols et al. 2017) asks of maps and inference, as far as it applies to coordinates.

    Examples
    --------
    >>> items = ale.checklist("out")
    >>> items.loc[items["question"] == "Unthresholded maps", ["status", "where"]].values.tolist()
    [['answered', 'drug/drug_z.nii.gz, therapy/therapy_z.nii.gz']]
    """
    record, methods = methods_of_run(out)
    run = _Run(place(out), _mains(record), methods)
    known = _guidelines()
    rows = [
        (title, item["number"], item["asks"], *_answer(item, run))
        for key, title in known["guidelines"].items()
        for item in known[key]
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def checklist_lines(items: pd.DataFrame) -> Iterator[str]:
    """Yield a checklist as Markdown: how many items are answered, then a table for each guideline."""
    counts = items["status"].value_counts()
    yield ", ".join(f"{int(counts.get(status, 0))} {status}" for status in (ANSWERED, PARTLY, LACKING))
    for guideline, own in items.groupby("guideline", sort=False):
        yield ""
        yield f"## {guideline}"
        yield ""
        yield "| item | question | status | answer | where |"
        yield "|---|---|---|---|---|"
        for row in own.itertuples():
            cells = (row.item, row.question, row.status, row.answer, row.where)
            yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


@cache
def _guidelines() -> dict[str, Any]:
    return tomllib.loads(files("ale_dask.reporting.text").joinpath("checklist.toml").read_text(encoding="utf-8"))


def _mains(record: RunRecord) -> tuple[str, ...]:
    """Return the stems of the files of the main effects that the study names."""
    analyses = record["analyses"].items()
    return tuple(stem(name) for name, a in analyses if a["kind"] == "main-effect" and "pooled_for" not in a)


def _answer(item: dict[str, Any], run: _Run) -> tuple[str, str, str]:
    """Return the status of an item, its answer, and the files that have it."""
    said = _sentence(run.methods, item["section"], item["says"]) if "section" in item else ""
    names = [item["file"].format(main=main) for main in run.mains] if "{main}" in item.get("file", "") else []
    names = names or ([item["file"]] if "file" in item else [])
    present = [name for name in names if (run.out / name).is_file()]
    where = [f"{_METHODS}: {item['section']}"] if said else []
    otherwise = item.get("otherwise", "the run lacks it: `ale-dask collect OUT` writes its files again")
    if not said and not present:
        return LACKING, otherwise, ""
    lacking = item.get("partly", False) or len(present) < len(names)
    answer = said or "In the files named."
    if lacking and "otherwise" in item:
        answer = f"{answer} Lacking: {otherwise}"
    return PARTLY if lacking else ANSWERED, answer, ", ".join([*where, *present])


def _sentence(methods: Methods, section: str, says: str) -> str:
    """Return the first sentence of a section of the methods text that holds the words of a pattern, "" for none."""
    paragraphs = next((texts for heading, texts in methods.sections if heading == section), ())
    sentences = (s for text in paragraphs for s in re.split(r"(?<=[.!?])\s+(?=[A-Z])", text))
    return next((s for s in sentences if re.search(says, s)), "")
