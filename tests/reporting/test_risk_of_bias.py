"""The risk of bias of each study by domain, as a figure that says the same without colour."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.commands import ale as command

import ale_dask as ale
from ale_dask.errors import InputError

TABLE = """study,n,space,rob_selection,risk of bias: blinding,x,y,z
A 2010,20,MNI,low,high,1,2,3
A 2010,20,MNI,low,high,4,5,6
B 2011,20,MNI,some concerns,,1,2,3
C 2012,20,MNI,high,low,1,2,3
"""


def drawn(tmp_path: Path, text: str) -> list[str]:
    """Return the words of the figure of a table, and those shown where a pointer rests."""
    (tmp_path / "rob.csv").write_text(text)
    figure = ElementTree.fromstring(ale.risk_of_bias(ale.read_foci(tmp_path / "rob.csv")))
    return [element.text or "" for element in figure.iter()]


def test_each_study_and_domain_has_its_level(tmp_path: Path) -> None:
    words = drawn(tmp_path, TABLE)
    for cell in ("A 2010, selection: low", "B 2011, selection: some", "B 2011, blinding: no information"):
        assert cell in words
    assert [words.count(sign) for sign in "+?−"] == [2, 1, 2]
    assert "selection: low 1, some 1, high 1; blinding: low 1, high 1, no information 1" in words


def test_what_is_no_level_or_contradicts_itself_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'fine' in the column rob_selection is no level"):
        drawn(tmp_path, TABLE.replace("some concerns", "fine"))
    with pytest.raises(InputError, match="no column of risk of bias"):
        drawn(tmp_path, TABLE.replace("rob_selection", "a").replace("risk of bias: blinding", "b"))
    contrasts = TABLE.replace("study,n", "study,contrast,n").replace("A 2010,", "A 2010,one,", 1)
    contrasts = contrasts.replace("A 2010,20", "A 2010,two,20").replace("B 2011,", "B 2011,x,")
    contrasts = contrasts.replace("C 2012,", "C 2012,x,").replace("two,20,MNI,low", "two,20,MNI,high")
    with pytest.raises(InputError, match="A 2010: the column rob_selection says high and low"):
        drawn(tmp_path, contrasts)


def test_the_command_draws_it(tmp_path: Path) -> None:
    (tmp_path / "rob.csv").write_text(TABLE)
    command("describe", tmp_path / "rob.csv", "--risk-of-bias", tmp_path / "rob.svg")
    assert "Share of studies" in (tmp_path / "rob.svg").read_text()
    assert "ends in .svg" in command("describe", tmp_path / "rob.csv", "--risk-of-bias", "x.png", code=2).stderr
