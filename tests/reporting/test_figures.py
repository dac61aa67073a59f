"""Figures of a study: their numbers against brute force, the words and marks of an SVG, the colours of a picture."""

from __future__ import annotations

import itertools
import re
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.samples import MASK, sample

from ale_dask.analyses.api_main_effect import conjunction, main_effect
from ale_dask.analyses.findings.clusters import find_clusters
from ale_dask.reporting import write_figures
from ale_dask.reporting.common.palette import HUES, OVERLAP, hues_of
from ale_dask.reporting.common.ticks import tick_words, ticks
from ale_dask.reporting.figures.canvas import DPI, black, nearest, shades
from ale_dask.reporting.figures.contribution_bars import NAMED, bars_svg
from ale_dask.reporting.figures.foci_glass import MANY, foci_svg
from ale_dask.reporting.figures.glass import SIDES, outlines, projected, projection
from ale_dask.reporting.figures.overlap import OVERLAP_COLUMNS, overlap_svg, overlap_table
from ale_dask.reporting.figures.overlays import overlaid
from ale_dask.reporting.figures.plots import plots_of
from ale_dask.reporting.figures.slices import COLUMNS, ROWS, ColourScale, brain, slice_places
from ale_dask.reporting.figures.study_context import Part, study_contexts
from ale_dask.reporting.tables.contributions import CONTRIBUTING, contribution_table

Study = dict[str, xr.Dataset]
SVG = "{http://www.w3.org/2000/svg}"


def words(svg: str) -> str:
    return " ".join("".join(ElementTree.fromstring(svg).itertext()).split())


def colours(path: Path) -> dict[tuple[int, ...], int]:
    image = pytest.importorskip("PIL.Image").open(BytesIO(path.read_bytes())).convert("RGB")
    return {colour: count for count, colour in image.getcolors(10**6)}


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def part(xyz: np.ndarray, experiment: np.ndarray, hue: int = 0, voxels: list[int] | None = None) -> Part:
    return Part(HUES[hue], xyz, experiment, int(experiment.max(initial=-1)) + 1, np.array(voxels or [], dtype=np.int64))


def survivors(study: Study) -> dict[str, np.ndarray]:
    signed = study["contrast"]["z_contrast"].sel(input="cluster-fwe").values
    return {
        **{name: study[name]["z_size_fwe"].values for name in ("drug", "therapy", "affect")},
        "drug > therapy": np.maximum(signed, 0),
        "therapy > drug": np.maximum(-signed, 0),
        **{name: study[name]["z_min"].sel(input="cluster-fwe").values for name in ("nowhere", "overlap")},
    }


def test_the_overlap_table_is_what_counting_voxels_gives(study: Study) -> None:
    table, maps = overlap_table(study), survivors(study)
    assert list(table.columns) == list(OVERLAP_COLUMNS)
    assert list(zip(table["map_1"], table["map_2"], strict=True)) == list(itertools.combinations(maps, 2))
    assert (table["voxels_both"] > 0).sum() >= 4
    for row in table.to_dict("records"):
        one, other = (set(np.flatnonzero(maps[row[f"map_{side}"]]).tolist()) for side in "12")
        assert (row["voxels_1"], row["voxels_2"], row["voxels_both"]) == (len(one), len(other), len(one & other))
        assert (row["mm3_1"], row["mm3_2"], row["mm3_both"]) == (64 * len(one), 64 * len(other), 64 * len(one & other))
        if one and other:
            assert row["dice"] == pytest.approx(2 * len(one & other) / (len(one) + len(other)))
            found = [[row[f"{axis}_{side}"] for axis in "xyz"] for side in "12"]
            assert row["nearest_mm"] == pytest.approx(np.linalg.norm(np.subtract(*found)))
            # Each of them is a voxel of its map.
            at = MASK.voxel_at(np.array(found)).tolist()
            assert at[0] in one
            assert at[1] in other
        else:
            assert np.isnan(row["nearest_mm"])
    inside = table[(table["map_1"] == "drug") & (table["map_2"] == "drug > therapy")].iloc[0]
    assert inside["voxels_both"] == inside["voxels_2"] > 0


def test_the_nearest_peaks_are_those_of_all_pairs(study: Study) -> None:
    table = overlap_table({name: study[name] for name in ("affect", "therapy")})
    peaks = []
    for name in ("affect", "therapy"):
        result = study[name]
        peaks.append(
            [c.peak_mm for c in find_clusters(result["z_size_fwe"].values, mask=MASK, rank=result["s"].values)]
        )
    assert len(peaks[0]) > 1
    assert table["nearest_mm"].item() == min(np.linalg.norm(a - b) for a, b in itertools.product(*peaks))


def test_the_overlap_figure_holds_the_numbers_of_the_table(study: Study, marked: Study) -> None:
    svg = overlap_svg(marked)
    assert svg == overlap_svg(marked)
    said = words(svg)
    assert "SIMULATED" in said
    for row in overlap_table(study).to_dict("records"):
        assert f"{row['mm3_both']:,.0f}" in said
        assert f"{row['mm3_1']:,.0f}" in said
        assert np.isnan(row["dice"]) or f"{row['dice']:.2f}" in said
    swatches = [box.get("fill") for box in ElementTree.fromstring(svg).iter(f"{SVG}rect") if box.get("width") == "12"]
    orange, blue, green = (hue.flat for hue in HUES[:3])
    assert swatches == [orange, blue, green, orange, blue, OVERLAP.flat, OVERLAP.flat]
    assert overlap_svg({"drug": study["drug"]}) == ""
    assert overlap_svg({f"drug {i}": study["drug"] for i in range(51)}) == ""
    assert overlap_table({"drug": study["drug"]}).empty


def test_pooled_main_effects_are_coloured_last_and_overlap_with_nothing(study: Study) -> None:
    pooled = study["affect"].assign_attrs(name="contrast_pooled")
    more = {"contrast_pooled": pooled, **study}
    assert list(hues_of(more).values()) == list(HUES[:4])
    assert hues_of(more)["contrast_pooled"] == HUES[3]
    pd.testing.assert_frame_equal(overlap_table(more), overlap_table(study))
    contexts = study_contexts(study)
    for name, context in contexts.items():
        for arm, each in context.parts.items():
            assert each.hue == hues_of(study)[arm], name
    assert list(contexts["contrast"].parts) == ["drug", "therapy"]
    assert not study_contexts({"contrast": study["contrast"]})["contrast"].parts


def dots(svg: str) -> list[tuple[str, set[tuple[float, float]]]]:
    """The colour and the points of each layer of foci, in their order."""
    found = []
    for path in ElementTree.fromstring(svg).iter(f"{SVG}path"):
        if path.get("stroke-linecap") == "round":
            points = re.findall(r"M(\S+) (\S+?)h0", path.get("d"))
            found.append((path.get("stroke"), {(float(u), float(v)) for u, v in points}))
    return found


def test_every_focus_is_on_the_glass_brain_in_its_colour(study: Study) -> None:
    parts = study_contexts(study)["contrast"].parts
    svg = foci_svg(parts, title="t", alt="s")
    assert svg == foci_svg(parts, title="t", alt="s")
    layers = dots(svg)
    for each in parts.values():
        drawn = set().union(*(points for colour, points in layers if colour == each.hue.flat))
        for side in SIDES:
            _, at = projected(each.xyz, side)
            assert set(map(tuple, (at.round(1) + 0.0).tolist())) <= drawn
    assert "drug: 54 foci of 18 experiments" in words(svg)
    assert "therapy: 54 foci of 18 experiments" in words(svg)


@settings(max_examples=5, deadline=None)
@given(n=st.integers(MANY + 1, 30_000), seed=st.integers(0, 9))
def test_the_figure_of_any_number_of_foci_stays_below_300_kb(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one = part(rng.normal([0, -18, 10], 30, size=(n, 3)), rng.integers(n // 18, size=n))
    svg = foci_svg({"all": one}, title="t", alt="s")
    assert 60_000 < len(svg.encode()) < 300_000
    assert f"{n:,} foci" in svg


def test_a_place_is_drawn_once_per_experiment_that_has_a_focus_there() -> None:
    here = np.array([[9.0, 0, 0]] * 3 + [[30.0, 0, 0]])
    layers = dots(foci_svg({"a": part(here, np.array([0, 0, 1, 1]))}, title="t", alt="s"))
    assert sum((9.0, 0.0) in points for _, points in layers) == 2 * 2
    # Of very many foci a place is drawn once, as dark as two layers over each other.
    crowd = np.concatenate([here, np.full((MANY, 3), [500.0, 0, 0])])
    of = np.concatenate([[0, 0, 1, 1], np.full(MANY, 2)])
    svg = foci_svg({"a": part(crowd, of)}, title="t", alt="s")
    assert [points for _, points in dots(svg) if (9.0, 0.0) in points] == [{(9.0, 0.0)}] * 2
    once, twice = (float(o) for o in re.findall(r'stroke-opacity="(\S+)" stroke-width="\S+" stroke-linecap', svg)[-2:])
    assert twice == pytest.approx(1 - (1 - once) ** 2, abs=0.01)


def test_the_projection_keeps_what_is_farthest_from_zero() -> None:
    values = np.zeros(MASK.n_voxels)
    at = MASK.voxel_at(np.array([[2.0, 2, 2], [2.0, 2, 10], [2.0, 2, 18], [-6.0, 2, 10]]))
    values[at] = [1, -3, 2, 5]
    image, (left, right, bottom, top) = projection(values, "z", mask=MASK)
    assert np.nanmin(image) == -3
    assert image.shape == (1, 3)
    assert (left, right, bottom, top) == (-8, 4, 0, 4)
    assert np.nanmax(projection(values, "r", mask=MASK)[0]) == 2
    assert set(outlines()) == set(SIDES)


def test_bars_name_the_largest_take_the_rest_together_and_mark_who_holds_over_half() -> None:
    (one,) = find_clusters(np.r_[1.0, np.zeros(MASK.n_voxels - 1)], mask=MASK)
    shares = [60.0, *np.full(215, 40 / 215)]
    rows = [("1", "all", f"Smith & co {i}", 12, share, 99.0, 1, "") for i, share in enumerate(shares)]
    table = pd.DataFrame(rows, columns=list(CONTRIBUTING))
    few = part(np.zeros((1, 3)), np.zeros(1, dtype=int))
    svg = bars_svg([one], table, {"all": few}, mask=MASK, title="t", alt="s")
    said = words(svg)
    assert "▲ 1 Smith & co 0 60.0 %: more than half" in said
    assert all(f"{i + 1} Smith & co {i} 0.2 %" in said for i in range(1, NAMED))
    assert f"Smith & co {NAMED}" not in said
    assert f"{216 - NAMED} others {100 - 60 - 3 * 40 / 215:.1f} %" in said
    level = table.assign(**{"Share (%)": 100 / 216})
    assert "more than half" not in words(bars_svg([one], level, {"all": few}, mask=MASK, title="t", alt="s"))


def test_bars_are_as_long_as_the_shares(study: Study) -> None:
    shares = contribution_table(study["contrast"], study)
    parts = study_contexts(study)["contrast"].parts
    found = find_clusters(study["contrast"]["z_contrast"].sel(input="cluster-fwe").values, mask=MASK)
    svg = bars_svg(found, shares, parts, mask=MASK, title="t", alt="s")
    drawn = [box for box in ElementTree.fromstring(svg).iter(f"{SVG}rect") if box.find(f"{SVG}title") is not None]
    largest = shares.sort_values("Share (%)", ascending=False).groupby(["Cluster ID", "Arm"], sort=False).head(NAMED)
    for row in largest[largest["Share (%)"] > 1].to_dict("records"):
        widths = [float(b.get("width")) for b in drawn if b.find(f"{SVG}title").text == row["Experiment"]]
        assert any(w == pytest.approx(732 * row["Share (%)"] / 100 - 1, rel=1e-3) for w in widths)


def test_an_overlay_has_a_colour_for_each_map_and_one_for_what_they_share(study: Study, tmp_path: Path) -> None:
    contexts = study_contexts(study)
    for name, shared in (("overlap", True), ("nowhere", False)):
        write_figures(study[name], tmp_path, context=contexts[name])
        seen = colours(tmp_path / f"{name}_overlay.png")
        for each in contexts[name].parts.values():
            assert seen[rgb(each.hue.ramp[1])] > 500
        # Without anything shared the colour is in the legend only.
        assert (seen[rgb(OVERLAP.flat)] > 1000) is shared
        (overlay,) = (plot for plot in plots_of(study[name], contexts[name]) if plot.suffix == "overlay")
        assert ("no voxel in common" in overlay.alt) is not shared


def test_of_three_maps_what_some_share_is_told_from_what_all_share() -> None:
    each = [part(np.zeros((0, 3)), np.zeros(0, dtype=int), i, v) for i, v in enumerate(([0, 1, 2], [1, 2, 3], [2, 4]))]
    assert overlaid(dict(zip("abc", each, strict=True)), 6).tolist() == [1, 4, 5, 2, 3, 0]


def test_a_contrast_is_in_the_colours_of_its_arms(study: Study, tmp_path: Path) -> None:
    turned = {name: study[name] for name in ("affect", "drug", "therapy", "contrast")}
    paths = write_figures(study["contrast"], tmp_path, context=study_contexts(turned)["contrast"])
    again = write_figures(study["contrast"], tmp_path / "again", context=study_contexts(turned)["contrast"])
    assert [p.read_bytes() for p in paths] == [p.read_bytes() for p in again]
    seen = colours(paths[0])
    # affect is first in this study: drug is blue here and therapy green.
    assert seen[rgb(HUES[1].ramp[1])] > 100
    assert seen[rgb(HUES[2].ramp[1])] > 100
    assert rgb(HUES[0].ramp[1]) not in seen


def test_slices_go_through_the_peaks_first_and_then_where_there_is_most() -> None:
    result = main_effect(sample("many", [(-18.0, -18.0, 2.0), (18.0, -20.0, 10.0)]), mask=MASK, iterations=50, seed=1)
    found = find_clusters(result["z_uncorrected"].values, mask=MASK, rank=result["s"].values)
    peak, heights = slice_places(found, mask=MASK)
    assert peak == tuple(found[0].peak_mm.round())
    assert len(heights) == ROWS * COLUMNS == len(set(heights))
    assert heights == sorted(heights)
    assert peak[2] in heights
    assert np.diff(heights).min() >= 3


def test_what_is_no_longer_found_is_no_longer_drawn(study: Study, tmp_path: Path) -> None:
    alone = conjunction([study["drug"], study["therapy"]], name="nowhere")
    stale = tmp_path / "nowhere_overlay.png"
    stale.write_bytes(b"of an earlier run")
    assert write_figures(alone, tmp_path) == []
    assert not stale.exists()


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0, 5.3, ["0", "1", "2", "3", "4", "5"]),
        (-3.1, 3.1, ["−3", "−2", "−1", "0", "1", "2", "3"]),
        (0, 0.31, ["0", "0.05", "0.1", "0.15", "0.2", "0.25", "0.3"]),
        (0, 4100, ["0", "1,000", "2,000", "3,000", "4,000"]),
        (0, 100, ["0", "20", "40", "60", "80", "100"]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, words: list[str]) -> None:
    assert [tick_words(at) for at in ticks(low, high)] == words


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(4, 12))
def test_ticks_lie_evenly_inside_their_axis(low: float, length: float, most: int) -> None:
    at = ticks(low, low + length, most=most)
    assert 1 <= len(at) <= most
    assert np.all((np.array(at) >= low - 1e-6 * length) & (np.array(at) <= low + length * (1 + 1e-6)))
    assert np.ptp(np.diff(at)) <= 1e-6 * length if len(at) > 1 else True


def test_a_colour_scale_gives_each_value_its_step() -> None:
    flat = ColourScale(shades(["#000000", "#808080", "#ffffff"], 3), low=0.5, high=3.5)
    assert flat.of(np.array([1, 2, 3, 9, -4]))[:, 0].tolist() == [0, 128, 255, 255, 0]
    assert shades(["#000000", "#ffffff"], 5)[:, 0].tolist() == [0, 64, 128, 191, 255]
    assert nearest(np.array([[1, 2]]), (2, 6)).tolist() == [[1, 1, 1, 2, 2, 2]] * 2


def test_no_slice_of_a_figure_is_cut_off_or_squeezed_at_its_edge() -> None:
    result = main_effect(sample("many", [(-18.0, -18.0, 2.0), (18.0, -20.0, 10.0)]), mask=MASK, iterations=50, seed=1)
    values = result["z_uncorrected"].values
    found = find_clusters(values, mask=MASK, rank=result["s"].values)
    scale = ColourScale(shades(["#ff0000"], 1), 0, 1)
    picture = brain(values, found, mask=MASK, title="", legend=(), scale=scale)
    seen = np.asarray(Image.open(BytesIO(picture)).convert("RGB"))
    canvas = black(10, 8.5)
    assert seen.shape == canvas.pixels.shape
    for column in range(COLUMNS):
        x = 10 / COLUMNS * column
        row = type(canvas)(seen).window(x, x + 10 / COLUMNS, 2.0, 3.8)
        shown = np.flatnonzero(row.max(axis=(0, 2)))
        # The midline of the brain is in the middle of its column.
        assert abs((shown[0] + shown[-1]) / 2 - 5 / COLUMNS * DPI) < 2
