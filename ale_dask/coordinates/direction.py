"""The direction of an experiment's foci and the modality that they were found with, as columns of its file say.

Structural findings are increases and decreases, functional ones activations and deactivations. ALE knows neither:
foci of both directions converge as well as those of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import xarray as xr

from ale_dask.coordinates.foci import table, word_of
from ale_dask.coordinates.readers.columns import key_of

DIRECTION, MODALITY = "direction", "modality"
COLUMNS: Mapping[str, tuple[str, ...]] = {
    DIRECTION: ("direction", "effectdirection", "directionofeffect", "contrastdirection", "changedirection"),
    MODALITY: ("modality", "imagingmodality", "imagingmethod", "imaging", "technique", "neuroimagingmethod", "method"),
}
"""Names of columns, small letters and digits only, by what they say; the first that a file has is taken."""
_WORDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    DIRECTION: {
        "increase": ("increase", "increased", "increases", "inc", "up", "greater", "larger", "positive", "+", "higher"),
        "decrease": (
            *("decrease", "decreased", "decreases", "dec", "down", "smaller", "reduced", "reduction", "negative", "-"),
            *("lower", "loss", "atrophy"),
        ),
        "activation": ("activation", "activations", "activated", "hyperactivation"),
        "deactivation": ("deactivation", "deactivations", "deactivated", "hypoactivation"),
    },
    MODALITY: {
        "fMRI": ("fmri", "bold", "functionalmri", "taskfmri"),
        "resting fMRI": ("rsfmri", "restingfmri", "restingstatefmri", "reho", "alff", "falff", "restingstate"),
        "PET": ("pet", "h2opet", "fdgpet", "15opet"),
        "SPECT": ("spect",),
        "ASL": ("asl", "arterialspinlabelling", "arterialspinlabeling"),
        "MEG": ("meg",),
        "EEG": ("eeg",),
        "VBM": ("vbm", "voxelbasedmorphometry", "greymattervolume", "graymattervolume", "gmv"),
        "DBM": ("dbm", "tbm", "deformationbasedmorphometry", "tensorbasedmorphometry"),
        "cortical thickness": ("corticalthickness", "thickness", "sbm", "surfacebasedmorphometry"),
        "DTI": ("dti", "dwi", "tbss", "fractionalanisotropy", "diffusion"),
    },
}
STRUCTURAL = ("VBM", "DBM", "cortical thickness", "DTI")
"""Modalities that show what the brain is made of, and not what it does."""
DOWN = ("decrease", "deactivation")
_KNOWN = {what: {word: name for name, words in names.items() for word in words} for what, names in _WORDS.items()}


def words_of(dataset: xr.Dataset, what: str) -> list[str]:
    """Return the direction or the modality of each experiment (experiment); "" where it is not stated.

    A value that is none of the known ones stays as it is.
    """
    column = column_of(dataset, what)
    if column is None:
        return [""] * dataset.sizes["experiment"]
    values = [word_of(value) for value in table(dataset)[column].tolist()]
    return [_KNOWN[what].get(value if value in "+-" else key_of(value), value) if value else "" for value in values]


def column_of(dataset: xr.Dataset, what: str) -> str | None:
    """Return the column that states the direction or the modality of experiments; None where no column does.

    A column that is not itself called so counts only if all its values are known words: a method may be anything.
    """
    columns = table(dataset)
    by_key = {key_of(str(column)): str(column) for column in reversed(columns.columns)}
    for alias in COLUMNS[what]:
        if alias not in by_key:
            continue
        words = {word_of(value) for value in columns[by_key[alias]].tolist()} - {""}
        if words and (alias == what or all(w in "+-" or key_of(w) in _KNOWN[what] for w in words)):
            return by_key[alias]
    return None


def counts_of(dataset: xr.Dataset) -> dict[str, dict[str, int]]:
    """Return the number of experiments of each direction and of each modality; {} for what no column states."""
    counted = {what: Counter(filter(None, words_of(dataset, what))) for what in (DIRECTION, MODALITY)}
    return {what: dict(sorted(counts.items())) for what, counts in counted.items() if counts}
