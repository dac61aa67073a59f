"""Two extractions of the same papers: agreement, kappa, and every difference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commands import ale as command

import ale_dask as ale
from ale_dask.coordinates.double_extraction import cohens_kappa

FIRST = """study,n,space,modality,x,y,z
Smith 2010,20,MNI,fMRI,10,20,30
Smith 2010,20,MNI,fMRI,-10,21,30
Jones 2011,15,TAL,PET,4,5,6
Doe 2012,30,MNI,fMRI,1,2,3
Roe 2013,30,MNI,fMRI,1,2,3
"""
SECOND = """study,n,space,modality,x,y,z
smith-2010,21,MNI,fMRI,-10,20,30
smith-2010,21,MNI,fMRI,-10,21,30.4
Jones 2011,15,MNI,fMRI,4,5,6
Doe 2012,30,MNI,PET,1,2,3
Doe 2012,30,MNI,PET,11,2,3
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Return the files of two extractions."""
    paths = tmp_path / "first.csv", tmp_path / "second.csv"
    for path, text in zip(paths, (FIRST, SECOND), strict=True):
        path.write_text(text)
    return paths


def test_each_difference_is_found_with_both_of_its_lines(files: tuple[Path, Path]) -> None:
    compared = ale.double_extraction(*map(ale.read_foci, files))
    rows = [tuple(row) for row in compared.differences.values.tolist()]
    assert rows == [
        ("Roe 2013", "experiment", "extracted", "", "first.csv:6", ""),
        ("Smith 2010", "sample size", "20", "21", "first.csv:2", "second.csv:2"),
        ("Smith 2010", "focus, left and right", "10 20 30", "-10 20 30", "first.csv:2", "second.csv:2"),
        ("Jones 2011", "space", "Talairach", "MNI", "first.csv:4", "second.csv:4"),
        ("Jones 2011", "modality", "PET", "fMRI", "first.csv:4", "second.csv:4"),
        ("Doe 2012", "modality", "fMRI", "PET", "first.csv:5", "second.csv:5"),
        ("Doe 2012", "focus", "", "11 2 3", "first.csv:5", "second.csv:5"),
    ]
    counts = {row[0]: tuple(row[1:3]) for row in compared.agreement.values.tolist()}
    # Foci of the three experiments of both: 3 are the same, 1 is mirrored on each side, 1 is only in the second.
    assert counts == {"experiments": (3, 4), "sample size": (2, 3), "space": (2, 3), "modality": (1, 3), "foci": (3, 6)}


def test_names_that_differ_in_punctuation_alone_are_not_taken_for_one_another(tmp_path: Path) -> None:
    rows = "study,n,space,x,y,z\n{},20,MNI,1,2,3\n{},30,MNI,4,5,6\n"
    (tmp_path / "first.csv").write_text(rows.format("Smith 2010 a", "Smith 2010-a"))
    (tmp_path / "second.csv").write_text(rows.format("Smith 2010 a", "Smith 2010-a"))
    first, second = (ale.read_foci(tmp_path / name) for name in ("first.csv", "second.csv"))
    assert ale.double_extraction(first, second).differences.empty
    assert ale.double_extraction(first, second).agreement["agree"].tolist()[:2] == [2, 2]


def test_kappa_is_that_of_a_known_table() -> None:
    # Cohen 1960's formula by hand: 20 + 15 of 50 agree; 25 and 30 of 50 say yes: (.7 - .5) / .5 = .4.
    a = ["yes"] * 25 + ["no"] * 25
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohens_kappa(a, b) == pytest.approx(0.4)
    assert np.isnan(cohens_kappa(["yes"], ["yes"]))
    assert np.isnan(cohens_kappa([], []))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30))
def test_kappa_has_no_direction_and_is_at_most_one(pairs: list[tuple[str, str]]) -> None:
    a, b = zip(*pairs, strict=True)
    kappa = cohens_kappa(a, b)
    np.testing.assert_allclose(kappa, cohens_kappa(b, a))
    assert np.isnan(kappa) or kappa <= 1
    assert np.isnan(kappa) or (kappa == 1) == (a == b)


def test_the_command_writes_the_differences(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "differences.tsv"
    said = command("double-extraction", *files, "-o", out).stdout
    assert "modality: 1 of 3 agree (33 %), kappa -0.50" in said
    assert f"{out}: 7 differences" in said
    assert len(out.read_text().splitlines()) == 8
    told = json.loads(command("double-extraction", *files, "--json").stdout)
    assert {row["what"] for row in told["differences"]} >= {"focus", "space"}
    assert "ends in .tsv" in command("double-extraction", *files, "-o", tmp_path / "x.csv", code=2).stderr


def test_experiments_that_searched_a_part_of_the_brain_are_named(tmp_path: Path) -> None:
    path = tmp_path / "coverage.csv"
    path.write_text(
        "study,n,space,coverage,x,y,z\n"
        + "".join(f"S{i},20,MNI,{'whole brain' if i else 'amygdala ROI'},{i},0,0\n" for i in range(20))
    )
    foci = ale.read_foci(path)
    (found,) = [f for f in ale.lint(foci, mask=ale.load_mask("brain")) if f.code == "coverage"]
    assert "1 of 20 experiments did not search the whole brain: S0 (amygdala ROI)" in found.message
    assert found.where == "coverage.csv:2"
    kept = ale.select(foci, "coverage == 'whole brain'")
    assert [f for f in ale.lint(kept, mask=ale.load_mask("brain")) if f.code == "coverage"] == []
