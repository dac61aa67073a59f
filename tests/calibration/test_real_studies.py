"""Random real studies without a common topic: what the uniform null finds in them, the base-rate null does not."""

import json
import sys

import pytest
from conftest import shared

SAMPLES = 6


@pytest.mark.slow
def test_random_studies_converge_against_the_uniform_null_alone(load_script, tmp_path, monkeypatch, capsys):
    table, out = shared("neurosynth_v7") / "v7_clean.csv.gz", tmp_path / "out.jsonl"
    script = load_script("calibrate_real")
    command = ["calibrate_real", str(table), "-o", str(out), "--samples", str(SAMPLES), "-i", "99"]
    monkeypatch.setattr(sys, "argv", command)
    script.main()
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    found = {null: sum(row[null][0] <= 0.05 for row in rows) for null in ("uniform", "base-rate")}
    # 88 % and 8 % of 128 samples: these many of 6 are beyond 99.8 % of chance.
    assert found["uniform"] >= 3
    assert found["base-rate"] <= 3
    assert found["base-rate"] < found["uniform"]
    before = out.read_text()
    script.main()
    assert out.read_text() == before
    assert capsys.readouterr().out.count(f"{SAMPLES} samples of 24 studies") == 2
