"""Each answer of the checklist stands in the methods text or in a file of the run; what lacks is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.commands import ale as command
from support.studies import write_tiny

import ale_dask as ale
from ale_dask.reporting.text.checklist import ANSWERED, LACKING, PARTLY, _guidelines


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run of two samples, their contrast and their conjunction."""
    folder = write_tiny(tmp_path_factory.mktemp("checklist") / "tiny")
    command("run", folder, "-o", folder / "out", "-q", "--no-pictures", "-b", "serial")
    return folder / "out"


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the run that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def test_every_item_can_be_answered_or_says_what_to_write():
    known = _guidelines()
    for key in known["guidelines"]:
        for item in known[key]:
            assert item["asks"]
            assert ("section" in item) == ("says" in item)
            assert {"section", "file", "otherwise"} & set(item)
            assert not item.get("partly") or "otherwise" in item


def test_answers_stand_where_they_are_said_to(out):
    items = ale.checklist(out)
    assert set(items["status"]) == {ANSWERED, PARTLY, LACKING}
    text = ale.cite(out).replace("\\", "")
    for item in items.itertuples():
        assert item.answer
        assert (item.status == LACKING) == (item.where == "")
        for where in filter(None, item.where.split(", ")):
            assert (out / where.split(":")[0]).is_file()
        if "logs/CITATION.md" in item.where:
            assert item.answer.split(" Lacking: ")[0] in text


def test_a_file_that_is_gone_no_longer_answers(out):
    def status():
        items = ale.checklist(out)
        return items.loc[items["question"] == "Unthresholded maps", "status"].item()

    assert status() == ANSWERED
    (out / "drug" / "drug_z.nii.gz").unlink()
    assert status() == PARTLY
    (out / "therapy" / "therapy_z.nii.gz").unlink()
    assert status() == LACKING


def test_the_command_prints_and_writes_it(out, tmp_path):
    items = ale.checklist(out)
    said = command("checklist", out).stdout
    assert said.startswith(f"{(items['status'] == ANSWERED).sum()} answered, ")
    assert json.loads(command("checklist", out, "--json").stdout) == items.to_dict("records")
    command("checklist", out, "-o", tmp_path / "checklist.md")
    assert said in (tmp_path / "checklist.md").read_text()
    command("checklist", out, "-o", tmp_path / "checklist.tsv")
    assert len((tmp_path / "checklist.tsv").read_text().splitlines()) == len(items) + 1
    command("checklist", out, "-o", tmp_path / "checklist.docx", code=2)
    command("checklist", tmp_path, code=74)


RECORDS = """
[records]
question = "Do drugs and therapy change the same regions?"
registration = "PROSPERO CRD42020000000"
databases = ["PubMed", "Embase"]
searched = "2025-01-31"
query = "(fMRI OR PET) AND depression"
criteria = "patients, before and after treatment"
coverage = "the whole brain in all experiments"
identified = 120
duplicates = 20
screened = 100
excluded = { "no coordinates" = 60 }
assessed = 40
not_eligible = { "regions of interest" = 20, "children" = 6 }
included = 14
extraction = "A. B. extracted and C. D. checked all coordinates"
risk_of_bias = "Newcastle-Ottawa scale, judged by two people"
availability = "https://osf.io/example"
"""


def with_columns(path):
    """Write a file of foci as a table with columns on coverage, extraction and data from authors."""
    ale.write_foci(ale.read_foci(path), table := path.with_suffix(".csv"))
    rows = pd.read_csv(table)
    first = rows["study"] == rows["study"].iloc[0]
    rows["Whole brain"], rows["Extracted by"] = np.where(first, "no", "yes"), np.where(first, "AB", "CD")
    rows["Data from authors"] = np.where(first, "personal communication", "paper")
    rows.to_csv(path, index=False)
    table.unlink()


def test_what_the_study_says_of_its_literature_is_in_methods_and_checklist(tmp_path):
    folder = write_tiny(tmp_path / "tiny")
    study = folder / "study.toml"
    with_columns(folder / "drug.txt")
    study.write_text(study.read_text() + RECORDS)
    command("run", folder, "-o", folder / "out", "-q", "--no-pictures", "-b", "serial")
    text = ale.cite(folder / "out")
    assert "120 records were identified; 20 duplicates were removed; 100 records were screened, of which 60" in text
    assert "26 were excluded (regions of interest, 20; children, 6); 14 studies were included." in text
    assert "PubMed and Embase were searched, last on 2025-01-31." in text
    lacking = ale.checklist(folder / "out").query("status == 'not answered'")["question"].tolist()
    assert "Search coverage: 7 of 14 experiments searched the whole brain, 1 a part of it, and of 6 it is not" in text
    assert "The coordinates of 8 of 14 experiments were extracted by AB (1) and CD (7)." in text
    assert "The data of 1 of 8 experiments came from their authors (" in text
    assert not {
        "Were data obtained from, or confirmed by, the authors of the studies?",
        "Is the research question specific?",
        "How was the literature searched, and where?",
        "Did all experiments search the whole brain?",
        "Flow of studies, and excluded studies with reasons",
        "Registration, protocol and amendments",
        "Risk of bias in the studies",
    } & set(lacking)


def test_numbers_of_the_flow_have_to_add_up(tmp_path):
    folder = write_tiny(tmp_path / "tiny")
    study = folder / "study.toml"
    whole = study.read_text() + RECORDS
    study.write_text(whole.replace("screened = 100", "screened = 99"))
    said = command("check", folder, code=65).stderr
    assert "records: identified 120 - duplicates 20 = 100, but screened is 99" in said
    study.write_text(whole.replace("screened = 100", "screned = 100"))
    assert "records.screned: unknown key; did you mean 'screened'?" in command("check", folder, code=65).stderr
