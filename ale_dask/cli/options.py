"""Declare the options that several commands have, and make studies and settings of their values."""

from __future__ import annotations

import functools
import inspect
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from ale_dask.config.names import name_from
from ale_dask.errors import InputError
from ale_dask.execution.backends.registry import names_in_words

if TYPE_CHECKING:
    from ale_dask.config.backend import Backend as BackendSettings
    from ale_dask.config.study import Study
    from ale_dask.workflows.notices import Notices

log = logging.getLogger(__name__)

Out = Annotated[
    str, typer.Option("-o", "--out", help="Folder of the run, or a URL (s3:// gs:// az://); the same one resumes.")
]
StudyFile = Annotated[str, typer.Argument(metavar="STUDY", help="study.toml, or the OUT of a run.")]
Stored = Annotated[str, typer.Argument(metavar="OUT", help="Folder or URL of the run.")]
Backend = Annotated[str | None, typer.Option("-b", "--backend", help=f"Where blocks are computed: {names_in_words()}.")]
Workers = Annotated[
    str | None,
    typer.Option(
        "-w",
        "--workers",
        metavar="N|MIN:MAX",
        help="Number of threads, processes or worker jobs, by default all CPUs; with MIN:MAX it follows the work.",
    ),
]
Iterations = Annotated[
    int | None, typer.Option("-i", "--iterations", min=1, help="Iterations of the null of each analysis.")
]
UntilDecided = Annotated[
    int | None,
    typer.Option("--until-decided", min=1, help="Add iterations until each cluster is decided, up to this number."),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of all random draws.")]
VoxelP = Annotated[float | None, typer.Option("--voxel-p", help="Cluster-forming p.")]
ClusterP = Annotated[float | None, typer.Option("--cluster-p", help="Family-wise p of clusters and voxels.")]
Correction = Annotated[
    str | None, typer.Option("--correction", help="Family-wise correction: cluster-size, cluster-mass, voxel or tfce.")
]
MaskName = Annotated[str | None, typer.Option("--mask", help="Mask: brain, gm, grey10 or an image file.")]
Null = Annotated[
    str | None,
    typer.Option("--null", help="Null: uniform, base-rate (foci where the literature reports them) or both."),
]
BaseRate = Annotated[
    str | None,
    typer.Option(
        "--base-rate",
        help="Base rate: literature, an image of numbers of foci (from `ale-dask base-rate`), a file with the foci of "
        "a database, or neurosynth or neuroquery once fetched.",
    ),
]
BaseRateDraw = Annotated[
    str | None,
    typer.Option(
        "--base-rate-draw", help="Draws of the base-rate null: foci (one by one) or studies (whole ones of a database)."
    ),
]
Search = Annotated[
    str | None,
    typer.Option(
        "--search", help="Region to test (an image, or as --mask); the foci of the null are drawn over the whole mask."
    ),
]
Networks = Annotated[
    str | None,
    typer.Option(
        "--networks",
        help="Label image of which the tables give each cluster's shares: yeo7, yeo17, schaefer100 … 1000, AAL or a "
        "file.",
    ),
]
Outside = Annotated[str | None, typer.Option("--outside", help="Foci outside the mask: keep or drop.")]
Include = Annotated[
    str | None,
    typer.Option(
        "--include", metavar="CONDITION", help='Only experiments with this condition, such as "patients and n > 9".'
    ),
]
Exclude = Annotated[
    str | None, typer.Option("--exclude", metavar="CONDITION", help="No experiments with this condition.")
]
Profile = Annotated[
    str | None, typer.Option("--profile", help="Conventions to follow: recommended, gingerale, nimare, matlab or jale.")
]
SameSubjects = Annotated[
    str | None,
    typer.Option("--same-subjects", help="Experiments of the same subjects: pool, keep (apart) or refuse."),
]
Shared = Annotated[
    str | None,
    typer.Option("--shared", help="Experiments that both arms of a contrast have: refuse, exclude or keep."),
]
DryRun = Annotated[
    bool, typer.Option("-n", "--dry-run", help="Print what would be computed and what it costs; compute nothing.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Verbose = Annotated[
    bool,
    typer.Option("-v", "--verbose", help="Print all warnings about the input, not only the worst five of each kind."),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print no progress.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Discard the run that OUT holds.")]
WithEvidence = Annotated[
    bool,
    typer.Option("--evidence", help="Then compute leave-one-out, fail-safe N … for a card of evidence per cluster."),
]
AFTER_VARIABLE = "ALE_DASK_AFTER"
After = Annotated[
    str | None,
    typer.Option(
        "--after",
        metavar="COMMAND",
        envvar=AFTER_VARIABLE,
        help="Command of the shell to run once when the run has ended, well or badly; ALE_DASK_STATE tells it which.",
    ),
]
Pictures = Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw a PNG of each thresholded map.")]
Foci = Annotated[
    list[Path],
    typer.Argument(
        help="Foci files: Sleuth text, tables, workbooks …; a folder or 'PATTERN' is one sample of its files."
    ),
]
Pool = Annotated[bool | None, typer.Option("--pool", help="Make one sample of all files.")]
SampleName = Annotated[
    str | None, typer.Option("--name", help="Name of the sample, by default that of the first file.")
]
SUBSAMPLES = {
    "size": Annotated[int | None, typer.Option("--size", min=2, help="Groups of subjects in each subsample.")],
    "subsamples": Annotated[int | None, typer.Option("--subsamples", min=2, help="Number of subsamples, or of pairs.")],
    "share": Annotated[
        float | None, typer.Option("--share", min=0, max=1, help="Least share in which voxels of the tables survive.")
    ],
}
"""Options of the commands that take subsamples, by their keys in study.toml."""
INSIDE = {
    "inside": Annotated[
        Path | None,
        typer.Option(
            "--inside", help="Look inside an image only, or inside the significant clusters of a further file of foci."
        ),
    ],
}
"""Options of the commands that a place can limit, by their keys in study.toml."""
N = Annotated[int | None, typer.Option("--n", min=1, help="Sample size of experiments whose file states none.")]
Space = Annotated[
    str | None, typer.Option("--space", help="Space of experiments whose file states none: MNI or Talairach.")
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="NAME=COLUMN,…",
        help="Columns of tables with other names than study, contrast, n, space, x, y or z: n=Anzahl,x=X-Koord.",
    ),
]


@dataclass(frozen=True)
class RunOptions:
    """The options of every command that runs a study to its end."""

    dry_run: DryRun = False
    as_json: Json = False
    quiet: Quiet = False
    overwrite: Overwrite = False
    pictures: Pictures = True
    verbose: Verbose = False
    evidence: WithEvidence = False
    after: After = None


SETTINGS: dict[str, Any] = {
    "backend": Backend,
    "workers": Workers,
    "iterations": Iterations,
    "until_decided": UntilDecided,
    "seed": Seed,
    "voxel_p": VoxelP,
    "cluster_p": ClusterP,
    "correction": Correction,
    "mask": MaskName,
    "null": Null,
    "base_rate": BaseRate,
    "base_rate_draw": BaseRateDraw,
    "search": Search,
    "networks": Networks,
    "outside": Outside,
    "profile": Profile,
    "same_subjects": SameSubjects,
    "shared": Shared,
    "include": Include,
    "exclude": Exclude,
}
"""The options that override settings of study.toml, by name of the setting."""


def taking_settings(command: Callable[..., None], *, further: dict[str, Any] | None = None) -> Callable[..., None]:
    """Return a command in which one parameter `settings`, and maybe `options`, stands for many command line options.

    The parameter `settings` becomes a dictionary of the options that override study.toml, and of the `further` ones by
    name. A parameter `options`, if the command has one, becomes the `RunOptions`.
    """
    settings = SETTINGS | (further or {})
    own = inspect.signature(command, eval_str=True)
    kept = [p for p in own.parameters.values() if p.name not in ("settings", "options")]
    hints = get_type_hints(RunOptions, include_extras=True) if "options" in own.parameters else {}
    defaults = {field.name: field.default for field in fields(RunOptions)}

    def option(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        grouped: dict[str, Any] = {"settings": {name: values.pop(name) for name in settings}}
        if hints:
            grouped["options"] = RunOptions(**{name: values.pop(name) for name in hints})
        command(**grouped, **values)

    parameters = [
        *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in kept),
        *(option(name, annotation, defaults[name]) for name, annotation in hints.items()),
        *(option(name, annotation) for name, annotation in settings.items()),
    ]
    # Typer reads the signature and, beside it, the annotations.
    wrapped.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


class Stopped(BaseException):
    """Raised when a signal stops this process; no Exception, so that no handler of failures swallows it."""


_stopped: list[Stopped] = []
"""What a signal raised in this process; numba turns it into an error of its own while it saves a compiled kernel."""


def stopped_by() -> Stopped | None:
    """Return what a signal raised in this process, if one did."""
    return _stopped[-1] if _stopped else None


def stop_on_signals() -> None:
    """Let SIGTERM and Ctrl-C end this process with exit code 75 between two blocks; a second SIGTERM is ignored."""
    _stopped.clear()

    def stopped(number: int, frame: Any) -> None:
        # Slurm signals a job's processes one by one; a second Ctrl-C is a person who does not want to wait.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        name = signal.Signals(number).name
        _stopped.append(Stopped(f"stopped by {name}; finished blocks are kept, the same command resumes"))
        raise _stopped[-1]

    signal.signal(signal.SIGTERM, stopped)
    signal.signal(signal.SIGINT, stopped)


def ignore_signals() -> None:
    """Ignore Ctrl-C and SIGTERM from now on: all results are written, and only lines about them are left to print."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


class _Terminal(logging.Handler):
    """Prints every message of the package as it is, on standard error or, if a command asks for it, standard output."""

    on_stdout = False

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), file=sys.stdout if self.on_stdout else sys.stderr, flush=True)


_TERMINAL = _Terminal()
_PACKAGE = logging.getLogger("ale_dask")


@contextmanager
def printed_messages() -> Iterator[None]:
    """Print the messages of the package inside the context; a program that imports it configures logging itself."""
    level = _PACKAGE.level
    _PACKAGE.addHandler(_TERMINAL)
    show_messages()
    try:
        yield
    finally:
        _PACKAGE.removeHandler(_TERMINAL)
        _PACKAGE.setLevel(level)


def show_messages(*, quiet: bool = False, on_stdout: bool = False) -> None:
    """Print, from now on, warnings and errors only or all messages, on standard error or standard output."""
    _PACKAGE.setLevel(logging.WARNING if quiet else logging.INFO)
    _TERMINAL.on_stdout = on_stdout


def tell_input(study: Study, *, verbose: bool = False) -> list[Notices]:
    """Print the decisions and warnings about the input of a study, and return them."""
    from ale_dask.workflows.notices import notice_lines, study_notices

    notices = study_notices(study)
    for line in notice_lines(notices, verbose=verbose):
        log.info(line)
    return notices


SweepAxis = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Values of a setting or of select.COLUMN, NAME=VALUE,VALUE … or NAME=1..20; once per axis."
    ),
]
SubgroupsBy = Annotated[str | None, typer.Option("--by", help="Column whose values form the subgroups.")]
SubgroupCut = Annotated[
    list[float] | None,
    typer.Option("--cut", help="Number at which a numeric column is cut into ranges instead; may be given repeatedly."),
]
SubgroupSample = Annotated[
    str | None, typer.Option("--sample", help="Name of the sample, needed where several have the column.")
]


def is_sweep(study: str) -> bool:
    """Return whether a STUDY is the folder or URL of a sweep."""
    from ale_dask.storage.location import place
    from ale_dask.storage.ownership import holds_sweep

    return not Path(study).is_file() and holds_sweep(place(study))


def is_atlas(study: str) -> bool:
    """Return whether a STUDY is the folder or URL of sets of a database."""
    from ale_dask.storage.location import place
    from ale_dask.storage.ownership import holds_atlas

    return not Path(study).is_file() and holds_atlas(place(study))


def backend_of_atlas(study: str, out: str, settings: dict[str, Any]) -> BackendSettings:
    """Return the backend that sets of a database in a folder are given by options, or by the folder.

    Raises
    ------
    InputError
        when other settings are given, which belong to what is computed, or another OUT.
    """
    from ale_dask.config.study import backend_from
    from ale_dask.storage.location import place
    from ale_dask.workflows.literature_runs import stored_literature

    if place(study) != place(out):
        raise InputError(f"{study}: holds sets of a database; give `{study} -o {study}`")
    given = {key: value for key, value in settings.items() if value is not None}
    changed = {of: given.pop(key) for key, of in (("backend", "name"), ("workers", "workers")) if key in given}
    if given:
        raise InputError(f"{study}: its sets were planned with their settings; leave out {', '.join(given)}")
    kept = stored_literature(place(out))[2]
    return backend_from(kept.model_dump() | changed, source="command line")


def load(study: str) -> Study:
    """Return the study of a study.toml, or of the folder or URL of a run."""
    from ale_dask.config.study import load_study
    from ale_dask.storage.location import place
    from ale_dask.storage.object_store import Remote

    where = place(study)
    if not isinstance(where, Remote) and not where.is_dir():
        return load_study(where)
    from ale_dask.storage.ownership import holds_run

    if isinstance(where, Remote) or holds_run(where):
        from ale_dask.workflows.run_directory import stored_study

        return stored_study(where)
    return load_study(where / "study.toml", recorded=(where / "plans").is_dir())


def with_settings(study: Study, **values: Any) -> Study:
    """Return the study with the settings given on the command line instead of its own."""
    from ale_dask.config.inference import IMAGES, WITHOUT_FILE, with_changes
    from ale_dask.config.study import inference_from, study_from

    backend = {"name": values.pop("backend", None), "workers": values.pop("workers", None)}
    include, exclude = values.pop("include", None), values.pop("exclude", None)
    conditions = [c for c in (include, exclude and f"not ({exclude})") if c]
    new = {k: v for k, v in values.items() if v is not None}
    for key in IMAGES:
        if key in new and new[key] not in WITHOUT_FILE:
            new[key] = str(Path(new[key]).resolve())
    inference = inference_from(with_changes(study.inference.model_dump(), new), source="command line")
    kept = {k: v for k, v in backend.items() if v is not None}
    foci = {
        name: source.model_dump() | {"select": [*source.model_dump()["select"], *({"where": c} for c in conditions)]}
        for name, source in study.foci.items()
    }
    data = study.model_dump() | {
        "foci": foci,
        "inference": inference.model_dump(),
        "backend": study.backend.model_dump() | kept,
    }
    return study_from(data, source="command line")


def of_files(
    files: list[Path], analyses: dict[str, dict[str, Any]], *, names: list[str], together: str = "", **options: Any
) -> Study:
    """Return the study of files of foci: one sample per file, or one sample of all files if `names` has one name.

    Each sample has its main effect; with `together`, there is one of all samples, which has this name.
    """
    from ale_dask.config.study import study_from, with_expanded_files

    paths = [str(file.resolve()) for file in files]
    parts = [paths] if len(names) == 1 else [[path] for path in paths]
    given = {k: v for k, v in options.items() if v is not None}
    sources = {name: {"files": part, **given} for name, part in zip(names, parts, strict=True)}
    mains: dict[str, dict[str, Any]] = {name: {"kind": "main-effect", "foci": name} for name in names}
    if together:
        mains = {together: {"kind": "main-effect", "foci": names}}
    title = " / ".join(names)
    study = study_from({"title": title, "foci": sources, "analysis": mains | analyses}, source="command line")
    return with_expanded_files(study)


def columns_from(text: str | None) -> dict[str, str] | None:
    """Return the mapping of `--columns n=Anzahl,x=X-Koord`; text of another form is a usage error."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    wrong = next((f"{own}{sign}{name}" for own, sign, name in pairs if not (own.strip() and name.strip())), None)
    if wrong is not None:
        raise typer.BadParameter(f"--columns: '{wrong}' is not NAME=COLUMN, such as n=Anzahl")
    return {own.strip(): name.strip() for own, _, name in pairs}


def names_of(files: list[Path]) -> list[str]:
    """Return names for the samples of files, made of the names of the files and all different."""
    names: list[str] = []
    for file in files:
        stem = name_from(file.name.split(".")[0])
        names.append(stem if stem not in names else f"{stem}-{len(names) + 1}")
    return names
