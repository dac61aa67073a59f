"""Table 1 has the counts, medians, ranges, shares and p of `describe`, as text."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.commands import ale as command

import ale_dask as ale
from ale_dask.coordinates.foci import Experiment, build


def sample(*rows):
    """Return the foci of experiments given as (n, number of foci, columns)."""
    return build(
        [
            Experiment(f"S{i} 2010", n, tuple((float(j), 0.0, 0.0) for j in range(k)), "MNI", f"f:{i}", columns)
            for i, (n, k, columns) in enumerate(rows)
        ]
    )


DRUG = sample(
    (10, 1, {"weeks": "5", "class": "SSRI"}),
    (20, 3, {"weeks": "", "class": "SSRI"}),
    (None, 2, {"weeks": "7", "class": "SNRI"}),
)
THERAPY = sample((30, 4, {"class": ""}), (40, 6, {"class": "CBT"}))


def test_rows_are_those_of_a_paper() -> None:
    found = ale.table_one({"drug": DRUG, "therapy": THERAPY}).set_index("")
    assert found.columns.tolist() == ["drug", "therapy", "p drug-vs-therapy"]
    assert found["drug"].tolist()[:4] == ["3", "3", "30", "6"]
    n = "Subjects per experiment, median (quartiles)"
    assert found.loc[n].tolist() == ["15 (12.5–17.5); 1 not known", "35 (32.5–37.5)", ".333"]
    assert found.loc["Subjects per experiment, range"].tolist() == ["10–20", "30–40", ""]
    assert found.loc["weeks, median (quartiles)"].tolist()[:2] == ["6 (5.5–6.5); 1 not known", "not known"]
    assert found.loc["class: SSRI"].tolist()[:2] == ["2 (67%)", "0 (0%)"]
    assert found.loc["class: not known"].tolist()[:2] == ["0 (0%)", "1 (50%)"]


def test_a_column_by_which_the_samples_are_picked_has_no_p() -> None:
    both = sample(*((10 + i, 1 + i, {"class": name, "note": "class"}) for i, name in enumerate("AABB")))
    picked = {name: ale.select(both, f"`class` == '{name}' and n > 1") for name in "AB"}
    found = ale.table_one(picked).set_index("")["p A-vs-B"]
    assert found["class: A"] == "picked by it, not tested"
    # Both conditions differ as a whole, so that every column in them counts as one that picks.
    assert found["Subjects per experiment, median (quartiles)"] == "picked by it, not tested"
    assert found["Foci per experiment, median (quartiles)"] == ".333"
    separate = {name: ale.select(both, "n > 1", f"`class` == '{name}'") for name in "AB"}
    found = ale.table_one(separate).set_index("")["p A-vs-B"]
    assert found["class: A"] == "picked by it, not tested"
    assert found["Subjects per experiment, median (quartiles)"] == ".333"
    assert set(ale.describe(separate)["statistic"]) >= {"picked by it, not tested", "p Mann-Whitney exact"}


def test_one_sample_has_one_column() -> None:
    assert ale.table_one(DRUG).columns.tolist() == ["", "All"]


@pytest.mark.parametrize("ending", ["tsv", "html"])
def test_the_command_begins_with_it_and_writes_it(tiny: Path, tmp_path: Path, ending: str) -> None:
    written = tmp_path / f"table.{ending}"
    done = command("describe", tiny, "--table-1", written)
    assert done.stdout.splitlines()[1].split()[0] == "Studies"
    text = written.read_text()
    for label in ("Studies", "Experiments", "Subjects", "Foci"):
        assert (f"<td>{label}</td>" if ending == "html" else f"\n{label}\t") in text


def test_another_ending_is_a_usage_error(tiny: Path, tmp_path: Path) -> None:
    command("describe", tiny, "--table-1", tmp_path / "table.docx", code=2)
