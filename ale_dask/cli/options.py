"""The options that commands share, and configuration from them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ale_dask.words.config import Study

Out = Annotated[Path, typer.Option("-o", "--out", help="Folder of the run; the same folder resumes.")]
Backend = Annotated[
    str | None,
    typer.Option("-b", "--backend", help="threads, processes, serial, tcp://HOST:PORT or tls://HOST:PORT."),
]
Workers = Annotated[
    int | None, typer.Option("-w", "--workers", min=1, help="Threads or processes; all CPUs if not given.")
]
Iterations = Annotated[int | None, typer.Option("-i", "--iterations", min=1, help="Null iterations per analysis.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0)]
VoxelP = Annotated[float | None, typer.Option("--voxel-p", help="Cluster-forming p.")]
ClusterP = Annotated[float | None, typer.Option("--cluster-p", help="Family-wise p of clusters and voxels.")]
Correction = Annotated[str | None, typer.Option("--correction", help="cluster-size, cluster-mass or voxel.")]
MaskName = Annotated[str | None, typer.Option("--mask", help="brain, gm or an image file.")]
Profile = Annotated[str | None, typer.Option("--profile", help="recommended or gingerale.")]
DryRun = Annotated[bool, typer.Option("-n", "--dry-run", help="Say what would run and what it costs; run nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Discard what OUT holds.")]
Pictures = Annotated[bool, typer.Option("--pictures/--no-pictures", help="PNG of each thresholded map.")]
Foci = Annotated[list[Path], typer.Argument(help="Foci files: Sleuth text or CSV/TSV tables.")]


N = Annotated[int | None, typer.Option("--n", min=1, help="Sample size where the files have none.")]
Space = Annotated[str | None, typer.Option("--space", help="MNI or Talairach where the files do not say.")]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def load(study: Path) -> Study:
    from ale_dask.words.config import load_study

    if study.is_dir():
        study = study / "study.toml"
    return load_study(study)


def with_settings(study: Study, **values: Any) -> Study:
    """Return the study with the settings given on the command line instead of its own."""
    from ale_dask.words.config import inference_from, study_from

    backend = {k: values.pop(k) for k in ("name", "workers") if k in values}
    new = {k: v for k, v in values.items() if v is not None}
    if "mask" in new and new["mask"] not in ("brain", "gm"):
        new["mask"] = str(Path(new["mask"]).resolve())
    inference = inference_from({**study.inference.model_dump(), **new}, source="command line")
    kept = {k: v for k, v in backend.items() if v is not None}
    data = study.model_dump() | {
        "inference": inference.model_dump(),
        "backend": study.backend.model_dump() | kept,
    }
    return study_from(data, source="command line")


def of_files(files: list[Path], analyses: dict[str, dict[str, Any]], **options: Any) -> Study:
    from ale_dask.words.config import study_from

    names = names_of(files)
    sources = {
        name: {"files": [str(file.resolve())], **{k: v for k, v in options.items() if v is not None}}
        for name, file in zip(names, files, strict=True)
    }
    mains = {name: {"kind": "main-effect", "foci": name} for name in names}
    title = " / ".join(names)
    return study_from({"title": title, "foci": sources, "analysis": mains | analyses}, source="command line")


def names_of(files: list[Path]) -> list[str]:
    names: list[str] = []
    for file in files:
        stem = re.sub(r"[^a-z0-9]+", "-", file.name.split(".")[0].lower()).strip("-") or "foci"
        names.append(stem if stem not in names else f"{stem}-{len(names) + 1}")
    return names
