"""Random real studies without a common topic: what the uniform null finds in them, those of the base rate do not."""

import json
import sys

from support.real_data import shared

SAMPLES = 6


def test_random_studies_converge_against_the_uniform_null_alone(load_script, tmp_path, monkeypatch, capsys):
    table, out = shared("neurosynth_v7") / "v7_clean.csv.gz", tmp_path / "out.jsonl"
    script = load_script("calibrate_real")
    command = ["calibrate_real", str(table), "-o", str(out), "--samples", str(SAMPLES), "-i", "99"]
    monkeypatch.setattr(sys, "argv", [*command, "--nulls", "uniform,base-rate,studies"])
    script.main()
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    found = {null: sum(row[null][0] <= 0.05 for row in rows) for null in script.NULLS}
    # 88 % and 8 % of 128 samples: these many of 6 are beyond 99.8 % of chance.
    assert found["uniform"] >= 3
    assert found["base-rate"] <= 3
    assert found["studies"] <= 3
    assert max(found["base-rate"], found["studies"]) < found["uniform"]
    before = out.read_text()
    script.main()
    assert out.read_text() == before
    assert capsys.readouterr().out.count(f"{SAMPLES} samples of 24 studies") == 2


def test_a_place_that_few_report_is_found_against_the_base_rate(load_script, tmp_path, monkeypatch, capsys):
    table, out = shared("neurosynth_v7") / "v7_clean.csv.gz", tmp_path / "out.jsonl"
    script = load_script("calibrate_real")
    monkeypatch.setattr(script, "POINTS", [("inferior temporal", 12)])
    command = ["calibrate_real", str(table), "-o", str(out), "--planted", "--samples", "2", "-i", "99"]
    monkeypatch.setattr(sys, "argv", command)
    script.main()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("inferior temporal")]
    density, number, *found = line.replace("inferior temporal", "").replace(" of ", "/").split()
    assert float(density) < 0.5
    assert number == "12"
    assert found == ["2/2", "2/2"]


def test_a_pair_of_samples_shares_no_study(load_script, tmp_path, monkeypatch, capsys):
    script = load_script("calibrate_real")
    compared = []
    monkeypatch.setattr(script, "contrasted", lambda foci, options, seed: compared.append(foci) or NOTHING)
    table, out = shared("neurosynth_v7") / "v7_clean.csv.gz", tmp_path / "out.jsonl"
    command = ["calibrate_real", str(table), "-o", str(out), "--pairs", "-i", "1000", "--samples", "2"]
    monkeypatch.setattr(sys, "argv", command)
    script.main()
    assert [len(set(foci["experiment_name"].values)) for foci in compared] == [48, 48]
    assert "2 pairs of samples of 24 studies, 1000 iterations" in capsys.readouterr().out


NOTHING = {"A > B": [False] * 3, "B > A": [False] * 3}
