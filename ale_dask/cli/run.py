"""Commands that compute analyses: run, extend, verify, sweep, subgroups, block, and analyses without a study.toml."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ale_dask.cli.after import run_afterwards
from ale_dask.cli.messages import show_messages, tell_input
from ale_dask.cli.options import (
    INSIDE,
    SUBSAMPLES,
    After,
    Backend,
    Columns,
    DryRun,
    Foci,
    Iterations,
    Json,
    MaskName,
    N,
    Out,
    Outside,
    Pictures,
    Pool,
    Quiet,
    RunOptions,
    SampleName,
    Search,
    Space,
    Stored,
    StudyFile,
    SubgroupCut,
    SubgroupSample,
    SweepAxis,
    Verbose,
    Workers,
    taking_settings,
)
from ale_dask.cli.output import finish, print_answer, print_costs, print_sets, print_sweep, print_sweep_result
from ale_dask.cli.signals import stop_on_signals
from ale_dask.cli.studies import (
    backend_of_atlas,
    columns_from,
    is_atlas,
    is_sweep,
    load,
    names_of,
    of_files,
    with_settings,
)
from ale_dask.config.names import is_image_file, name_from
from ale_dask.errors import InputError

if TYPE_CHECKING:
    from ale_dask.config.backend import Backend as BackendSettings
    from ale_dask.config.study import Study

log = logging.getLogger(__name__)


def run_study(study: Study, out: str, options: RunOptions) -> None:
    """Run a study to its end and write what people read, or print what it would cost."""
    if options.dry_run:
        print_costs(study, as_json=options.as_json)
        return
    stop_on_signals()
    with run_afterwards(options.after, out):
        _run_to_its_end(study, out, options)


def _run_to_its_end(study: Study, out: str, options: RunOptions) -> None:
    show_messages(quiet=options.quiet)
    from ale_dask.storage.location import place
    from ale_dask.workflows.unchanged import keep_answer, request_hash

    request = request_hash(study, pictures=options.pictures, evidence=options.evidence)
    if not (options.overwrite or options.verbose) and _shown_again(request, out, as_json=options.as_json):
        return
    from ale_dask.execution.backends.registry import backend_of
    from ale_dask.workflows import run as runs

    notices = tell_input(study, verbose=options.verbose)
    overwrite = options.overwrite
    if backend_of(study.backend).array_first:
        study = _array_first(study, out, quiet=options.quiet, overwrite=overwrite)
        overwrite = False
    results, record = runs.run(study, out, overwrite=overwrite, quiet=options.quiet)
    if options.evidence:
        from ale_dask.workflows.evidence import make_evidence

        make_evidence(out, compute=True, backend=study.backend, quiet=options.quiet)
    answer = finish(
        results, record, out, study=study, as_json=options.as_json, pictures=options.pictures, notices=notices
    )
    keep_answer(answer, request, place(out))


def _shown_again(request: str, out: str, *, as_json: bool) -> bool:
    """Print what the finished run in OUT printed and return True, or return False when anything has changed since."""
    from ale_dask.storage.location import place
    from ale_dask.workflows.unchanged import kept_answer

    answer = kept_answer(request, place(out))
    if answer is None:
        return False
    for line in answer.input_lines:
        log.info(line)
    log.info(f"nothing has changed since this run was written; `ale-dask collect {out}` writes its files again")
    print_answer(answer, out, as_json=as_json)
    return True


def _array_first(study: Study, out: str, *, quiet: bool, overwrite: bool) -> Study:
    """Wait until a job array has computed the blocks, and return the study with the backend that collects them here."""
    from ale_dask.cli.follow import status_printer
    from ale_dask.workflows.submit import run_array

    run_array(study, out, overwrite=overwrite, tell=(lambda statuses: None) if quiet else status_printer())
    return with_settings(study, backend="threads", workers="1")


@taking_settings
def run(
    study: StudyFile,
    out: Out,
    settings: dict[str, Any],
    options: RunOptions,
) -> None:
    """Run a study to its end; the same command resumes. STUDY may be the OUT of a sweep or of scripts/atlas."""
    if is_atlas(study):
        _finish_atlas(backend_of_atlas(study, out, settings), out, options)
        return
    if is_sweep(study):
        _finish_sweep(with_settings(load(study), **settings), out, options, given=study)
        return
    run_study(with_settings(load(study), **settings), out, options)


def _finish_atlas(backend: BackendSettings, out: str, options: RunOptions) -> None:
    from ale_dask.workflows.literature_runs import run_literature

    stop_on_signals()
    show_messages(quiet=options.quiet)
    with run_afterwards(options.after, out):
        print_sets(run_literature(out, backend=backend, quiet=options.quiet), out, as_json=options.as_json)


def _finish_sweep(study: Study, out: str, options: RunOptions, *, given: str) -> None:
    from ale_dask.storage.location import place
    from ale_dask.workflows.sweep import sweep as run_sweep

    if place(given) != place(out):
        raise InputError(f"{given}: holds a sweep; `ale-dask run {given} -o {given}` runs it to its end")
    stop_on_signals()
    show_messages(quiet=options.quiet)
    with run_afterwards(options.after, out):
        table, record = run_sweep(study, out, keep_going=True, quiet=options.quiet)
        print_sweep_result(table, record, out, as_json=options.as_json)


def extend(
    out: Stored,
    iterations: Annotated[int, typer.Option("-i", "--iterations", min=1, help="Total number of iterations.")],
    backend: Backend = None,
    workers: Workers = None,
    as_json: Json = False,
    quiet: Quiet = False,
    pictures: Pictures = True,
    after: After = None,
) -> None:
    """Extend a run to more iterations; those that are done are not repeated."""
    from ale_dask.storage.location import place
    from ale_dask.workflows.maintain import extended
    from ale_dask.workflows.run_directory import stored_study

    longer = extended(stored_study(place(out)), out, iterations=iterations)
    study = with_settings(longer, backend=backend, workers=workers)
    run_study(study, out, RunOptions(as_json=as_json, quiet=quiet, pictures=pictures, after=after))


def verify(
    out: Stored,
    blocks: Annotated[int, typer.Option("--blocks", min=1, help="Number of random blocks to compute again.")] = 10,
) -> None:
    """Compare every file of a run with its checksum, and compute random blocks again to compare their bits."""
    from ale_dask.errors import StoreError
    from ale_dask.workflows.maintain import verify as differing

    wrong = differing(out, blocks=blocks)
    if wrong:
        raise StoreError("\n".join([f"{out}: {len(wrong)} part(s) differ from what was written there:", *wrong]))
    print(f"{out}: the blocks computed again have the stored bits; every file is as it was written")


def sweep(
    study: StudyFile,
    out: Out,
    settings: dict[str, Any],
    axis: SweepAxis = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Leave out the combinations that cannot be run, and name them.")
    ] = False,
    maps: Annotated[bool, typer.Option("--maps", help="Write maps and tables of every combination, too.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    after: After = None,
) -> None:
    """Run a study under every combination of some settings; nulls that they share are computed once."""
    from ale_dask.workflows.sweep import plan_sweep
    from ale_dask.workflows.sweep import sweep as run_sweep
    from ale_dask.workflows.sweep_cells import axis_from

    stop_on_signals()
    chosen = with_settings(load(study), **settings)
    axes = dict(map(axis_from, axis)) if axis else None
    if dry_run:
        planned = plan_sweep(chosen, axes, keep_going=keep_going)
        print_sweep(planned, as_json=as_json)
        return
    show_messages(quiet=quiet)
    with run_afterwards(after, out):
        notices = tell_input(chosen, verbose=verbose)
        table, record = run_sweep(
            chosen,
            out,
            axes=axes,
            keep_going=keep_going,
            maps=maps,
            quiet=quiet,
        )
        print_sweep_result(table, record, out, as_json=as_json, notices=notices)


sweep = taking_settings(sweep)


def subgroups(
    study: StudyFile,
    out: Out,
    settings: dict[str, Any],
    options: RunOptions,
    by: Annotated[str, typer.Option("--by", help="Column whose values form the subgroups.")],
    cut: SubgroupCut = None,
    sample: SubgroupSample = None,
) -> None:
    """Run a main effect of each subgroup of a sample, and its contrast with the rest; descriptive, not corrected."""
    from ale_dask.workflows.subgroups import subgroups as study_of_subgroups

    chosen = study_of_subgroups(with_settings(load(study), **settings), by=by, cuts=cut or (), sample=sample)
    run_study(chosen, out, options)


subgroups = taking_settings(subgroups)


def block(
    out: Stored,
    index: Annotated[int | None, typer.Argument(help="Number of the block, or with --of of the share, from 0.")] = None,
    of: Annotated[
        int | None, typer.Option("--of", min=1, help="Number of shares; this one takes blocks INDEX, INDEX + OF …")
    ] = None,
    array: Annotated[bool, typer.Option("--array", help="Take INDEX and --of from the Slurm job array.")] = False,
) -> None:
    """Compute one block of a run, or one share of all its blocks, in this process without a scheduler."""
    from ale_dask.workflows.maintain import run_share

    stop_on_signals()
    if array:
        try:
            first, count = (int(os.environ[f"SLURM_ARRAY_TASK_{name}"]) for name in ("MIN", "COUNT"))
            index, of = int(os.environ["SLURM_ARRAY_TASK_ID"]) - first, count
        except (KeyError, ValueError) as error:
            raise InputError(f"--array: not inside a Slurm job array ({error}); give INDEX and --of instead") from error
    if index is None:
        raise InputError("block: give INDEX, or --array inside a job array")
    print(f"{run_share(out, index=index, shares=of)} blocks computed")


def command_of_files(kind: str | None, doc: str) -> Any:
    """Return the command that analyses files of foci: their main effects, or an analysis of these as well."""

    def command(
        foci: Foci,
        out: Out,
        settings: dict[str, Any],
        options: RunOptions,
        n: N = None,
        space: Space = None,
        columns: Columns = None,
    ) -> None:
        pool, name, inside = (settings.pop(key, None) for key in ("pool", "name", "inside"))
        taken = {key: value for key in SUBSAMPLES if (value := settings.pop(key, None)) is not None}
        names = names_of(foci)
        if name is not None and len(foci) > 1 and not pool:
            raise typer.BadParameter(f"--name names one sample; {len(foci)} files make one sample only with --pool")
        if pool or name is not None:
            names = [name_from(name) if name is not None else names[0]]
        analyses: dict[str, dict[str, Any]] = {}
        if kind in ("contrast", "balanced-contrast"):
            if len(foci) != 2:
                raise InputError(f"{kind}: needs two foci files, got {len(foci)}")
            balanced = "" if kind == "contrast" else "-balanced"
            analyses = {f"{names[0]}-vs-{names[1]}{balanced}": {"kind": kind, "arms": names, **taken}}
        elif kind == "subsampled":
            analyses = {f"{each}-subsampled": {"kind": kind, "of": each, **taken} for each in names}
        elif kind == "conjunction":
            if len(foci) < 2:
                raise InputError(f"conjunction: needs two or more foci files, got {len(foci)}")
            analyses = {"-and-".join(names): {"kind": kind, "of": names}}
        if inside is not None:
            foci, names, place = _inside(inside, foci, names)
            analyses = {key: values | {"inside": place} for key, values in analyses.items()}
        files = of_files(foci, analyses, names=names, n=n, space=space, columns=columns_from(columns))
        study = with_settings(files, **settings)
        show_messages(quiet=options.quiet)
        if kind is None and len(names) > 1:
            log.info(f"{len(names)} samples, one per file; --pool makes one sample of all")
        run_study(study, out, options)

    command.__doc__ = doc
    further: dict[str, Any] = {"pool": Pool, "name": SampleName} if kind in (None, "subsampled") else {}
    further |= SUBSAMPLES if kind in ("subsampled", "balanced-contrast") else {}
    return taking_settings(command, further=further | (INSIDE if kind in ("contrast", "conjunction") else {}))


def _inside(inside: Path, foci: list[Path], names: list[str]) -> tuple[list[Path], list[str], str]:
    """Return files and names with a further file of foci, if `inside` is no image, and the value of its key."""
    if is_image_file(inside):
        return foci, names, str(inside.resolve())
    further = names_of([*foci, inside])
    return [*foci, inside], further, further[-1]


def plan(
    study: StudyFile,
    out: Annotated[
        str | None, typer.Option("-o", "--out", help="Store the plan in this folder or URL, for `block`.")
    ] = None,
    iterations: Iterations = None,
    workers: Workers = None,
    mask: MaskName = None,
    search: Search = None,
    outside: Outside = None,
    price: Annotated[
        float | None,
        typer.Option("--price-per-core-hour", min=0, help="Price of a core-hour in any currency, to print the total."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print what a run would compute and cost, timed on its own foci; with -o, store its plan in OUT."""
    chosen = with_settings(
        load(study), iterations=iterations, workers=workers, mask=mask, search=search, outside=outside
    )
    print_costs(chosen, as_json=as_json, price=price)
    if out is not None:
        from ale_dask.execution.backends.connect import cpu_count
        from ale_dask.storage.location import place
        from ale_dask.workflows.prepare import prepare
        from ale_dask.workflows.run_directory import create_run, jobs_of

        prepared, where = prepare(chosen), place(out)
        plans = create_run(prepared, where)
        jobs = jobs_of(prepared, where, plans, workers=chosen.backend.most or cpu_count())
        log.info(f"{sum(job.segment.n_blocks for job in jobs):,} blocks planned in {out}")
