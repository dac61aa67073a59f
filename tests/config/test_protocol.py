"""A protocol holds the plan of a study, and a run says every deviation from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.commands import ale as command

import ale_dask as ale
from ale_dask.config.protocol import Protocol, deviations, plan_of, read_protocol
from ale_dask.config.study import Study, load_study
from ale_dask.errors import InputError

DATE = "2026-11-30"


def changed(study: Study, **settings: object) -> Study:
    """Return the study with other settings of the inference."""
    return study.model_copy(update={"inference": study.inference.model_copy(update=settings)})


@pytest.fixture
def written(tiny: Path) -> Path:
    """Return a protocol of the tiny study in its folder."""
    path = tiny / "protocol.md"
    path.write_text(ale.protocol(load_study(tiny / "study.toml"), date=DATE))
    return path


def test_a_study_does_not_deviate_from_its_own_protocol(tiny: Path, written: Path) -> None:
    study = load_study(tiny / "study.toml")
    assert deviations(study, read_protocol(written)) == []
    text = written.read_text()
    assert f"Written on {DATE}" in text
    assert str(tiny) not in text, "the plan names no folder of the author"


def test_every_kind_of_deviation_is_said(tiny: Path, written: Path) -> None:
    study = changed(load_study(tiny / "study.toml"), voxel_p=0.002)
    foci = {"drug": study.foci["drug"].model_copy(update={"n": 12}), "other": study.foci["therapy"]}
    analysis = {name: a for name, a in study.analysis.items() if name != "drug-vs-therapy"}
    found = {
        d.key: d.words()
        for d in deviations(study.model_copy(update={"foci": foci, "analysis": analysis}), read_protocol(written))
    }
    assert set(found) == {"inference.voxel_p", "foci.drug", "foci.other", "foci.therapy", "analysis.drug-vs-therapy"}
    assert found["inference.voxel_p"].endswith("and is 0.002")
    assert found["foci.drug"] == 'foci.drug was planned as {}, and is {"n": 12}'
    assert found["foci.other"] == "foci.other was not planned ({})"
    assert found["analysis.drug-vs-therapy"].endswith("and is left out")


def test_a_plan_that_was_changed_later_is_refused(written: Path) -> None:
    text = written.read_text()
    assert "iterations" in text
    written.write_text(text.replace("iterations = ", "iterations = 1"))
    with pytest.raises(InputError, match="its plan was changed after the protocol had been written"):
        read_protocol(written)
    written.write_text(text.partition("sha256")[0])
    with pytest.raises(InputError, match="holds no plan of a study"):
        read_protocol(written)


def test_a_setting_that_an_earlier_protocol_did_not_know_has_the_value_of_that_time(tiny: Path) -> None:
    study = load_study(tiny / "study.toml")
    plan = plan_of(study)
    assert plan["inference"].pop("connectivity") == 6
    assert deviations(study, Protocol("p.md", "0", plan)) == []
    assert [d.key for d in deviations(changed(study, connectivity=18), Protocol("p.md", "0", plan))] == [
        "inference.connectivity"
    ]


def test_a_run_carries_its_protocol_and_says_how_it_deviates(tiny: Path) -> None:
    command("protocol", tiny, "-o", tiny / "plan.md")
    other = tiny / "plan.md"
    other.write_text(other.read_text().replace("Written on", "written on"))
    assert "a protocol is not written over" in command("protocol", tiny, "-o", other, code=65).stderr
    study = tiny / "study.toml"
    study.write_text(study.read_text() + '\n[records]\nprotocol = "plan.md"\n')
    assert "protocol: 0 deviations" in command("check", tiny).stdout
    study.write_text(study.read_text().replace("[inference]\n", "[inference]\nmin_volume = 300\n"))
    assert "plan.md: inference.min_volume was planned as" in command("check", tiny).stdout
    out = tiny / "out"
    command("run", tiny, "-o", out, "-q", "--no-pictures", "-b", "serial")
    record = json.loads((out / "run.json").read_text())
    assert record["protocol"]["file"] == "plan.md"
    assert len(record["protocol"]["deviations"]) == 1
    (tiny / "plan.md").unlink()
    text = command("cite", out).stdout
    assert "frozen in a protocol before the data were seen" in text
    assert "deviates from the protocol in 1 of these: inference.min_volume was planned as" in text
    command("collect", out, "-q", "--no-pictures")
    assert json.loads((out / "run.json").read_text())["protocol"]["deviations"] == record["protocol"]["deviations"]
    answers = ale.checklist(out)
    registered = answers[answers["question"] == "Was the analysis planned and registered beforehand?"]
    assert registered["status"].tolist() == ["answered"]
