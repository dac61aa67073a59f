"""Plots of a result: what they show is in the file, and no file without a null."""

from xml.etree import ElementTree

import numpy as np

from ale_dask.analyses.api_main_effect import conjunction, main_effect
from ale_dask.coordinates.foci import Experiment, build
from ale_dask.reporting.figures.plots import plots_of, write_plots

DRAWN = np.random.default_rng(3).uniform(-30, 30, size=(20, 3, 3))
FOCI = build([Experiment(f"E{i} & co", 9 + i, tuple(map(tuple, xyz)), "MNI", "f:1") for i, xyz in enumerate(DRAWN)])


def words(path):
    """The text of an SVG, titles and descriptions included."""
    return " ".join("".join(ElementTree.fromstring(path.read_text()).itertext()).split())


def test_the_plots_of_a_main_effect_say_what_they_show(tmp_path):
    result = main_effect(FOCI, name="a<b", iterations=60).assign_attrs(simulated=1)
    paths = write_plots(result, tmp_path)
    assert [p.name for p in paths] == [
        f"a-b_{what}.svg" for what in ("foci", "contributions", "null", "threshold", "design")
    ]
    foci, contributions, null, threshold, design = map(words, paths)
    assert "Cluster 1 at" in contributions
    assert "60 foci of 20 experiments" in foci
    mm3 = f"{result.attrs['cut_size'] * 8:,.0f} mm³"
    assert mm3 in null
    assert "SIMULATED" in null
    assert f"after 60 iterations {mm3}" in threshold
    assert "20 experiments with 3 to 3 foci" in design
    again = write_plots(result, tmp_path / "again")
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in paths]


def test_too_few_iterations_have_no_threshold_to_draw(tmp_path):
    result = main_effect(FOCI, iterations=5)
    _, null, threshold, _ = map(words, write_plots(result, tmp_path))
    assert "too few for a threshold" in null
    assert "no cluster size" in threshold


def test_a_conjunction_by_itself_has_no_plot():
    result = main_effect(FOCI, iterations=5)
    assert plots_of(conjunction([result, result.assign_attrs(name="b")])) == []
