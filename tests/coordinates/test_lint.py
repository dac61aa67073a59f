"""Lint: each finding, and silence where there is nothing to find."""

from dataclasses import replace

import numpy as np
import pytest
from support.real_data import shared

from ale_dask.coordinates.foci import Experiment, build
from ale_dask.coordinates.lint import lint
from ale_dask.coordinates.masks import load_mask
from ale_dask.coordinates.readers import read_foci
from ale_dask.numerics.space import Mask, mni_to_talairach

# Ten voxels of 2 mm along each axis: centres at 0, 2 … 18 mm.
MASK = Mask(np.ones((10, 10, 10), dtype=bool), np.diag([2.0, 2.0, 2.0, 1.0]), "cube")


def experiment(i, *, name=None, n=12, xyz=None):
    return Experiment(
        name if name is not None else f"E{i}", n, xyz or ((float(i % 18), 2.0, 3.0),), "MNI", f"f.txt:{i}"
    )


def found(experiments, code):
    return [f for f in lint(build(experiments), mask=MASK) if f.code == code]


ENOUGH = [experiment(i) for i in range(17)]


def test_a_sample_without_faults_has_no_findings():
    assert lint(build(ENOUGH), mask=MASK) == []


def test_experiments_with_foci_are_counted_for_few_experiments():
    empty = Experiment("none", 9, (), "MNI", "f.txt:99")
    (finding,) = found([*ENOUGH[:16], empty], "few-experiments")
    assert finding.message.startswith("16 experiments")
    assert finding.where == ""


def test_an_experiment_without_foci_is_found():
    (finding,) = found([*ENOUGH, Experiment("none", 9, (), "MNI", "f.txt:99")], "empty-experiment")
    assert (finding.message, finding.where) == ("none has no foci", "f.txt:99")


def test_foci_outside_the_mask_are_found_with_their_distances():
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
    assert finding.message == "E50: 1 focus given more than once: (1, 2, 3.5)"


@pytest.mark.parametrize(("name", "words"), [("A", "2 experiments are named A"), ("", "2 experiments have no name")])
def test_repeated_names(name, words):
    (finding,) = found([*ENOUGH, experiment(50, name=name), experiment(51, name=name)], "repeated-name")
    assert finding.message.startswith(words)
    assert finding.where == "f.txt:50, f.txt:51"


def test_experiments_with_the_same_foci_and_size_are_found():
    a = experiment(50, xyz=((0.0, 2.0, 3.5), (4.0, 5.0, 6.0)))
    b = experiment(51, xyz=((4.0, 5.0, 6.0), (-0.0, 2.0, 3.5)))
    other = experiment(52, n=13, xyz=a.xyz)
    (finding,) = found([*ENOUGH, a, b, other], "duplicate-experiment")
    assert finding.message == "E50, E51 have the same foci and sample size"
    assert finding.where == "f.txt:50, f.txt:51"


def test_no_experiments_at_all():
    assert [f.code for f in lint(build([]), mask=MASK)] == ["few-experiments"]


def test_missing_sample_sizes_are_one_finding():
    (finding,) = found([*ENOUGH, experiment(50, n=None), experiment(51, n=None)], "missing-n")
    assert finding.message == "2 experiments have no sample size: E50, E51"
    assert finding.where == "f.txt:50, f.txt:51"


@pytest.mark.parametrize(("n", "why"), [(4, "too few"), (1001, "1,001 subjects; more than 1,000")])
def test_implausible_sample_sizes(n, why):
    (finding,) = found([*ENOUGH, experiment(50, n=n)], "implausible-n")
    assert why in finding.message
    assert found([*ENOUGH, experiment(50, n=5), experiment(51, n=1000)], "implausible-n") == []


def test_an_experiment_with_more_than_a_fifth_of_the_foci():
    many = experiment(50, xyz=tuple((float(i), 0.0, 0.0) for i in range(5)))
    (finding,) = found([*ENOUGH, many], "dominant-experiment")
    assert finding.message.startswith("E50 has 5 of the 22 foci, 23%")
    assert finding.where == "f.txt:50"
    assert found([*ENOUGH, replace(many, xyz=many.xyz[:4])], "dominant-experiment") == []


def test_few_experiments_do_not_dominate_each_other():
    assert found([experiment(i) for i in range(3)], "dominant-experiment") == []


BRAIN = load_mask("brain")
CORTEX = ((-30.0, -92.0, -4.0), (8.0, -84.0, 30.0), (30.0, -94.0, 2.0), (-44.0, -70.0, -8.0), (26.0, -96.0, 6.0))


def placed(experiments):
    codes = ("sign-flip", "wrong-space", "mixed-precision")
    return [f for f in lint(build(experiments), mask=BRAIN) if f.code in codes]


def test_a_negated_axis_is_a_sign_flip():
    assert placed([experiment(1, xyz=CORTEX)]) == []
    flipped = tuple((x, -y, z) for x, y, z in CORTEX)
    (finding,) = placed([experiment(1, xyz=flipped)])
    assert (finding.code, finding.where) == ("sign-flip", "f.txt:1")
    assert finding.message.endswith("0 with y negated")


def test_coordinates_without_their_minus_signs():
    (finding,) = placed([experiment(1, xyz=tuple(tuple(map(abs, p)) for p in CORTEX))])
    assert finding.message == "E1: none of its 5 foci has a negative coordinate; were the minus signs lost?"


def test_mni_coordinates_said_to_be_talairach():
    edge = ((-62.0, -40.0, 38.0), (0.0, -100.0, 4.0), (0.0, 68.0, 10.0), (66.0, -30.0, 24.0), (2.0, -30.0, 74.0))
    assert placed([experiment(1, xyz=edge)]) == []
    (finding,) = placed([replace(experiment(1, xyz=edge), space="TAL")])
    assert finding.code == "wrong-space"
    assert finding.message.endswith("0 read as MNI")


@pytest.mark.parametrize(("said", "really"), [("TAL", "MNI"), ("MNI", "TAL")])
def test_a_whole_file_of_the_wrong_space(said, really):
    def file(space):
        rng = np.random.default_rng(1)
        gm = load_mask("gm")
        points = gm.to_mm(gm.voxel_ijk[rng.integers(gm.n_voxels, size=(400, 8))].reshape(-1, 3))
        points = mni_to_talairach(points) if really == "TAL" else points
        return [
            Experiment(f"E{i}", 12, tuple(map(tuple, p)), space, f"f.txt:{i}")
            for i, p in enumerate(points.reshape(400, 8, 3).tolist())
        ]

    whole = [f for f in placed(file(said)) if f.where == "f.txt"]
    assert [f.code for f in whole] == ["wrong-space"]
    assert [f for f in placed(file(really)) if f.where == "f.txt"] == []


@pytest.mark.parametrize("space", ["MNI", "TAL"])
def test_whole_millimetres_among_decimals(space):
    whole, decimal = ((-30.0, -60.0, 4.0), (8.0, -54.0, 30.0)), ((30.12, -64.07, 2.41), (-44.3, -50.2, 8.9))
    (finding,) = placed([replace(experiment(1, xyz=whole + decimal), space=space)])
    assert finding.message == "E1: 2 foci in whole millimetres among 2 with decimals; are they of one space?"
    halves = ((30.5, -64.0, 2.0), (-44.0, -50.5, 8.0))
    assert placed([experiment(1, xyz=whole + halves), experiment(2, xyz=whole), experiment(3, xyz=decimal)]) == []


def test_real_files_have_few_findings_and_one_has_the_wrong_space():
    folder = shared("reward_talairach")
    counts = {}
    for name in ("one", "two", "three", "four"):
        found = lint(read_foci(folder / f"{name}.txt", require_n=False), mask=BRAIN)
        counts[name] = sum(f.code in ("sign-flip", "wrong-space") for f in found)
    assert counts == {"one": 10, "two": 1, "three": 1, "four": 0}
