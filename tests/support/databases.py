"""A made-up database in the files of Neurosynth 7, as `ale-dask fetch neurosynth` keeps them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from ale_dask.analyses.literature import LiteraturePlan
from ale_dask.config.inference import Inference
from ale_dask.datasets.fetch import SOURCES
from ale_dask.workflows import literature

WORDS = ["fear", "motor", "brain", "rare"]
STUDIES, PLACE = 240, (12.0, 4.0, 0.0)


def write_database(data: Path) -> Path:
    """Write 240 studies of which 60 are on fear, and two thirds of these report one place; return their folder."""
    source, rng = SOURCES["neurosynth"], np.random.default_rng(4)
    folder = data / source.name
    folder.mkdir(parents=True)
    weights = np.zeros((STUDIES, len(WORDS)))
    weights[:60, 0], weights[40:160, 1], weights[:, 2], weights[:5, 3] = 0.2, 0.1, 0.05, 0.3
    weights[100:, 0] = 0.0005
    rows = []
    for i in range(STUDIES):
        foci = rng.uniform(-20, 20, size=(3, 3))
        if i < 60 and i % 3:
            foci[0] = PLACE + rng.normal(0, 2, 3)
        rows += [(1000 - i, *focus.round(1)) for focus in foci]
    tables = {
        source.coordinates: pd.DataFrame(rows, columns=["id", "x", "y", "z"]),
        source.metadata: pd.DataFrame({"id": [1000 - i for i in range(STUDIES)], "title": "t", "space": "MNI"}),
    }
    for name, table in tables.items():
        (folder / name).write_bytes(gzip.compress(table.to_csv(sep="\t", index=False).encode()))
    sparse.save_npz(folder / source.features, sparse.csr_matrix(weights))
    (folder / source.vocabulary).write_text("\n".join(WORDS) + "\n")
    return folder


def plan_of_terms(inference: Inference, *, most: int | None = None, random: int = 2) -> LiteraturePlan:
    """Return the plan of the terms of 40 studies or more, cut to so many, and of random sets, of that database."""
    foci = literature.independent(literature.database("neurosynth")[0], inference)
    sets = literature.term_sets(foci, "neurosynth")
    if most is not None:
        sets = literature.at_most(sets, most, seed=1)
    sets = [*sets, *literature.random_sets(sets, random, foci=foci, seed=1)]
    return literature.prepare_literature(foci, sets, inference=inference)
