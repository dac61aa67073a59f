"""Describe the folder of a finished run as an RO-Crate: which program made which files of which, and when."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from mimetypes import MimeTypes
from typing import Any

from ale_dask.config.run_record import RunRecord
from ale_dask.errors import BackendError
from ale_dask.execution.journal import events
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.text.methods import cite, methods_of_run
from ale_dask.storage.checksums import hashes_of
from ale_dask.storage.location import Place, files

CRATE = "ro-crate-metadata.json"
"""The file of an RO-Crate that describes the others, at the root of their folder."""
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
"""Process Run Crate: one execution of a program."""
_TERMS = "https://w3id.org/ro/terms/workflow-run/context"
_WHOLE = {"plans/": "Plans: every number that decides the result", "store.zarr/": "Blocks of the nulls, and MA maps"}
"""Folders that are described as one thing each; they may hold many thousand files."""
_LEFT_OUT = ("export/", "logs/")
"""Copies of results, and events of the run with names of machines; the methods text among the latter is described."""
_READ = ("foci/", "mask", "study.toml")
"""How the names of files begin that the run read."""


def crate_metadata(out: Place, *, license_: str) -> bytes:
    """Return the content of the file that makes the folder of a finished run an RO-Crate, a Process Run Crate.

    Raises
    ------
    BackendError
        when the extra [crate] is not installed.
    StoreError
        when OUT holds no finished run.
    """
    try:
        from rocrate.rocrate import ROCrate  # type: ignore[import-untyped]
    except ImportError as error:
        raise BackendError('rocrate not installed: pip install "ale-dask[crate]" for an RO-Crate') from error
    record, _ = methods_of_run(out)
    names = sorted(name for name in files(out) if _described(name))
    began, ended = _times(out)
    crate = ROCrate()
    crate.metadata.extra_contexts.append(_TERMS)
    crate.name, crate.datePublished, crate.license = record["title"] or "ALE meta-analysis", ended, license_
    first = cite(out, short=True).strip()
    crate.description = f"{SIMULATED}. {first}" if record["simulated"] else first
    entities = _add_files(crate, out, names)
    profile = {"@type": "CreativeWork", "name": "Process Run Crate", "version": PROFILE.rpartition("/")[2]}
    crate.root_dataset["conformsTo"] = crate.add_jsonld({"@id": PROFILE, **profile})
    _add_run(crate, record, entities, began=began, ended=ended)
    return (json.dumps(crate.metadata.generate(), indent=2, ensure_ascii=False) + "\n").encode()


def _described(name: str) -> bool:
    methods = name.startswith("logs/CITATION.")
    return name != CRATE and (methods or not name.startswith((*_WHOLE, *_LEFT_OUT)))


def _times(out: Place) -> tuple[datetime, datetime]:
    """Return when the first driver of a run began, and when its results were last written."""
    times = [float(event["time"]) for event in events(out)]
    moments = (min(times), max(times)) if times else (files(out)["run.json"],) * 2
    began, ended = (datetime.fromtimestamp(moment, UTC).replace(microsecond=0) for moment in moments)
    return began, ended


def _add_files(crate: Any, out: Place, names: Iterable[str]) -> dict[str, Any]:
    """Add files with their checksums, and the folders of blocks and plans, and return the entities by name."""
    kinds = MimeTypes()
    added: dict[str, Any] = {}
    for name, digest in hashes_of(out, names).items():
        kind, encoding = kinds.guess_type(name)
        format_ = "application/gzip" if encoding == "gzip" else kind
        known = {"name": name, "sha256": digest, "encodingFormat": format_}
        properties = {key: value for key, value in known.items() if value}
        added[name] = crate.add_file(dest_path=name, properties=properties)
    for folder, what in _WHOLE.items():
        added[folder] = crate.add_dataset(dest_path=folder, properties={"name": what})
    return added


def _add_run(crate: Any, record: RunRecord, entities: dict[str, Any], *, began: datetime, ended: datetime) -> None:
    """Add the program and its execution: what it read, and what it made."""
    program = record["program"]
    tool = crate.add_jsonld(
        {
            "@id": f"#{program['name']}",
            "@type": "SoftwareApplication",
            "name": program["name"],
            "softwareVersion": program["version"],
        }
    )
    read = {name: each for name, each in entities.items() if name.startswith(_READ)}
    crate.root_dataset["mentions"] = crate.add_action(
        tool,
        identifier="#run",
        object=list(read.values()),
        result=[each for name, each in entities.items() if name not in read],
        properties={
            "name": f"Run of ale_dask: {', '.join(record['analyses'])}",
            "description": "ale-dask run study.toml -o OUT",
            "startTime": began.isoformat(),
            "endTime": ended.isoformat(),
            "actionStatus": "http://schema.org/CompletedActionStatus",
        },
    )
