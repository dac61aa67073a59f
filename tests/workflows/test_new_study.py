"""`ale-dask new` makes a study of a sheet that reads, and says what it decided."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.commands import ale as command

import ale_dask as ale
from ale_dask.analyses.sample import FEWEST
from ale_dask.config.study import load_study
from ale_dask.workflows.new_study import MOST_PAIRED, MOST_SAMPLES
from ale_dask.workflows.prepare import read_sources


def sheet(path: Path, *, treatments: list[str], **columns: list[str]) -> Path:
    """Write a workbook with an experiment of three foci for each treatment."""
    rng = np.random.default_rng(1)
    rows = [
        {"Study": f"Author{i} {2000 + i}", "Sample size": 12 + i, "Treatment": treatment, "Space": "MNI"}
        | {name: values[i] for name, values in columns.items()}
        | dict(zip("XYZ", rng.integers(-20, 20, 3).tolist(), strict=True))
        for i, treatment in enumerate(treatments)
        for _ in range(3)
    ]
    pd.DataFrame(rows).to_excel(path, index=False)
    return path


def test_the_only_column_of_groups_makes_the_samples_and_the_study_reads_them(tmp_path: Path) -> None:
    path = sheet(tmp_path / "my sheet.xlsx", treatments=["Drug", "CBT (group)"] * 3)
    new = ale.new_study(path)
    assert dict(new.samples) == {"cbt-group": 3, "drug": 3}
    assert any("Treatment (Drug 3, CBT (group) 3)" in note for note in new.notes)
    new.write(tmp_path / "study")
    study = load_study(tmp_path / "study" / "study.toml")
    kinds = {name: analysis.kind for name, analysis in study.analysis.items()}
    mains = {"cbt-group": "main-effect", "drug": "main-effect"}
    assert kinds == mains | {"cbt-group-vs-drug": "contrast", "cbt-group-and-drug": "conjunction"}
    foci = read_sources(study, need_n=True)
    assert {name: sorted(f["experiment_n_subjects"].values.tolist()) for name, f in foci.items()} == {
        "drug": [12, 14, 16],
        "cbt-group": [13, 15, 17],
    }


def test_of_several_columns_none_is_chosen_unless_it_is_named(tmp_path: Path) -> None:
    path = sheet(tmp_path / "sheet.xlsx", treatments=["a", "b"] * 2, Modality=["PET", "PET", "fMRI", "fMRI"])
    new = ale.new_study(path)
    assert dict(new.samples) == {"sheet": 4}
    (note,) = new.notes
    assert "one sample" in note
    assert all(name in note for name in ("Treatment", "Modality", "--by"))
    assert dict(ale.new_study(path, by="Modality").samples) == {"fmri": 2, "pet": 2}


def test_values_and_experiments_in_no_sample_are_named(tmp_path: Path) -> None:
    path = sheet(tmp_path / "sheet.xlsx", treatments=["a", "a", "b", "b", "c", ""])
    new = ale.new_study(path, by="Treatment")
    assert dict(new.samples) == {"a": FEWEST, "b": FEWEST}
    assert any("1 experiment(s) without a value of 'Treatment'" in note for note in new.notes)
    assert any("'c': 1 experiment" in note for note in new.notes)


def test_more_than_three_samples_have_main_effects_alone(tmp_path: Path) -> None:
    path = sheet(tmp_path / "sheet.xlsx", treatments=list("abcd") * 2)
    ale.new_study(path, by="Treatment").write(tmp_path / "study")
    study = load_study(tmp_path / "study" / "study.toml")
    assert len(study.analysis) == 4 > MOST_PAIRED
    assert all(analysis.kind == "main-effect" for analysis in study.analysis.values())


def test_what_a_file_lacks_is_written_into_the_study(tmp_path: Path) -> None:
    path = tmp_path / "foci.csv"
    path.write_text("paper;X-Koord;y;z\n" + "".join(f"A{i};{i};2;3\n" for i in range(4)))
    new = ale.new_study(path, n=20, space="Talairach", columns={"x": "X-Koord"})
    new.write(tmp_path / "study")
    source = load_study(tmp_path / "study" / "study.toml").foci["foci"]
    assert (source.n, source.space, source.columns) == (20, "Talairach", {"x": "X-Koord"})
    assert any("no sample size" in note for note in ale.new_study(path, space="MNI", columns={"x": "X-Koord"}).notes)


@pytest.mark.parametrize(
    ("treatments", "by", "message"),
    [
        (["a", "b"] * 2, "Treatmnt", "did you mean 'Treatment'"),
        (["a", "b", "c"], "Treatment", "no value has 2 experiments"),
        ([f"t{i}" for i in range(MOST_SAMPLES + 1)], "Treatment", f"{MOST_SAMPLES} at most"),
    ],
)
def test_a_column_that_cannot_make_samples_is_an_error(
    tmp_path: Path, treatments: list[str], by: str, message: str
) -> None:
    path = sheet(tmp_path / "sheet.xlsx", treatments=treatments)
    with pytest.raises(ale.InputError, match=message):
        ale.new_study(path, by=by)


def test_the_command_prints_decisions_samples_and_the_next_commands(tmp_path: Path) -> None:
    path = sheet(tmp_path / "sheet.xlsx", treatments=["Drug", "Sham"] * 2)
    done = command("new", path, "-o", tmp_path / "study")
    for words in ("Sample size as n", "sample drug: 2 experiments", "ale-dask check", "ale-dask plan", "ale-dask run"):
        assert words in done.stdout
    command("check", tmp_path / "study")
    (tmp_path / "study" / "study.toml").write_text("title = 'mine'\n")
    refused = command("new", path, "-o", tmp_path / "study", code=65)
    assert "is there already" in refused.stderr
    assert (tmp_path / "study" / "study.toml").read_text() == "title = 'mine'\n"
