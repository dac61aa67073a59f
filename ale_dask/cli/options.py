"""Declare the options that several commands have."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from ale_dask.execution.backends.registry import names_in_words

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
    typer.Option(
        "-v", "--verbose", help="Print all warnings about the input, not the worst five of a kind, 30 samples."
    ),
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
