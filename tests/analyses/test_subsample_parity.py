"""JALE's probabilistic ALE and balanced differences of the same subsamples; scripts/subsamples prints them in full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


def test_subsamples_are_jales(load_script, monkeypatch: pytest.MonkeyPatch) -> None:
    # As Python does for a script that is started, whose folder comes first.
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "scripts")
    script = load_script("subsamples")
    # Neither what survives uncorrected nor the differences of ALE take the null's iterations.
    _, found, pairs = script.ours(iterations=1, subsamples=20)
    with np.load(script.GOLDEN) as archive:
        figures = script.figures(found, pairs, dict(archive))
    assert figures["difference of ALE, largest deviation"] < 1e-8
    assert figures["difference of ALE, largest value"] > 0.01
    # JALE's histograms have bins of 1e-4, so that the rim of what is below p < .001 differs in a few subsamples.
    assert figures["uncorrected, voxels whose share differs (%)"] < 7
    assert figures["uncorrected, largest difference (subsamples)"] <= 3
