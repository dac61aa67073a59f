"""Lint: each finding, and silence where there is nothing to find."""

import numpy as np
import pytest

from ale_dask.data.foci import Experiment, build
from ale_dask.data.lint import lint
from ale_dask.numerics.space import Mask

# Ten voxels of 2 mm along each axis: centres at 0, 2 … 18 mm.
MASK = Mask(np.ones((10, 10, 10), dtype=bool), np.diag([2.0, 2.0, 2.0, 1.0]), "cube")


def experiment(i, *, name=None, n=12, xyz=None):
    return Experiment(
        name if name is not None else f"E{i}", n, xyz or ((float(i % 18), 2.0, 3.0),), "MNI", f"f.txt:{i}"
    )


def found(experiments, code):
    return [f for f in lint(build(experiments), mask=MASK) if f.code == code]


ENOUGH = [experiment(i) for i in range(17)]


def test_nothing_to_find():
    assert lint(build(ENOUGH), mask=MASK) == []


def test_few_experiments():
    empty = Experiment("none", 9, (), "MNI", "f.txt:99")
    (finding,) = found([*ENOUGH[:16], empty], "few-experiments")
    assert finding.message.startswith("16 experiments")
    assert finding.where == ""


def test_empty_experiment():
    (finding,) = found([*ENOUGH, Experiment("none", 9, (), "MNI", "f.txt:99")], "empty-experiment")
    assert (finding.message, finding.where) == ("none has no foci", "f.txt:99")


def test_foci_outside_the_mask_with_their_distances():
    far = experiment(50, xyz=((24.0, 0.0, 0.0), (2.0, 2.0, 2.0), (0.0, -3.0, -4.0)))
    (finding,) = found([*ENOUGH, far], "outside-mask")
    assert finding.message == "E50: 2 foci outside mask 'cube': (24, 0, 0) by 6.0 mm, (0, -3, -4) by 5.0 mm"
    assert finding.where == "f.txt:50"


def test_at_most_five_foci_are_listed():
    far = experiment(50, xyz=tuple((24.0, float(i), 0.0) for i in range(8)))
    (finding,) = found([*ENOUGH, far], "outside-mask")
    assert finding.message.count(" by ") == 5
    assert finding.message.endswith("and 3 more")


def test_duplicate_foci_within_an_experiment():
    twice = experiment(50, xyz=((1.0, 2.0, 3.5), (4.0, 5.0, 6.0), (1.0, 2.0, 3.5)))
    (finding,) = found([*ENOUGH, twice], "duplicate-focus")
    assert finding.message == "E50: 1 foci given more than once: (1, 2, 3.5)"


@pytest.mark.parametrize(("name", "words"), [("A", "2 experiments are named A"), ("", "2 experiments have no name")])
def test_repeated_names(name, words):
    (finding,) = found([*ENOUGH, experiment(50, name=name), experiment(51, name=name)], "repeated-name")
    assert finding.message.startswith(words)
    assert finding.where == "f.txt:50, f.txt:51"


def test_duplicate_experiments():
    a = experiment(50, xyz=((0.0, 2.0, 3.5), (4.0, 5.0, 6.0)))
    b = experiment(51, xyz=((4.0, 5.0, 6.0), (-0.0, 2.0, 3.5)))
    other = experiment(52, n=13, xyz=a.xyz)
    (finding,) = found([*ENOUGH, a, b, other], "duplicate-experiment")
    assert finding.message == "E50, E51 have the same foci and sample size"
    assert finding.where == "f.txt:50, f.txt:51"


def test_no_experiments_at_all():
    assert [f.code for f in lint(build([]), mask=MASK)] == ["few-experiments"]
