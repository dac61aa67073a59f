"""Figures for print against the results: the scale, the numbers of clusters, what each slice shows, equal bytes."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy import special
from support.commands import ale as command
from support.runs import finished_run
from support.samples import MASK, RIGHT, sample
from support.studies import write_tiny

import ale_dask as ale
from ale_dask.coordinates.masks import load_mask
from ale_dask.errors import InputError
from ale_dask.reporting.figures.print import surface
from ale_dask.reporting.figures.print.brain_slices import AXIAL, slice_places, template
from ale_dask.reporting.figures.print.shown import maps_by_name, shown_map
from ale_dask.reporting.figures.print.subcortex import inside
from ale_dask.reporting.tables.comparisons import conjunction_table, contrast_table

Study = dict[str, xr.Dataset]
pytestmark = pytest.mark.integration


def words(figure) -> list[str]:
    """Every text of a figure and of its axes."""
    return [text.get_text() for part in (figure, *figure.axes) for text in part.texts]


def brains(figure) -> list:
    """The axes with a brain and a map over it."""
    return [axes for axes in figure.axes if len(axes.images) == 2]


def test_the_bar_begins_at_the_marked_threshold_and_ends_at_the_largest_value(study: Study) -> None:
    shown = shown_map(study["affect"])
    surviving = study["affect"]["z_size_fwe"].values
    assert shown.low == pytest.approx(-special.ndtri(0.001))
    assert shown.high == surviving.max()
    said = words(ale.plot_map(study["affect"]))
    assert {"3.09", f"{surviving.max():.3g}", "z   ▲ p < 0.001"} <= set(said)
    ends = shown.rgba(np.array([shown.low, shown.high]))
    assert [tuple(np.rint(255 * end[:3]).astype(int)) for end in ends] == [
        tuple(bytes.fromhex(colour[1:])) for colour in (shown.sides[0].ramp[0], shown.sides[0].ramp[-1])
    ]
    ale_values = shown_map(study["affect"], values="ale")
    assert ale_values.low == pytest.approx(study["affect"].attrs["threshold_ale"])
    assert shown_map(study["affect"], values="logp").low == pytest.approx(3)
    voxel = shown_map(study["affect"], "voxel")
    assert voxel.mark == "smallest value shown"
    assert voxel.low == voxel.values[voxel.values > 0].min()
    whole = shown_map(study["affect"], "z")
    assert (whole.low, whole.mark, whole.clusters) == (0, "", [])


def test_a_contrast_shows_the_difference_and_its_z_says_how_it_is_limited(study: Study) -> None:
    contrast = study["contrast"]
    shown = shown_map(contrast)
    there = contrast["z_contrast"].sel(input="cluster-fwe").values != 0
    np.testing.assert_array_equal(shown.values[there], contrast["difference"].values[there])
    assert not shown.values[~there].any()
    assert shown.quantity == "difference of ALE"
    assert [side.words for side in shown.sides] == ["drug > therapy", "therapy > drug"]
    of_z = shown_map(contrast, values="z")
    n = contrast.attrs["iterations"]
    most = -special.ndtri(1 / (1 + n))
    share = 100 * (np.abs(of_z.values[there]) > most - 1e-4).mean()
    assert of_z.quantity == f"z (at most {most:.2f} of {n} relabellings; {share:.0f} % of voxels have it)"
    assert of_z.high == pytest.approx(most)
    assert of_z.low == pytest.approx(-special.ndtri(0.05))


@pytest.mark.parametrize("name", ["affect", "contrast", "overlap"])
def test_clusters_have_the_numbers_of_their_table(study: Study, name: str) -> None:
    result = study[name]
    table = {
        "affect": lambda: ale.cluster_table(result),
        "contrast": lambda: contrast_table(result, source="cluster-fwe"),
        "overlap": lambda: conjunction_table(result, source="cluster-fwe"),
    }[name]()
    table = table[table["Cluster Size (mm3)"].notna()]
    peaks = table[list("XYZ")].to_numpy(dtype=float)
    assert shown_map(result).number_at(peaks).tolist() == table["Cluster ID"].astype(int).tolist()
    written = {text for axes in brains(ale.plot_map(result)) for text in (t.get_text() for t in axes.texts)}
    assert written - {"L", "R"} == set(table["Cluster ID"])


def test_every_slice_shows_something_and_has_left_on_the_left(study: Study) -> None:
    shown = shown_map(study["affect"])
    heights = shown.mask.to_mm(shown.mask.voxel_ijk[np.flatnonzero(shown.values)])[:, 2].round(1)
    places = slice_places(shown)
    assert set(places) <= set(heights.tolist())
    for cluster in shown.clusters:
        own = shown.mask.to_mm(shown.mask.voxel_ijk[cluster.voxels])[:, 2].round(1)
        assert np.isin(own, places).any()
    figure = ale.plot_map(study["drug"])
    panels = brains(figure)
    assert len(panels) == len(slice_places(shown_map(study["drug"])))
    for axes in panels:
        letters = {text.get_text(): text.get_position()[0] for text in axes.texts if text.get_text() in "LR"}
        assert letters["L"] < letters["R"]
        painted = np.asarray(axes.images[1].get_array())[..., 3] > 0
        # The effect of drug lies at x = -18 mm.
        assert painted.any()
        assert np.nonzero(painted)[1].mean() < painted.shape[1] / 2
        assert axes.get_xlim() == AXIAL[0]


def test_the_brain_behind_has_1_mm(study: Study) -> None:
    data, affine = template()
    assert affine.diagonal().tolist() == [1, 1, 1, 1]
    mask = load_mask("brain")
    ijk = np.rint(mask.to_mm(mask.voxel_ijk) - affine[:3, 3]).astype(int)
    assert (data[tuple(ijk.T)] > 0).mean() > 0.97
    (axes, *_) = brains(ale.plot_map(study["drug"]))
    behind = np.asarray(axes.images[0].get_array())
    # Neighbouring pixels differ: the brain is not drawn from cells of 2 mm.
    grey, inside_brain = behind[..., 0], behind[..., 3] > 0
    both = inside_brain[:, 1:] & inside_brain[:, :-1]
    assert (grey[:, 1:] != grey[:, :-1])[both].mean() > 0.8


@pytest.mark.parametrize(("style", "background"), [("composite", "white"), ("glass", "black")])
def test_figures_are_files_with_equal_bytes(study: Study, style: str, background: str, tmp_path: Path) -> None:
    begins = {"pdf": b"%PDF-", "svg": b"<?xml", "png": b"\x89PNG"}
    for kind, start in begins.items():
        for path in (tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"):
            figure = ale.plot_map(study["contrast"], style=style, background=background, width=90)
            figure.savefig(path, dpi=40)
        content = (tmp_path / f"a.{kind}").read_bytes()
        assert content.startswith(start)
        assert content == (tmp_path / f"b.{kind}").read_bytes()
        assert b"CreationDate" not in content
        assert b"dc:date" not in content
    assert figure.get_facecolor()[:3] == {"white": (1, 1, 1), "black": (0, 0, 0)}[background]
    svg = (tmp_path / "a.svg").read_text()
    assert "drug &gt; therapy</text>" in svg
    assert not figure.get_suptitle()


def test_the_cortex_shows_what_lies_below_it_and_names_what_does_not(study: Study) -> None:
    shown = shown_map(study["affect"])
    rng = np.random.default_rng(1)
    everywhere = replace(shown, values=rng.normal(size=shown.mask.n_voxels))
    mesh = surface.hemisphere("left")
    values, _ = surface.on_cortex(everywhere, "left")
    seen = np.flatnonzero(values)
    assert len(seen) > 1000
    for vertex in rng.choice(seen, 20):
        along = everywhere.at(mesh.mm[:, vertex])
        assert values[vertex] == along[np.abs(along).argmax()]
    assert len(mesh.faces) == 4 * 20480
    assert mesh.inflated.shape == mesh.normals.shape == (len(mesh.grey), 3)
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1)
    # The left hemisphere is on the left, and taking MNI305 to MNI152 brings it into the brain.
    brain = load_mask("brain")
    assert mesh.mm[0, :, 0].mean() < -20
    back = (mesh.mm[0] - surface.TO_MNI152[:, 3]) @ np.linalg.inv(surface.TO_MNI152[:, :3]).T
    assert (brain.voxel_at(mesh.mm[0]) >= 0).mean() > max(0.97, (brain.voxel_at(back) >= 0).mean() - 0.01)
    drawn = {n for side in ("left", "right") for n in surface.on_cortex(shown, side)[1].tolist()}
    missing = [c.number for c in shown.clusters if c.number not in drawn]
    notes = [text for text in words(ale.plot_map(study["affect"], style="surface")) if "Not on the cortex" in text]
    assert notes == ([f"Not on the cortex: {surface.clusters_words(missing)}"] if missing else [])


def test_the_subcortex_is_drawn_where_the_map_reaches_it(study: Study) -> None:
    shown = shown_map(study["therapy"])
    part = inside(shown)
    assert 0 < np.count_nonzero(part.values) <= np.count_nonzero(shown.values)
    figure = ale.plot_map(study["therapy"], style="subcortex")
    assert {"L", "R", "Th", "1"} <= {t.get_text() for t in brains(figure)[0].texts}
    assert any(text.startswith("Outlines (AAL2)") for text in words(figure))
    with pytest.raises(InputError, match="no voxel shown lies in hippocampus"):
        inside(replace(shown, values=np.zeros_like(shown.values)))


def test_several_results_are_lettered_in_the_colours_of_the_study(study: Study, marked: Study) -> None:
    figure = ale.plot_map([marked["therapy"], marked["drug"]], style="composite", study=marked)
    bold = [text.get_text() for text in figure.texts if text.get_weight() == "bold"]
    assert bold == ["A", "B"]
    assert "SIMULATED DATA" in words(figure)
    assert "SIMULATED DATA" not in words(ale.plot_map(study["drug"]))
    alone, both = (shown_map(study["therapy"], study=s).sides[0].ramp for s in ({}, study))
    assert alone != both


def test_names_that_are_not_known_are_told_with_the_nearest(study: Study) -> None:
    with pytest.raises(InputError, match="did you mean 'glass'"):
        ale.plot_map(study["drug"], style="glas")
    with pytest.raises(InputError, match=r"background 'blue'.*white, black"):
        ale.plot_map(study["drug"], background="blue")
    with pytest.raises(InputError, match="did you mean 'uncorrected'"):
        ale.plot_map(study["drug"], map_name="uncorected")
    with pytest.raises(InputError, match=r"values 'differences'; did you mean 'difference'.*drug has z, logp, ale"):
        ale.plot_map(study["drug"], values="differences")
    with pytest.raises(InputError, match="no voxel survives, so there is nothing to draw"):
        ale.plot_map(study["nowhere"])
    assert shown_map(study["drug"], "fdr-bh").label == "Benjamini-Hochberg FDR q ≤ 0.05"
    assert {"cluster-size", "voxel", "uncorrected", "z", "stat"} <= set(maps_by_name(study["drug"]))
    gated = maps_by_name(study["contrast"])
    assert (gated["uncorrected"].source, gated["uncorrected-of-uncorrected"].source) == ("cluster-fwe", "uncorrected")
    assert {"uncorrected", "uncorrected-of-uncorrected", "voxel-fwe"} <= set(gated)


def test_a_notebook_shows_picture_and_table(study: Study) -> None:
    shown = ale.show([study["affect"].assign_attrs(name="<b>affect"), study["nowhere"]])
    html = shown._repr_html_()
    assert html.count("<img") == 1
    assert "<b>" not in html
    assert "&lt;b&gt;affect" in html
    assert "<p>no cluster</p>" in html
    for cluster in ale.cluster_table(study["affect"])["Cluster ID"]:
        assert f"<td>{cluster}</td>" in html
    said = repr(shown)
    assert said.startswith("<b>affect · cluster-size FWE p ≤ 0.05, cluster-forming p < 0.001\n")
    assert "no cluster" in said
    figure = ale.plot_map(study["affect"])
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_the_command_writes_the_figure_of_a_run(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny")
    out = tmp_path / "out"
    finished_run(ale.load_study(folder / "study.toml"), out, folder=folder)
    file = tmp_path / "drug.pdf"
    said = command("figure", out, "drug", "therapy", "--map", "uncorrected", "-o", file, "--dpi", 60).stdout
    assert file.read_bytes().startswith(b"%PDF-")
    assert said.startswith(f"{file}: Axial slices of drug, uncorrected p < 0.01")
    assert "Axial slices of therapy" in said
    assert "did you mean 'drug'" in command("figure", out, "drugs", "-o", file, code=65).stderr
    assert "did you mean 'slices'" in command("figure", out, "drug", "--style", "slice", "-o", file, code=65).stderr
    assert ".pdf, .svg or .png" in command("figure", out, "drug", "-o", tmp_path / "a.gif", code=2).stderr
    assert "--all for every map" in command("figure", out, "-o", file, code=2).stderr


def test_one_command_writes_all_maps_of_a_run(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny")
    out, maps = tmp_path / "out", tmp_path / "maps"
    results, _ = finished_run(ale.load_study(folder / "study.toml"), out, folder=folder)
    assert "give a folder" in command("figure", out, "--all", "-o", tmp_path / "a.pdf", code=2).stderr
    ended = command("figure", out, "--all", "-o", maps, "--format", "png", "--dpi", 50, "--width", 60)
    written = sorted(path.name for path in maps.iterdir())
    surviving = {
        f"{name}_{spec.suffix}.png": bool(np.nan_to_num(spec.read(result)).any())
        for name, result in results.items()
        if not name.endswith("_pooled")
        for spec in maps_by_name(result).values()
        if spec.level and spec.units == "z"
    }
    assert written == sorted(name for name, survives in surviving.items() if survives)
    assert 0 < len(written) < len(surviving)
    assert ended.stderr.count("no voxel survives") == len(surviving) - len(written)
    for i, line in enumerate(ended.stdout.splitlines(), 1):
        assert line.startswith(f"{i} of {len(written)} · {maps}/")
    one = tmp_path / "one"
    command("figure", out, "drug", "--all", "--map", "uncorrected", "-o", one, "--format", "svg", "--width", 60)
    assert len(list(one.iterdir())) == 1


def test_long_and_odd_names_stay_on_the_page(study: Study) -> None:
    drug, therapy = "antidepressants_$of_the^second_generation_in$_major_depression", "psychotherapy_of_all_kinds" * 2
    contrast = study["contrast"].assign_attrs(name=f"{drug} against {therapy}", arms=[drug, therapy])
    figure = ale.plot_map([contrast, study["drug"]], style="glass", width=90)
    figure.canvas.draw()
    edges = figure.bbox
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= edges.x0, text.get_text()
        assert box.x1 <= edges.x1, text.get_text()
    assert drug in "".join(words(figure)).replace(" ", "")


def test_the_mark_is_that_of_the_null_and_correction() -> None:
    settings = {"mask": MASK, "iterations": 60, "seed": 1, "null": "both", "voxel_p": 0.01}
    result = ale.main_effect(sample("both", [RIGHT]), name="both", **settings)
    of_clusters = shown_map(result, "base-rate-cluster-size")
    assert (of_clusters.mark, of_clusters.low) == ("p < 0.01", pytest.approx(-special.ndtri(0.01)))
    of_voxels = shown_map(result, "base-rate-voxel")
    assert (of_voxels.mark, of_voxels.low) == ("smallest value shown", of_voxels.values[of_voxels.values > 0].min())
    assert shown_map(result, "fdr-bh").mark == "smallest value shown"


def test_a_figure_is_drawn_from_bytes_of_any_format(study: Study) -> None:
    buffer = BytesIO()
    ale.plot_map(study["drug"], style="glass").savefig(buffer, format="svg")
    assert b"Glass brain of drug" in buffer.getvalue()
