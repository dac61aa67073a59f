"""Columns of direction and modality are known in any spelling, told where they are pooled, and make samples."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.commands import ale as command

import ale_dask as ale
from ale_dask.config.study import load_study
from ale_dask.coordinates.direction import DIRECTION, MODALITY, column_of, counts_of, words_of
from ale_dask.coordinates.foci import Experiment, build
from ale_dask.datasets.base_rate.fit import base_rate_findings


def sample(**columns):
    """Return foci of an experiment for each value of some columns."""
    number = len(next(iter(columns.values())))
    rows = [{name: values[i] for name, values in columns.items()} for i in range(number)]
    return build(
        [Experiment(f"S{i} 2010", 20, ((i, 0.0, 0.0),), "MNI", f"f:{i}", row) for i, row in enumerate(rows)],
    )


def codes(foci):
    return [f.code for f in ale.lint(foci, mask=ale.load_mask("brain")) if f.code in CODES]


CODES = ("mixed-direction", "mixed-modality", "spelling")


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("direction", ["Increase", "GM loss", "-", "+"], ["increase", "GM loss", "decrease", "increase"]),
        ("Direction of effect", ["up", "reduced", ""], ["increase", "decrease", ""]),
        ("direction", ["deactivation", "Activation"], ["deactivation", "activation"]),
        ("direction", ["1", "0"], ["yes", "no"]),
    ],
)
def test_directions_are_known_in_their_spellings(column, values, words) -> None:
    assert words_of(sample(**{column: values}), DIRECTION) == words


def test_modalities_are_known_by_other_names_of_their_column_only_if_all_values_are() -> None:
    values = ["BOLD", "fMRI", "15O-PET", "spect", "Voxel-based morphometry"]
    for column in ("Imaging method", "technique", "Modality"):
        foci = sample(**{column: values})
        assert words_of(foci, MODALITY) == ["fMRI", "fMRI", "PET", "SPECT", "VBM"]
        assert counts_of(foci) == {MODALITY: {"PET": 1, "SPECT": 1, "VBM": 1, "fMRI": 2}}
    assert column_of(sample(method=["fMRI", "by hand"]), MODALITY) is None
    assert words_of(sample(modality=["fMRI", "optical"]), MODALITY) == ["fMRI", "optical"]


def test_lint_tells_what_is_pooled_and_what_is_written_in_two_ways() -> None:
    assert codes(sample(direction=["increase", "decrease"])) == ["mixed-direction"]
    assert codes(sample(direction=["activation", "increase"])) == []
    assert codes(sample(modality=["fMRI", "PET"])) == []
    assert codes(sample(modality=["fMRI", "VBM"])) == ["mixed-modality"]
    assert codes(sample(modality=["fMRI", "bold"])) == ["spelling"]
    assert codes(sample(group=["a", "b"])) == []


def test_structure_and_deactivations_do_not_fit_the_base_rate_of_the_literature() -> None:
    found = [f.message for f in base_rate_findings(sample(modality=["VBM", "VBM"], direction=["deactivation", ""]))]
    assert any("2 of 2 experiments seem to be of brain structure" in message for message in found)
    assert any("1 of 2 experiments seem to be of deactivations" in message for message in found)


def _sheet(path: Path) -> Path:
    rows = [
        f"S{i},{12 + i},MNI,{'VBM' if i % 4 < 2 else 'fMRI'},{'increase' if i % 2 else 'decrease'},{i},{2 * i},3"
        for i in range(8)
    ]
    path.write_text("\n".join(["study,n,space,modality,direction,x,y,z", *rows]) + "\n")
    return path


def test_a_study_by_direction_has_each_and_all_together_and_no_contrast_of_the_same_subjects(tmp_path: Path) -> None:
    sheet = _sheet(tmp_path / "sheet.csv")
    new = ale.new_study(sheet, by="direction")
    assert any("not contrasted" in note for note in new.notes)
    new.write(tmp_path / "study")
    study = load_study(tmp_path / "study" / "study.toml")
    assert {name: a.kind for name, a in study.analysis.items()} == dict.fromkeys(
        ("decrease", "increase", "all"), "main-effect"
    )
    assert study.analysis["all"].foci == ["decrease", "increase"]
    # The joint analysis says by its samples what it pools; one sample of both directions does not.
    assert "mixed-direction" not in command("check", tmp_path / "study").stdout
    assert "mixed-direction" in command("check", sheet).stdout


def test_a_study_by_modality_has_each_their_contrast_and_all_together(tmp_path: Path) -> None:
    ale.new_study(_sheet(tmp_path / "sheet.csv"), by="modality").write(tmp_path / "study")
    study = load_study(tmp_path / "study" / "study.toml")
    assert list(study.analysis) == ["vbm", "fmri", "vbm-vs-fmri", "vbm-and-fmri", "all"]


def test_table_one_and_results_count_directions_and_modalities(tmp_path: Path) -> None:
    foci = ale.read_foci(_sheet(tmp_path / "sheet.csv"))
    assert ale.table_one(foci).set_index("").loc["direction: decrease"].tolist() == ["4 (50%)"]
    result = ale.main_effect(foci, name="all", iterations=2, null="uniform")
    assert result.attrs["direction"] == ["4 decrease", "4 increase"]
    assert result.attrs["modality"] == ["4 VBM", "4 fMRI"]
