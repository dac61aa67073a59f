"""Figures of sweeps and of leaving out: their numbers, the names beside them, and that no text is cut or runs out."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from ale_dask.analyses.findings.atlas import regions
from ale_dask.reporting.common import svg as svgs
from ale_dask.reporting.common.palette import HUES
from ale_dask.reporting.figures import canvas
from ale_dask.reporting.figures.matrix import shade
from ale_dask.reporting.sensitivity.leave_one_out import jackknife_svg
from ale_dask.reporting.sensitivity.stability import axis_svg
from ale_dask.reporting.sensitivity.sweep_clusters import Place, SweepPlaces, _svg

SVG = "{http://www.w3.org/2000/svg}"
LONG = "Featherstonehaugh & van der Berg 2015; amygdala, negative faces > neutral"
XYZ = np.array([[22.0, -6, -10], [-22, 0, -24], [12, 66, 18]])


def texts(svg: str) -> list[str]:
    return [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def assert_inside(svg: str) -> None:
    """No line of words that is not turned leaves the figure, in DejaVu Sans, which is wider than the usual fonts."""
    root = ElementTree.fromstring(svg)
    for text in root.iter(f"{SVG}text"):
        if text.get("x") is None:
            continue
        width = 72 * canvas.width_of(text.text, float(text.get("font-size")))
        left = float(text.get("x")) - width * {"end": 1.0, "middle": 0.5}.get(text.get("text-anchor"), 0.0)
        assert left >= 0, text.text
        # Bold letters are a tenth wider.
        assert left + width * (1.1 if text.get("font-weight") else 1.0) <= float(root.get("width")), text.text
        assert float(text.get("y")) <= float(root.get("height"))


def left_out(fraction: np.ndarray, labels: list[str], *, inputs: list[str], direction: str = "") -> xr.Dataset:
    n = len(fraction)
    return xr.Dataset(
        {
            "overlap_fraction": (("cluster", "set"), fraction),
            "left_out": ("set", labels),
            "cluster_direction": ("cluster", [direction] * n),
            "cluster_number": ("cluster", np.arange(n) + 1),
            "cluster_input": ("cluster", inputs),
            "cluster_xyz": (("cluster", "axis"), np.resize(XYZ, (n, 3))),
            "cluster_voxels": ("cluster", np.arange(n) + 10),
        },
        attrs={"name": "drug", "by": "group", "voxel_volume": 8.0, "simulated": 1},
    )


def test_leaving_out_names_sets_regions_and_groups() -> None:
    fraction = np.array([[0.9, 0.0, 1.0], [0.8, 0.5, 1.0], [1.0, 0.25, 0.75]])
    labels = [f"{LONG}, patients {i}" for i in range(3)]
    direction = "antidepressants_of_the_second_generation > psychotherapy_of_depression_of_all_kinds_and_more"
    overlap = left_out(fraction, labels, inputs=["cluster-fwe", "cluster-fwe", "uncorrected"], direction=direction)
    svg = jackknife_svg(overlap)
    assert svg == jackknife_svg(overlap)
    assert_inside(svg)
    said = texts(svg)
    whole = " ".join(said)
    assert "SIMULATED DATA" in said[0]
    assert "each group of subjects" in whole
    assert f"{direction} · clusters of the primary correction" in whole
    assert f"{direction} · uncorrected clusters" in whole
    # The set that takes most comes first, and what tells long names apart is not cut.
    ends = [text[-10:] for text in said if text.startswith("Feather")]
    assert ends == [f"patients {i}" for i in (1, 0, 1, 2)]
    assert [text for text in said if re.fullmatch(r"\d+|×", text)] == ["×", "50", "90", "80", "25", "75"]
    assert said.count("Without the other one each cluster stays whole.") == 2
    for number, xyz in enumerate(XYZ, 1):
        (name,) = (text for text in said if text.startswith(f"{number} "))
        assert regions(xyz)["AAL"] in name
        assert name.endswith(f"({', '.join(f'{v:.0f}' for v in xyz)})".replace("-", "−"))


def test_of_many_sets_those_that_matter_are_drawn_and_the_others_are_counted() -> None:
    fraction = np.linspace(0.2, 1, 15 * 100).reshape(15, 100)
    svg = jackknife_svg(left_out(fraction, [f"set {i}" for i in range(100)], inputs=["cluster-fwe"] * 15))
    assert_inside(svg)
    said = texts(svg)
    assert sum(text.startswith("set ") for text in said) == 30
    least = 100 * fraction[:12, 30:].min()
    assert f"Without any of the 70 others at least {least:.0f} % of each cluster stays." in said
    assert "3 smaller clusters are in the table." in said


def long_table(volumes: dict[str, dict[str, list[float]]]) -> pd.DataFrame:
    rows = [
        {
            "kind": "contrast" if " > " in name else "main-effect",
            "level": "uncorrected" if " > " in name else "cluster-size",
            "input": "cluster-fwe",
            "size_mm3": mm3,
            "survives": "yes",
            "against": "uniform",
            "out": f"{value} {cell}",
            "direction": name if " > " in name else None,
            "analysis": name,
            "simulated": "yes",
            "sweep.voxel_p": value,
        }
        for name, by_value in volumes.items()
        for value, cells in by_value.items()
        for cell, mm3 in enumerate(cells)
    ]
    return pd.DataFrame(rows).astype({"direction": "string", "against": "string"})


def test_an_axis_of_a_sweep_has_a_row_for_each_value_in_the_colours_of_the_study() -> None:
    volumes = {
        "drug": {"0.01": [100.0, 100.0, 100.0, 400.0], "0.001": [0.0, 200.0, 50.0, 75.0]},
        "therapy": {"0.01": [300.0, 10.0, 20.0, 30.0], "0.001": [800.0, 0.0, 0.0, 0.0]},
        "therapy > drug": {"0.01": [1.0, 2.0, 3.0, 4.0], "0.001": [5.0, 6.0, 7.0, 8.0]},
    }
    svg = axis_svg(long_table(volumes), "voxel_p", ["0.01", "0.001"])
    assert_inside(svg)
    dots = [dot.attrib for dot in ElementTree.fromstring(svg).iter(f"{SVG}circle")]
    orange, blue = HUES[0].flat, HUES[1].flat
    assert [dot["fill"] for dot in dots] == [orange] * 8 + [blue] * 16
    # Every dot is seen, also where volumes are equal.
    assert len({(dot["cx"], dot["cy"]) for dot in dots}) == len(dots)
    place = {tick.text: float(tick.get("x")) for tick in ElementTree.fromstring(svg).iter(f"{SVG}text")}
    per_mm3 = (place["800"] - place["0"]) / 800
    drawn = sorted(round((float(dot["cx"]) - place["0"]) / per_mm3) for dot in dots[:4])
    assert drawn == [100, 100, 100, 400]
    assert texts(svg).count("0.01") == 3


def test_long_names_leave_room_for_the_dots() -> None:
    values = [f"/a/long/path/to/a/mask/of/the/amygdala/and/hippocampus/{i}.nii.gz" for i in range(4)]
    svg = axis_svg(long_table({LONG.replace(" > ", " and ") * 2: {v: [1.0, 2.0] for v in values}}), "voxel_p", values)
    assert_inside(svg)
    dots = [float(dot.get("cx")) for dot in ElementTree.fromstring(svg).iter(f"{SVG}circle")]
    assert max(dots) - min(dots) > 150
    assert [text[-8:] for text in texts(svg) if text.startswith("/a/long")] == [f"{i}.nii.gz"[-8:] for i in range(4)]


def test_the_places_of_a_sweep_have_counts_and_shares() -> None:
    first = np.array([True, True, False, False])
    second = np.array([True, False, True, False])
    columns = [("voxel_p", "0.01", first), ("voxel_p", "0.001", ~first), ("seed", "1", second), ("seed", "2", ~second)]
    place = Place(np.arange(3), "c", XYZ[0], 100.0, "Frontal Inf Oper R, near Frontal Inf Tri R")
    share = np.array([[1.0, 0.5, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    svg = _svg(SweepPlaces("drug", "", "grid", [place, place], share, columns), simulated=True)
    assert_inside(svg)
    said = texts(svg)
    assert [text for text in said if re.fullmatch(r"\d/\d|×", text)] == [*("2/2", "×", "1/2", "1/2"), *["2/2"] * 4]
    boxes = {
        box.find(f"{SVG}title").text: box.get("fill")
        for box in ElementTree.fromstring(svg).iter(f"{SVG}rect")
        if len(box)
    }
    assert boxes["Frontal Inf Oper R, near Frontal Inf Tri R (22, −6, −10), seed 1: 100 %"] == shade(1)
    assert ["voxel_p 0.01" in said, "seed 2" in said] == [True, True]


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_words_are_estimated_wider_than_in_any_usual_font(words: str) -> None:
    real = 72 * canvas.width_of(words, 12)
    assert real - 0.5 <= svgs.width_of(words, 12) <= 1.6 * real + 1
    lines = svgs.lines_of(words, width=90, size=12)
    assert "".join(lines).replace(" ", "") == words.replace(" ", "")
    assert all(svgs.width_of(line, 12) <= 90 for line in lines)
    assert svgs.width_of(svgs.fitting(words, width=60, size=12), 12) <= 60


def test_shades_go_from_dark_to_light() -> None:
    light = [sum(bytes.fromhex(shade(share)[1:])) for share in np.linspace(0, 1, 20)]
    assert light == sorted(light)
    assert pytest.approx(light[0]) != light[-1]
