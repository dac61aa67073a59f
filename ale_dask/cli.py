"""The command line: arguments -> configuration -> study -> results. Imports only typer at start."""

from __future__ import annotations

import json
import re
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ale_dask.words.errors import AleError, InputError, UnfinishedError

if TYPE_CHECKING:
    from ale_dask.results import Painters
    from ale_dask.words.config import Study

app = typer.Typer(
    name="ale-dask",
    help="Activation likelihood estimation (ALE) meta-analysis on Dask.\n\n"
    "Exit codes: 0 done, 2 usage, 65 bad input, 69 backend unreachable, 70 a bug of ours, 74 store damaged or of "
    "another configuration, 75 unfinished (the same command resumes).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

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


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _changed(study: Study, **values: Any) -> Study:
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


def _of_files(files: list[Path], analyses: dict[str, dict[str, Any]], **options: Any) -> Study:
    from ale_dask.words.config import study_from

    names = _names(files)
    sources = {
        name: {"files": [str(file.resolve())], **{k: v for k, v in options.items() if v is not None}}
        for name, file in zip(names, files, strict=True)
    }
    mains = {name: {"kind": "main-effect", "foci": name} for name in names}
    title = " / ".join(names)
    return study_from({"title": title, "foci": sources, "analysis": mains | analyses}, source="command line")


def _names(files: list[Path]) -> list[str]:
    names: list[str] = []
    for file in files:
        stem = re.sub(r"[^a-z0-9]+", "-", file.name.split(".")[0].lower()).strip("-") or "foci"
        names.append(stem if stem not in names else f"{stem}-{len(names) + 1}")
    return names


def _run(
    study: Study, out: Path, *, dry_run: bool, as_json: bool, quiet: bool, overwrite: bool, pictures: bool
) -> None:
    from ale_dask import runs
    from ale_dask.results import painters

    if dry_run:
        _print_costs(study, as_json=as_json)
        return
    signal.signal(signal.SIGTERM, _stopped)
    signal.signal(signal.SIGINT, _stopped)
    with painters(wanted=pictures) as drawn_by:
        results, record = runs.run(study, out, overwrite=overwrite, quiet=quiet, say=None if quiet else _say)
        _finish(results, record, out, study=study, as_json=as_json, drawn_by=drawn_by, quiet=quiet)


def _finish(
    results: Any,
    record: dict[str, Any],
    out: Path,
    *,
    study: Study,
    as_json: bool,
    drawn_by: Painters | None,
    quiet: bool,
) -> None:
    from ale_dask.data.store import replace_file
    from ale_dask.results import study_table, summary_lines, write_results

    if not quiet:
        _say("writing maps, tables and pictures" if drawn_by else "writing maps and tables")
    write_results(results, out, title=study.title, simulated=study.simulated, drawn_by=drawn_by)
    replace_file(out / "run.json", (json.dumps(record, indent=2) + "\n").encode())
    if as_json:
        table = json.loads(study_table(results).to_json(orient="records"))
        print(
            json.dumps(
                {
                    "out": str(out),
                    "wall_seconds": record["wall_seconds"],
                    "results": table,
                    "analyses": record["analyses"],
                }
            )
        )
        return
    for line in summary_lines(results):
        print(line)
    print(f"report: {out / 'report.html'}")


def _stopped(number: int, frame: Any) -> None:
    raise UnfinishedError(
        f"stopped by {signal.Signals(number).name}; finished blocks are kept, the same command resumes"
    )


def _print_costs(study: Study, *, as_json: bool) -> None:
    from dataclasses import asdict

    from ale_dask.distribution.progress import clock
    from ale_dask.study import costs, prepare

    found = costs(prepare(study), workers=study.backend.workers)
    if as_json:
        print(json.dumps([asdict(c) | {"core_seconds": c.core_seconds} for c in found]))
        return
    print(
        f"{'analysis':28} {'experiments':>11} {'foci':>6} {'iterations':>10} {'blocks':>6} "
        f"{'ms each':>8} {'core time':>9} {'MB':>7}"
    )
    for c in found:
        print(
            f"{c.name:28} {c.experiments:11,} {c.foci:6,} {c.iterations:10,} {c.blocks:6,} "
            f"{1e3 * c.seconds_per_iteration:8.2f} {clock(c.core_seconds):>9} {c.bytes_written / 1e6:7.1f}"
        )
    total = sum(c.core_seconds for c in found)
    print(f"{'in all':28} {clock(total):>54} of one core like this one, about 0.2 GB of memory per worker")


def _load(study: Path) -> Study:
    from ale_dask.words.config import load_study

    if study.is_dir():
        study = study / "study.toml"
    return load_study(study)


@app.command()
def example(folder: Annotated[Path, typer.Argument(help="Folder to make.")]) -> None:
    """Write the built-in study, simulated: three Sleuth files and study.toml."""
    from ale_dask.data.example import write_example

    write_example(folder)
    print(f"simulated example in {folder}; next: ale-dask run {folder / 'study.toml'} -o {folder / 'out'}")


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A foci file or study.toml.")],
    mask: MaskName = None,
    as_json: Json = False,
) -> None:
    """Read and lint foci or a study; nothing is computed."""
    from dataclasses import asdict

    from ale_dask.data.foci import n_foci
    from ale_dask.data.lint import lint
    from ale_dask.data.masks import load_mask
    from ale_dask.data.readers import read_foci

    if path.suffix == ".toml" or path.is_dir():
        from ale_dask.study import prepare

        study = _changed(_load(path), mask=mask)
        prepared = prepare(study)
        grid = prepared.mask
        foci = {
            name: read_foci(
                *s.files, n=s.n, space=s.space, talairach=s.talairach, require_n=study.inference.fwhm is None
            )
            for name, s in study.foci.items()
        }
    else:
        grid = load_mask(mask or "brain")
        foci = {path.name: read_foci(path)}
    found = {name: lint(dataset, mask=grid) for name, dataset in foci.items()}
    counts = {
        name: {
            "experiments": dataset.sizes["experiment"],
            "foci": int(n_foci(dataset).sum()),
            "subjects": int(dataset["experiment_n_subjects"].values.sum()),
        }
        for name, dataset in foci.items()
    }
    if as_json:
        print(json.dumps([{"name": n, **counts[n], "warnings": [asdict(f) for f in found[n]]} for n in foci]))
        return
    for name, count in counts.items():
        print(f"{name}: " + ", ".join(f"{number} {word}" for word, number in count.items()))
        for finding in found[name]:
            print(f"  warning {finding.code}: {finding.where}: {finding.message}")


@app.command()
def plan(
    study: Annotated[Path, typer.Argument(help="study.toml.")],
    iterations: Iterations = None,
    workers: Workers = None,
    mask: MaskName = None,
    as_json: Json = False,
) -> None:
    """Say what a run would compute and cost, timed on its own foci; nothing is written."""
    _print_costs(_changed(_load(study), iterations=iterations, workers=workers, mask=mask), as_json=as_json)


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="study.toml.")],
    out: Out,
    backend: Backend = None,
    workers: Workers = None,
    iterations: Iterations = None,
    seed: Seed = None,
    voxel_p: VoxelP = None,
    cluster_p: ClusterP = None,
    correction: Correction = None,
    mask: MaskName = None,
    profile: Profile = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    overwrite: Overwrite = False,
    pictures: Pictures = True,
) -> None:
    """Run a study to its end; the same command again resumes."""
    changed = _changed(
        _load(study), name=backend, workers=workers, iterations=iterations, seed=seed, voxel_p=voxel_p,
        cluster_p=cluster_p, correction=correction, mask=mask, profile=profile,
    )  # fmt: skip
    _run(changed, out, dry_run=dry_run, as_json=as_json, quiet=quiet, overwrite=overwrite, pictures=pictures)


@app.command()
def status(out: Annotated[Path, typer.Argument(help="Folder of the run.")], as_json: Json = False) -> None:
    """Count the iterations that are done and whole, per analysis."""
    from ale_dask.runs import status as of

    rows = [{"analysis": name, "done": done, "iterations": wanted} for name, done, wanted in of(out)]
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['analysis']:28} {row['done']:10,} of {row['iterations']:10,} iterations")


@app.command()
def collect(
    out: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    as_json: Json = False,
    pictures: Pictures = True,
    quiet: Quiet = False,
) -> None:
    """Write maps, tables, pictures and run.json again from the store."""
    from ale_dask.results import painters
    from ale_dask.runs import collect as of

    with painters(wanted=pictures) as drawn_by:
        study, results, record = of(out)
        _finish(results, record, out, study=study, as_json=as_json, drawn_by=drawn_by, quiet=quiet)


N = Annotated[int | None, typer.Option("--n", min=1, help="Sample size where the files have none.")]
Space = Annotated[str | None, typer.Option("--space", help="MNI or Talairach where the files do not say.")]


def _command(kind: str | None, doc: str) -> Any:
    def command(
        foci: Foci,
        out: Out,
        backend: Backend = None,
        workers: Workers = None,
        iterations: Iterations = None,
        seed: Seed = None,
        voxel_p: VoxelP = None,
        cluster_p: ClusterP = None,
        correction: Correction = None,
        mask: MaskName = None,
        profile: Profile = None,
        n: N = None,
        space: Space = None,
        dry_run: DryRun = False,
        as_json: Json = False,
        quiet: Quiet = False,
        overwrite: Overwrite = False,
        pictures: Pictures = True,
    ) -> None:
        names = _names(foci)
        analyses: dict[str, dict[str, Any]] = {}
        if kind == "contrast":
            if len(foci) != 2:
                raise InputError(f"contrast: needs two foci files, got {len(foci)}")
            analyses = {f"{names[0]}-vs-{names[1]}": {"kind": kind, "arms": names}}
        elif kind == "conjunction":
            if len(foci) < 2:
                raise InputError(f"conjunction: needs two or more foci files, got {len(foci)}")
            analyses = {"-and-".join(names): {"kind": kind, "of": names}}
        study = _changed(
            _of_files(foci, analyses, n=n, space=space), name=backend, workers=workers, iterations=iterations,
            seed=seed, voxel_p=voxel_p, cluster_p=cluster_p, correction=correction, mask=mask, profile=profile,
        )  # fmt: skip
        _run(study, out, dry_run=dry_run, as_json=as_json, quiet=quiet, overwrite=overwrite, pictures=pictures)

    command.__doc__ = doc
    return command


app.command("main-effect")(_command(None, "ALE of each foci file, without a study.toml."))
app.command("contrast")(
    _command("contrast", "First foci file against the second, both directions, without a study.toml.")
)
app.command("conjunction")(_command("conjunction", "Where all foci files agree, without a study.toml."))


def main() -> None:
    """Run the command line; errors become one message and the documented exit code."""
    try:
        app()
    except AleError as error:
        _say(f"ale-dask: {error}")
        sys.exit(error.exit_code)
    except Exception:
        traceback.print_exc()
        _say("ale-dask: this is a bug of ours; please report it with the lines above")
        sys.exit(70)


if __name__ == "__main__":
    main()
