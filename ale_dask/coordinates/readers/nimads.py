"""Study sets of NeuroStore and NiMARE in NIMADS JSON: studies, their analyses, and annotations of these.

{"id": …, "studies": [{"id": …, "name": …, "analyses": [{"id": …, "name": …, "metadata": {"sample_sizes": [12]},
 "points": [{"coordinates": [-24, -4, -18], "space": "MNI"}]}]}], "annotations": [{"id": …, "notes": [{"analysis": …,
 "note": {"include": true}}]}]}
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ale_dask.coordinates.decisions import Tell, untold
from ale_dask.coordinates.foci import Experiment
from ale_dask.coordinates.readers.document import (
    Focus,
    below,
    bound,
    columns,
    focus,
    items,
    load,
    mapping,
    part,
    plain,
    space_of,
    subjects,
    title_of,
    word,
)
from ale_dask.coordinates.readers.text import shown
from ale_dask.errors import InputError

# Of an annotation's name, where it stands before a column's.
_LONGEST_LABEL = 60
_YEAR = re.compile(r"(?:1[89]|20)\d\d", re.ASCII)


@dataclass(frozen=True)
class _Note:
    """What one annotation says of one analysis."""

    annotation: str
    where: str
    says: Mapping[str, Any]


@dataclass(frozen=True)
class _Analysis:
    """An analysis with its study, each with its path in the file."""

    study: Mapping[str, Any]
    of_study: str
    title: str
    content: Mapping[str, Any]
    where: str
    ids: tuple[str, str]


def parse_nimads(data: bytes, *, name: str, space: str | None = None) -> tuple[Experiment, ...]:
    """Return the experiments of a NIMADS study set, one per analysis, n None where it states no sample size.

    An experiment is named "study; analysis", its study by first author and year where both are given. Scalars of
    metadata and the notes of annotations are its columns. `space` ("MNI" or "TAL") is for points whose space is
    null or unknown.

    Raises
    ------
    InputError
        with the path in the file, for anything that is not such a study set, and for one without foci.
    """
    return experiments(load(data, name=name), size=len(data), name=name, space=space)


def experiments(
    root: Any, *, size: int, name: str, space: str | None = None, tell: Tell = untold
) -> tuple[Experiment, ...]:
    """Return the experiments of the JSON value of a study set of `size` bytes, as `parse_nimads` does of these."""
    if not isinstance(root, dict) or not {"studies", "studyset"} & set(root):
        raise InputError(
            f"{name}:1: JSON, but neither a NIMADS study set (an object with studies) nor a NiMARE Dataset "
            "(studies with contrasts); export one of these"
        )
    where = f"{name}: "
    if "notes" in root and not isinstance(root.get("studyset"), dict):
        raise InputError(
            f"{name}:1: an annotation without its study set; write both into one file, as an object with "
            "studyset and annotation"
        )
    inner = "studies" not in root
    studyset = mapping(root["studyset"], where=f"{where}studyset") if inner else root
    holders = [(where, root), (f"{where}studyset", studyset)] if inner else [(where, root)]
    analyses: list[_Analysis] = []
    for analysis in _analyses(studyset, where=holders[-1][0]):
        analyses.append(analysis)
        bound(len(analyses), 0, size=size, name=name)
    notes = _notes(holders, analyses)
    # Two annotations may have one key, "included" most often: the second one's column bears its name.
    owners: dict[str, str | None] = {}
    told = []
    for a in analyses:
        told.append(
            columns(part(a.study, "metadata", where=a.of_study), where=f"{a.of_study}.metadata")
            | columns(part(a.content, "metadata", where=a.where), where=f"{a.where}.metadata")
        )
        owners.update(dict.fromkeys(told[-1]))
        bound(len(told), len(owners), size=size, name=name)
    names = set(owners)
    done: list[Experiment] = []
    for analysis, row in zip(analyses, told, strict=True):
        said = [*notes.get(analysis.ids, ()), *_inline(analysis)]
        for note in said:
            for column, value in columns(note.says, where=note.where).items():
                if owners.setdefault(column, note.annotation) != note.annotation:
                    column = f"{note.annotation} {column}".replace("/", "_")
                row[column] = value
                names.add(column)
        bound(len(done), len(names), size=size, name=name)
        done.append(_experiment(analysis, said, row, space=space, tell=tell))
    if not any(e.xyz for e in done):
        raise InputError(f"{where}no foci in the whole study set; download it with its analyses and points")
    return tuple(done)


def _analyses(studyset: Mapping[str, Any], *, where: str) -> Iterator[_Analysis]:
    studies = [
        _whole(study, where=below(where, f"studies[{i}]"))
        for i, study in enumerate(items(studyset, "studies", where=where))
    ]
    paths = [below(where, f"studies[{i}]") for i in range(len(studies))]
    ids = [title_of(study.get("id"), where=f"{path}.id") for study, path in zip(studies, paths, strict=True)]
    titles = [_title(study, where=path) for study, path in zip(studies, paths, strict=True)]
    shared = Counter(titles)
    for study, path, id_, title in zip(studies, paths, ids, titles, strict=True):
        # Two papers of one author and year are two studies.
        unique = f"{title} ({id_})" if shared[title] > 1 and id_ else title
        for j, one in enumerate(items(study, "analyses", where=path)):
            at = f"{path}.analyses[{j}]"
            analysis = _whole(one, where=at)
            yield _Analysis(study, path, unique, analysis, at, (id_, title_of(analysis.get("id"), where=f"{at}.id")))


def _whole(value: Any, *, where: str) -> dict[str, Any]:
    if isinstance(value, str):
        raise InputError(f"{where}: only the id {shown(value)}; download the study set with nested=true")
    return mapping(value, where=where)


def _title(study: Mapping[str, Any], *, where: str) -> str:
    authors, year, name, id_ = (
        read(study.get(key), where=f"{where}.{key}")
        for key, read in {"authors": word, "year": word, "name": title_of, "id": title_of}.items()
    )
    year = year.removesuffix(".0")
    if authors not in ("", "None") and _YEAR.fullmatch(year):
        first, *others = [author for author in re.split(r"[,;]", authors) if author.strip()] or [authors]
        first = title_of(first, where=f"{where}.authors")
        return f"{first}{' et al.' if others else ''} {year}"
    return name or id_ or f"study {where.rpartition('[')[2].rstrip(']')}"


def _notes(
    holders: Iterable[tuple[str, Mapping[str, Any]]], analyses: Iterable[_Analysis]
) -> dict[tuple[str, str], list[_Note]]:
    """Return the notes of the objects' annotations by the (study id, analysis id) that they are about."""
    found: dict[tuple[str, str], list[_Note]] = {}
    known = {a.ids for a in analyses}
    full = {f"{study}-{analysis}": (study, analysis) for study, analysis in known}
    alone = Counter(analysis for _, analysis in known)
    short = {analysis: (study, analysis) for study, analysis in known if alone[analysis] == 1}
    labels: Counter[str] = Counter()
    for at, annotation in _annotations(holders):
        label = next((w for k in ("name", "id") if (w := word(annotation.get(k), where=f"{at}.{k}"))), "annotation")
        label = label[:_LONGEST_LABEL]
        labels[label] += 1
        label = f"{label}#{labels[label]}" if labels[label] > 1 else label
        for i, one in enumerate(items(annotation, "notes", where=at)):
            path = f"{at}.notes[{i}]"
            note = mapping(one, where=path)
            about = note.get("analysis")
            about = word(about.get("id") if isinstance(about, dict) else about, where=f"{path}.analysis")
            pair = (word(note.get("study"), where=f"{path}.study"), about)
            # NIMADS asks for no unique ids; in NiMARE's exports every analysis may be "1".
            ids = pair if pair in known else full.get(about) or short.get(about)
            if ids:
                says = part(note, "note", where=path)
                found.setdefault(ids, []).append(_Note(label, f"{path}.note", says))
    return found


def _annotations(holders: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, holder in holders:
        for key in ("annotation", "annotations"):
            value = holder.get(key)
            for i, one in enumerate(value if isinstance(value, list) else [value]):
                at = below(where, f"{key}[{i}]" if isinstance(value, list) else key)
                # NeuroStore may list only the ids.
                if one is not None and not isinstance(one, str):
                    yield at, mapping(one, where=at)


def _inline(analysis: _Analysis) -> Iterator[_Note]:
    """Yield the notes that an analysis has itself, by annotation, as NiMARE reads them too."""
    where = f"{analysis.where}.annotations"
    for key, says in part(analysis.content, "annotations", where=analysis.where).items():
        if isinstance(says, dict):
            label = word(key, where=where)[:_LONGEST_LABEL]
            yield _Note(label, f"{where}.{label}", says)
        else:
            yield _Note("annotations", where, {key: says})


def _experiment(
    analysis: _Analysis, notes: list[_Note], row: Mapping[str, str], *, space: str | None, tell: Tell
) -> Experiment:
    name = title_of(analysis.content.get("name"), where=f"{analysis.where}.name")
    if not name and analysis.content.get("name") is None and len(analysis.study["analyses"]) > 1:
        name = analysis.ids[1]
    xyz, known = _foci(analysis, default=space)
    holders = [
        *((note.where, note.says) for note in notes),
        (f"{analysis.where}.metadata", part(analysis.content, "metadata", where=analysis.where)),
        (f"{analysis.of_study}.metadata", part(analysis.study, "metadata", where=analysis.of_study)),
    ]
    title = f"{analysis.title}; {name}" if name else analysis.title
    return Experiment(
        name=title,
        n=subjects(holders, tell=tell, title=title),
        xyz=tuple(xyz),
        space=known,
        source=analysis.where,
        columns=row,
        study=analysis.title,
    )


def _foci(analysis: _Analysis, *, default: str | None) -> tuple[list[Focus], str]:
    xyz: list[Focus] = []
    known: str | None = None
    for i, point in enumerate(items(analysis.content, "points", where=analysis.where)):
        at = f"{analysis.where}.points[{i}]"
        content = _whole(point, where=at)
        space = space_of(content.get("space"), default=default, where=f"{at}.space")
        if known not in (None, space):
            raise InputError(f"{at}.space: {space} after points in {known}; give an analysis one space")
        known = space
        values = content.get("coordinates")
        xyz.append(plain(values) or focus(values, where=f"{at}.coordinates"))
    return xyz, known or default or "MNI"
