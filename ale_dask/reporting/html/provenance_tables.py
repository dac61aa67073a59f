"""List the programs, settings, files and analyses behind a page, from the record of the run where there is one."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.model import model_of
from ale_dask.config.run_record import RunRecord
from ale_dask.reporting.common.wording import mask_name
from ale_dask.version import __version__

SHORT = 16
"""Characters of a digest that are shown; run.json holds all of them."""
NO_RECORD = (
    "This page was written in Python from results alone. A methods text is generated from the record of a run and from "
    "nothing else, since results do not say how files were read; `ale-dask run`, or ale_dask.run in Python, keeps one. "
    "What the results know of themselves stands under Provenance."
)


def provenance_facts(results: Mapping[str, xr.Dataset], record: RunRecord | None) -> list[tuple[str, str]]:
    """Return programs, machine, time and masks as pairs (name, value)."""
    masks = {mask_name(r): str(r.attrs["mask_sha256"]) for r in results.values()}
    mask_facts = [("Mask", f"{name}, SHA-256 of its grid and voxels {sha}") for name, sha in masks.items()]
    if record is None:
        return [("Page", f"ale_dask {__version__}, from results in Python, without the record of a run"), *mask_facts]
    program, environment, backend = record["program"], dict(record["environment"]), record["backend"]
    python, machine = environment.pop("python"), environment.pop("machine")
    workers = f", {backend['workers']} workers" if backend["workers"] else ""
    return [
        ("Program", f"{program['name']} {program['version']}, numerics version {program['numerics']}"),
        ("Python", f"{python} on {machine}"),
        ("Libraries", ", ".join(f"{name} {version}" for name, version in environment.items())),
        ("Backend", f"{backend['name']}{workers}"),
        ("Wall time, last run or collect", f"{record['wall_seconds']:,.0f} s"),
        *mask_facts,
    ]


def files_table(results: Mapping[str, xr.Dataset], record: RunRecord | None) -> pd.DataFrame:
    """Return the files that were read (row: sample, file) with their SHA-256."""
    if record is not None:
        # Copies in OUT begin with a number, which the user's own name has not.
        rows = [
            (name, f["file"].removeprefix(f"{i}_"), f["sha256"])
            for name, files in record["inputs"].items()
            for i, f in enumerate(files, 1)
        ]
    else:
        rows = [
            # The names of folders are private.
            (name, str(f.get("path", "")).replace("\\", "/").rsplit("/", 1)[-1], str(f["sha256"]))
            for name, r in results.items()
            for f in json.loads(r.attrs.get("sources", "[]"))
        ]
    return pd.DataFrame(rows, columns=["Sample", "File", "SHA-256"])


def analyses_table(results: Mapping[str, xr.Dataset], record: RunRecord | None) -> pd.DataFrame:
    """Return the analyses with their iterations, seed and digests (row: analysis)."""
    rows = []
    for name, result in results.items():
        entry = {} if record is None else record["analyses"].get(name, {})
        iterations = result.attrs.get("iterations")
        rows.append(
            {
                "Analysis": name,
                "Kind": model_of(result).kind,
                "Iterations": "" if iterations is None else f"{iterations:,}",
                "Seed": "" if iterations is None else str(model_of(result).inference.seed),
                "Instalments": " + ".join(f"{s['iterations']:,}" for s in entry.get("segments", ())),
                "Identity": str(result.attrs["identity"])[:SHORT],
                "Result": str(entry.get("digest") or "")[:SHORT],
            }
        )
    return pd.DataFrame(rows)


def settings_table(results: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Return the settings (row: setting), with a column for each analysis unless all have the same."""
    by_analysis = {}
    for name, result in results.items():
        settings = model_of(result).inference.model_dump(mode="json") | {"mask": mask_name(result)}
        if settings["search"] is not None:
            settings["search"] = result.attrs.get("search", "the whole mask")
        # The methods text has its reference; a path may be private.
        settings.pop("networks")
        by_analysis[name] = {key: "none" if value is None else str(value) for key, value in settings.items()}
    same = len({json.dumps(settings) for settings in by_analysis.values()}) == 1
    columns = {"Value": next(iter(by_analysis.values()))} if same else by_analysis
    return pd.DataFrame(columns).rename_axis("Setting").reset_index()
