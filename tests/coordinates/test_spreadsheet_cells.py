"""What a user's text may do in a spreadsheet or on a page: nothing."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ale_dask.coordinates.readers import read_foci
from ale_dask.coordinates.readers.writers import write_table
from ale_dask.coordinates.spreadsheet_cells import escaped, escaped_cell, plain_cell

FORMULAS = ['=HYPERLINK("http://x","y")', "+1+cmd|' /C calc'!A0", "-2+3+cmd", "@SUM(A1)", "\tx", "\r=1", "'=1", "''@x"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_would_be_computed_gets_one_apostrophe(text: str) -> None:
    assert escaped_cell(text) == f"'{text}"
    assert plain_cell(escaped_cell(text)) == text


@pytest.mark.parametrize(
    "value", ["-12.5", "+3", "-1e-05", "-", "-44, 12, 6", "-inf", "Smith 2001", "'t Hooft", "", -3.5]
)
def test_numbers_and_other_texts_stay(value: object) -> None:
    assert escaped_cell(value) == value


@given(st.text(alphabet="'=+-@\t\r1a ,", max_size=8))
def test_reading_takes_away_what_writing_added(text: str) -> None:
    assert plain_cell(escaped_cell(text)) == text


def test_names_of_columns_are_escaped_and_numbers_are_not() -> None:
    table = escaped(pd.DataFrame({"=a": ["@x", None], "n": [-1, 2], "z": [-1.5, float("nan")]}))
    assert table.to_csv(index=False) == "'=a,n,z\n'@x,-1,-1.5\n,2,\n"


def test_a_table_of_foci_keeps_its_names_when_it_is_read_again(tmp_path) -> None:
    (tmp_path / "foci.csv").write_text("study,n,x,y,z,task\n'=Ab 2001,12,-1,2,3,@home\n'+Cd,9,4,5,-6,'-x\n")
    foci = read_foci(tmp_path / "foci.csv", space="MNI")
    assert foci["experiment_study"].values.tolist() == ["=Ab 2001", "+Cd"]
    text = write_table(foci)
    assert "'=Ab 2001" in text
    assert "'@home" in text
    (tmp_path / "again.csv").write_text(text)
    again = read_foci(tmp_path / "again.csv", space="MNI")
    assert again["experiment_study"].values.tolist() == ["=Ab 2001", "+Cd"]
    assert (again["experiment_key"].values == foci["experiment_key"].values).all()
