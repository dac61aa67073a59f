"""Results of a small study, made once per module."""

from __future__ import annotations

import pytest
from support.samples import LEFT, MASK, RIGHT, sample

from ale_dask.analyses.api_contrasts import contrast
from ale_dask.analyses.api_main_effect import conjunction, main_effect
from ale_dask.analyses.findings.model import with_origin


@pytest.fixture(scope="module")
def study():
    settings = {"mask": MASK, "iterations": 200, "seed": 1}
    drug = main_effect(sample("drug", [LEFT]), name="drug", **settings)
    therapy = main_effect(sample("therapy", [RIGHT]), name="therapy", **settings)
    both = main_effect(sample("affect", [LEFT, RIGHT]), name="affect", **settings)
    return {
        "drug": drug,
        "therapy": therapy,
        "affect": both,
        "contrast": contrast(drug, therapy, name="contrast"),
        "nowhere": conjunction([drug, therapy], name="nowhere"),
        "overlap": conjunction([both, drug], name="overlap"),
    }


@pytest.fixture(scope="module")
def marked(study):
    """Return the same results, marked as of simulated data."""
    return with_origin(study, simulated=True)
