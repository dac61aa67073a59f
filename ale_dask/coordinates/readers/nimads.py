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

from ale_dask.coordinates.decisions import Decision
from ale_dask.coordinates.foci import Experiment
from ale_dask.coordinates.readers.document import (
    Focus,
    below,
    bound,
    columns,
    focus,
    items,
    mapping,
    part,
    plain,
    space_of,
    subjects,
    title_of,
    word,
)
from ale_dask.coordinates.readers.foci_file import FociFile
from ale_dask.coordinates.readers.text import shown
from ale_dask.errors import InputError

# The name of an annotation is cut where it stands before the name of a column.
_MAX_LABEL = 60
_YEAR = re.compile(r"(?:1[89]|20)\d\d", re.ASCII)


@dataclass(frozen=True)
class _Note:
    """The note of an annotation on an analysis, with its path in the file."""

    annotation: str
    path: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class _Analysis:
    """An analysis with its study, each with its path in the file."""

    study: Mapping[str, Any]
    path_of_study: str
    title: str
    content: Mapping[str, Any]
    path: str
    ids: tuple[str, str]


def recognises(file: FociFile) -> bool:
    """Return whether a file is JSON; NiMARE Datasets are asked for before."""
    return file.is_json


def read(file: FociFile) -> tuple[Experiment, ...]:
    """Return the experiments of a NIMADS study set, one per analysis, n None where it states no sample size.

    An experiment is named "study; analysis", its study by first author and year where both are given. Scalars of
    metadata and the notes of annotations are its columns. `file.space` is for points whose space is null or unknown.

    Raises
    ------
    InputError
        with the path in the file, for anything that is not such a study set, and for one without foci.
    """
    size = len(file.content)
    holders = _holders(file)
    path, studyset = holders[-1]
    analyses: list[_Analysis] = []
    for analysis in _analyses(studyset, path=path):
        analyses.append(analysis)
        bound(len(analyses), 0, size=size, name=file.name)
    notes = _notes(holders, analyses, file=file)
    metadata = _metadata(analyses, file=file)
    # Two annotations may have one key, most often "included": the column of the second bears the annotation's name.
    owners: dict[str, str | None] = dict.fromkeys(column for row in metadata for column in row)
    own, names, renamed = set(owners), set(owners), dict[str, str]()
    experiments: list[Experiment] = []
    for analysis, row in zip(analyses, metadata, strict=True):
        own_notes = [*notes.get(analysis.ids, ()), *_notes_inside(analysis)]
        for note in own_notes:
            for column, value in columns(note.values, where=note.path).items():
                if owners.setdefault(column, note.annotation) != note.annotation:
                    key, column = column, f"{note.annotation} {column}".replace("/", "_")
                    renamed[column] = key
                row[column] = value
                names.add(column)
        bound(len(experiments), len(names), size=size, name=file.name)
        experiments.append(_experiment(analysis, own_notes, row, file=file))
    if not any(e.xyz for e in experiments):
        raise InputError(f"{file.name}: no foci in the whole study set; download it with its analyses and points")
    _tell_of_notes(renamed, experiments, of_notes=names - own, file=file)
    return tuple(experiments)


def _tell_of_notes(
    renamed: Mapping[str, str], experiments: Iterable[Experiment], *, of_notes: set[str], file: FociFile
) -> None:
    """Tell which columns of notes have another name than their key, and where a missing note counts as false."""
    for column, key in renamed.items():
        message = f"'{key}' is there more than once; the note of another annotation is the column '{column}'"
        file.tell(Decision("annotation-column", file.name, message))
    for column in sorted(of_notes):
        values = [e.columns.get(column, "") for e in experiments]
        without = values.count("")
        if without and set(values) - {""} <= {"true", "false"}:
            message = f"'{column}' counts as false for {without} analyses without such a note"
            file.tell(Decision("no-note", file.name, message, without))


def _holders(file: FociFile) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the objects that may hold annotations, with their paths; the last is the study set."""
    root, where = file.json, f"{file.name}: "
    if not isinstance(root, dict) or not {"studies", "studyset"} & set(root):
        raise InputError(
            f"{file.name}:1: JSON, but neither a NIMADS study set (an object with studies) nor a NiMARE Dataset "
            "(studies with contrasts); export one of these"
        )
    if "notes" in root and not isinstance(root.get("studyset"), dict):
        raise InputError(
            f"{file.name}:1: an annotation without its study set; write both into one file, as an object with "
            "studyset and annotation"
        )
    if "studies" in root:
        return [(where, root)]
    path = f"{where}studyset"
    return [(where, root), (path, mapping(root["studyset"], where=path))]


def _metadata(analyses: Iterable[_Analysis], *, file: FociFile) -> list[dict[str, str]]:
    """Return the metadata of each analysis and its study as columns."""
    rows: list[dict[str, str]] = []
    names: set[str] = set()
    for a in analyses:
        rows.append(
            columns(part(a.study, "metadata", where=a.path_of_study), where=f"{a.path_of_study}.metadata")
            | columns(part(a.content, "metadata", where=a.path), where=f"{a.path}.metadata")
        )
        names.update(rows[-1])
        bound(len(rows), len(names), size=len(file.content), name=file.name)
    return rows


def _analyses(studyset: Mapping[str, Any], *, path: str) -> Iterator[_Analysis]:
    studies = [
        _not_an_id(study, where=below(path, f"studies[{i}]"))
        for i, study in enumerate(items(studyset, "studies", where=path))
    ]
    paths = [below(path, f"studies[{i}]") for i in range(len(studies))]
    ids = [title_of(study.get("id"), where=f"{at}.id") for study, at in zip(studies, paths, strict=True)]
    titles = [_title(study, where=at) for study, at in zip(studies, paths, strict=True)]
    number = Counter(titles)
    for study, path_of_study, id_, title in zip(studies, paths, ids, titles, strict=True):
        # Two papers of the same author and year are two studies.
        unique = f"{title} ({id_})" if number[title] > 1 and id_ else title
        for j, value in enumerate(items(study, "analyses", where=path_of_study)):
            at = f"{path_of_study}.analyses[{j}]"
            analysis = _not_an_id(value, where=at)
            both_ids = (id_, title_of(analysis.get("id"), where=f"{at}.id"))
            yield _Analysis(study, path_of_study, unique, analysis, at, both_ids)


def _not_an_id(value: Any, *, where: str) -> dict[str, Any]:
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
    holders: Iterable[tuple[str, Mapping[str, Any]]], analyses: Iterable[_Analysis], *, file: FociFile
) -> dict[tuple[str, str], list[_Note]]:
    """Return the notes of the objects' annotations by the (study id, analysis id) that they are about."""
    notes: dict[tuple[str, str], list[_Note]] = {}
    known = {a.ids for a in analyses}
    joined = {f"{study}-{analysis}": (study, analysis) for study, analysis in known}
    number = Counter(analysis for _, analysis in known)
    unique = {analysis: (study, analysis) for study, analysis in known if number[analysis] == 1}
    labels, lost = Counter[str](), Counter[str]()
    for at, annotation in _annotations(holders):
        label = next((w for k in ("name", "id") if (w := word(annotation.get(k), where=f"{at}.{k}"))), "annotation")
        label = label[:_MAX_LABEL]
        labels[label] += 1
        label = f"{label}#{labels[label]}" if labels[label] > 1 else label
        for i, value in enumerate(items(annotation, "notes", where=at)):
            path = f"{at}.notes[{i}]"
            note = mapping(value, where=path)
            analysis = note.get("analysis")
            analysis = word(analysis.get("id") if isinstance(analysis, dict) else analysis, where=f"{path}.analysis")
            pair = (word(note.get("study"), where=f"{path}.study"), analysis)
            # NIMADS asks for no unique ids; in NiMARE's exports every analysis may be "1".
            ids = pair if pair in known else joined.get(analysis) or unique.get(analysis)
            if ids:
                notes.setdefault(ids, []).append(_Note(label, f"{path}.note", part(note, "note", where=path)))
            else:
                lost[label] += 1
    for label, count in lost.items():
        message = f"notes of the annotation '{label}' on analyses that the study set does not have are left out"
        file.tell(Decision("unknown-analysis", file.name, message, count))
    return notes


def _annotations(holders: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, holder in holders:
        for key in ("annotation", "annotations"):
            value = holder.get(key)
            for i, annotation in enumerate(value if isinstance(value, list) else [value]):
                at = below(where, f"{key}[{i}]" if isinstance(value, list) else key)
                # NeuroStore may list only the ids.
                if annotation is not None and not isinstance(annotation, str):
                    yield at, mapping(annotation, where=at)


def _notes_inside(analysis: _Analysis) -> Iterator[_Note]:
    """Yield the notes inside an analysis, by annotation; NiMARE reads these too."""
    path = f"{analysis.path}.annotations"
    for key, values in part(analysis.content, "annotations", where=analysis.path).items():
        if isinstance(values, dict):
            label = word(key, where=path)[:_MAX_LABEL]
            yield _Note(label, f"{path}.{label}", values)
        else:
            yield _Note("annotations", path, {key: values})


def _experiment(analysis: _Analysis, notes: list[_Note], row: Mapping[str, str], *, file: FociFile) -> Experiment:
    path, path_of_study = analysis.path, analysis.path_of_study
    name = title_of(analysis.content.get("name"), where=f"{path}.name")
    if not name and analysis.content.get("name") is None and len(analysis.study["analyses"]) > 1:
        name = analysis.ids[1]
    xyz, space = _foci(analysis, default=file.space)
    holders = [
        *((note.path, note.values) for note in notes),
        (f"{path}.metadata", part(analysis.content, "metadata", where=path)),
        (f"{path_of_study}.metadata", part(analysis.study, "metadata", where=path_of_study)),
    ]
    title = f"{analysis.title}; {name}" if name else analysis.title
    return Experiment(
        name=title,
        n=subjects(holders, tell=file.tell, title=title),
        xyz=tuple(xyz),
        space=space,
        source=path,
        columns=row,
        study=analysis.title,
    )


def _foci(analysis: _Analysis, *, default: str | None) -> tuple[list[Focus], str]:
    xyz: list[Focus] = []
    known: str | None = None
    for i, point in enumerate(items(analysis.content, "points", where=analysis.path)):
        at = f"{analysis.path}.points[{i}]"
        content = _not_an_id(point, where=at)
        space = space_of(content.get("space"), default=default, where=f"{at}.space")
        if known not in (None, space):
            raise InputError(f"{at}.space: {space} after points in {known}; give an analysis one space")
        known = space
        values = content.get("coordinates")
        xyz.append(plain(values) or focus(values, where=f"{at}.coordinates"))
    return xyz, known or default or "MNI"
