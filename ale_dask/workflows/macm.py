"""Meta-analytic connectivity modelling: studies of the experiments of a database with a focus in a seed region."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.sample import FEWEST
from ale_dask.config.files import read_regular
from ale_dask.config.inference import BUILT_IN, DATABASES
from ale_dask.config.study import parse_study
from ale_dask.coordinates.foci import as_stated, subset
from ale_dask.coordinates.lint import ENOUGH_EXPERIMENTS
from ale_dask.coordinates.masks import load_mask
from ale_dask.coordinates.readers import read_foci
from ale_dask.coordinates.readers.writers import write_table
from ale_dask.datasets.base_rate.counting import no_coordinates
from ale_dask.datasets.fetch import fetched
from ale_dask.errors import InputError, did_you_mean
from ale_dask.reporting.common.phrases import counted, listed
from ale_dask.workflows.new_study import MOST_PAIRED, PAIR, NewStudy, quoted
from ale_dask.workflows.seeds import Seed, read_seed

FILE = "experiments.csv"
USUAL_N = 20
"""Sample size of experiments whose database states none: automatically read ones have no sizes."""


def macm(
    *seeds: str,
    database: str | Path,
    n: int | None = None,
    space: str | None = None,
    columns: Mapping[str, str] | None = None,
    mask: str = "brain",
    null: str = "base-rate",
) -> NewStudy:
    """Return a study of the experiments of a database with a focus in a seed region, to see what else they report.

    Each seed has a main effect; of two or three seeds, each pair has a contrast and a conjunction. Experiments with a
    focus in both seeds of a pair are in both main effects and left out of the contrast.

    Parameters
    ----------
    *seeds
        A sphere "x,y,z,radius" in mm MNI, an image, "atlas.nii.gz:12" or "atlas.nii.gz:NAME" of an image of labels
        (names are read from a table of numbers and names beside it), "AAL:Amygdala" (also Gyrus, Brodmann Area,
        Nucleus), or "OUT:ANALYSIS:1", a cluster of a finished run. "NAME=" before it names the sample.
    database
        "neurosynth" or "neuroquery", once fetched, or a file of foci in any form that `read_foci` reads.
    n
        Sample size of experiments that state none; 20 if not given, which a note says.
    space
        Space of experiments that state none; MNI for the fetched databases.
    columns
        Names of columns of the file that differ from the expected ones.
    mask
        Mask of the study.
    null
        "base-rate" (foci where the literature reports them), "uniform" or "both".

    Returns
    -------
    NewStudy
        The study, whose `write` makes a folder of it.

    Raises
    ------
    InputError
        For an unknown database, a seed that is empty or outside the mask, and one in which fewer than two experiments
        have a focus.

    Notes
    -----
    Every experiment has a focus in the seed by its selection, so that convergence there means nothing: results mark the
    voxels that these foci reach alone (Robinson et al. 2010, Human Brain Mapping 31:173). Experiments of any topic have
    foci more often in some regions than in others, which only the base-rate null accounts for (Langner et al. 2014).

    Examples
    --------
    >>> study = ale.macm("amygdala=12,4,0,8", database="drug.txt", mask="ball.nii.gz")
    >>> dict(study.samples)
    {'amygdala': 5}
    """
    if not seeds:
        raise InputError("macm: give a seed")
    brain = load_mask(mask)
    read = [read_seed(seed, mask=brain) for seed in seeds]
    if twice := [seed.name for i, seed in enumerate(read) if seed.name in [s.name for s in read[:i]]]:
        raise InputError(f"macm: two seeds are named '{twice[0]}'; give them names, as first=SEED second=SEED")
    foci, notes = read_database(database, space=space, columns=columns)
    total = foci.sizes["experiment"]
    chosen = {seed.name: _with_focus_in(seed, foci) for seed in read}
    samples = {name: int(here.sum()) for name, here in chosen.items()}
    notes += [
        f"{seed.name}: {samples[seed.name]:,} of {total:,} experiments have a focus in {seed.words}" for seed in read
    ]
    notes += _notes(chosen)
    used = subset(foci, np.any(list(chosen.values()), axis=0))
    source: dict[str, Any] = {}
    if without := int((used["experiment_n_subjects"].values <= 0).sum()):
        source["n"] = n if n is not None else USUAL_N
        notes.append(f"{without:,} experiments state no sample size: n = {source['n']}; --n takes another")
    text = _toml(read, samples, whence=Path(database).name, total=total, source=source, mask=mask, null=null)
    parse_study(text)
    files = {"study.toml": text.encode(), FILE: write_table(used).encode()}
    for seed in read:
        files |= seed.image
    if mask not in BUILT_IN:
        files[Path(mask).name] = read_regular(Path(mask))
    return NewStudy(files, samples, tuple(notes))


def read_database(
    database: str | Path, *, space: str | None, columns: Mapping[str, str] | None
) -> tuple[xr.Dataset, list[str]]:
    """Return the foci of a database, and notes on what was decided about them."""
    if str(database) not in DATABASES:
        if not Path(database).exists():
            hint = did_you_mean(str(database), DATABASES)
            raise InputError(f"database '{database}': no such file, and none of {', '.join(DATABASES)}{hint}")
        return read_foci(database, space=space, columns=columns, require_n=False), []
    # An eighth of Neurosynth's studies state no known space; most of the others are in MNI space.
    foci = read_foci(fetched(str(database)), space=space or "MNI", require_n=False)
    notes = [] if space else ["studies that state no space were taken to be in MNI space; --space takes another"]
    wrong = np.any(list(no_coordinates(as_stated(foci)).values()), axis=0)
    if wrong.any():
        foci = foci.isel(focus=np.flatnonzero(~wrong))
        notes.append(f"{int(wrong.sum()):,} foci that are most likely no coordinates were left out (0 0 0, 1 2 3 …)")
    return foci, notes


def _with_focus_in(seed: Seed, foci: xr.Dataset) -> npt.NDArray[np.bool_]:
    """Return the experiments (experiment) with a focus in a seed.

    Raises
    ------
    InputError
        where fewer than two have one.
    """
    here = np.zeros(foci.sizes["experiment"], dtype=bool)
    here[foci["focus_experiment"].values[seed.holds(foci["focus_xyz"].values)]] = True
    if (found := int(here.sum())) < FEWEST:
        raise InputError(
            f"seed '{seed.name}': {counted(found, 'experiment')} of {len(here):,} with a focus in {seed.words}; "
            f"a main effect needs {FEWEST}: give a larger seed or database"
        )
    return here


def _notes(chosen: Mapping[str, npt.NDArray[np.bool_]]) -> list[str]:
    """Return notes on few experiments, and on those that have a focus in two seeds."""
    few = [name for name, here in chosen.items() if here.sum() < ENOUGH_EXPERIMENTS]
    notes = [f"{name}: fewer than {ENOUGH_EXPERIMENTS} experiments: underpowered" for name in few]
    for a, b in combinations(chosen, 2):
        both = int((chosen[a] & chosen[b]).sum())
        alone = [int((chosen[x] & ~chosen[y]).sum()) for x, y in ((a, b), (b, a))]
        notes.append(
            f"{a} and {b}: {counted(both, 'experiment')} with a focus in both, in both main effects and in neither arm "
            f"of the contrast, which has {alone[0]:,} and {alone[1]:,}"
        )
        if min(alone) < FEWEST and len(chosen) <= MOST_PAIRED:
            raise InputError(f"seeds '{a}' and '{b}': too few experiments have a focus in one of them alone; give one")
    return notes


def _toml(
    seeds: Sequence[Seed],
    samples: Mapping[str, int],
    *,
    whence: str,
    total: int,
    source: Mapping[str, Any],
    mask: str,
    null: str,
) -> str:
    """Return the text of study.toml, with a comment on each part."""
    own = mask if mask in BUILT_IN else Path(mask).name
    parts = [_HEAD.format(title=quoted(f"Meta-analytic connectivity of {listed(samples)}"), whence=whence)]
    for seed in seeds:
        why = f"a focus in {seed.words}: {samples[seed.name]:,} of {total:,} experiments of {whence}"
        parts.append(f"[foci.{seed.name}]\nfiles = {quoted(FILE)}")
        parts += [f"{key} = {value}" for key, value in source.items()]
        rule = [f"{key} = {json.dumps(value)}" for key, value in seed.rule.items()]
        parts += [f"[[foci.{seed.name}.select]]", *rule, f"why = {quoted(why)}", ""]
    shared = _SHARED if len(seeds) > 1 else ""
    parts.append(_INFERENCE.format(null=quoted(null), mask=quoted(own), shared=shared))
    parts += [f'[analysis.{name}]\nkind = "main-effect"\nfoci = {quoted(name)}\n' for name in samples]
    pairs = list(combinations(samples, 2)) if len(samples) <= MOST_PAIRED else []
    return "\n".join([*parts, *(PAIR.format(a=a, b=b) for a, b in pairs)])


_HEAD = """\
# Made by `ale-dask macm`; change whatever you like. experiments.csv holds the experiments of {whence} that
# have a focus in a seed. Foci in the seed converge by this selection; tables say which voxels they reach alone.
title = {title}
"""
_INFERENCE = """\
[inference]
# Against where the literature reports foci of any topic ("base-rate"), foci spread evenly ("uniform"), or "both".
null = {null}
iterations = 10000
seed = 1
mask = {mask}
{shared}
# Analyses."""
_SHARED = """\
# Experiments with a focus in two seeds are in neither arm of their contrast.
shared = "exclude"
"""
