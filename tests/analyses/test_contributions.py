"""What experiments contribute to clusters, held to the definition in float64."""

import numpy as np
import pytest

from ale_dask.analyses.api_contrasts import contrast
from ale_dask.analyses.api_main_effect import leave_one_out, main_effect
from ale_dask.analyses.findings.contributions import contributions
from ale_dask.coordinates.foci import Experiment, build
from ale_dask.errors import InputError
from ale_dask.numerics.ale import ale_from_s
from ale_dask.reporting import contribution_table

POINTS = {"A": [(0, 0, 0), (2, 2, 0)], "B": [(4, 0, 0)], "C": [(-40, 0, 20)], "D": [(0, 4, 0), (60, -90, 90)]}


@pytest.fixture(scope="module")
def result():
    """A main effect of four experiments, two of them in one place."""
    listed = [Experiment(n, 12, tuple(map(tuple, xyz)), "MNI", "f:1") for n, xyz in POINTS.items()]
    return main_effect(build(listed), iterations=5, seed=3)


def test_contributions_are_those_of_the_definition(result):
    labels = np.zeros(result.sizes["voxel"], dtype=np.int64)
    mm = result["voxel_ijk"].values @ np.diag(result.attrs["affine"][0:11:5])
    mm = mm + np.array(result.attrs["affine"]).reshape(4, 4)[:3, 3]
    labels[np.linalg.norm(mm, axis=1) < 9] = 1
    labels[np.linalg.norm(mm - [-40, 0, 20], axis=1) < 5] = 2
    found = contributions(result, labels)
    without = leave_one_out(result)
    bits = int(result.attrs["scale_bits"])
    ale = ale_from_s(result["s"].values, bits=bits)
    with np.errstate(invalid="ignore"):
        gone = 1 - ale_from_s(without["s_without"].values.astype(np.int64), bits=bits) / ale
    assert found["experiment_id"].values.tolist() == without["experiment_id"].values.tolist()
    for cluster in (1, 2):
        part = gone[:, labels == cluster]
        mean = part.mean(axis=1)
        np.testing.assert_allclose(found["contribution"].values[cluster - 1], 100 * mean / mean.sum(), atol=1e-4)
        np.testing.assert_allclose(found["contribution_largest"].values[cluster - 1], part.max(axis=1), atol=1e-6)
    order = found["experiment_id"].values.tolist()
    assert dict(zip(order, found["contribution_foci"].values[0].tolist(), strict=True)) == {
        "A": 2,
        "B": 1,
        "C": 0,
        "D": 1,
    }
    assert found["contribution"].values[1, order.index("C")] == pytest.approx(100)
    np.testing.assert_allclose(found["contribution"].sum("experiment"), 100)


def test_no_cluster_has_no_contributions(result):
    assert contributions(result, np.zeros(result.sizes["voxel"], dtype=np.int64)).sizes["cluster"] == 0


def test_the_table_lists_each_arm_and_marks_who_holds_more_than_half(result):
    def far_from(name, x, seed):
        some = np.random.default_rng(seed).normal([x, 0, 20], 3, size=(9, 1, 3))
        return build(
            [Experiment(f"{name} {i}", 20, tuple(map(tuple, xyz)), "MNI", "f:1") for i, xyz in enumerate(some)]
        )

    a, b = (
        main_effect(far_from(n, x, 1), name=n, iterations=9, voxel_p=0.01) for n, x in (("left", -40), ("right", 40))
    )
    found = contrast(a, b, iterations=200, gate="none")
    table = contribution_table(found, {"left": a, "right": b})
    assert set(table["Arm"]) == {"left", "right"}
    first = table[table["Cluster ID"] == "1"]
    shares = first.groupby("Arm")["Share (%)"].sum()
    np.testing.assert_allclose(shares, 100)
    assert first[first["Arm"] == "left"]["Foci"].sum() > 0
    assert not (table["Note"] != "").any()
    with pytest.raises(InputError, match="need the main effect 'right'"):
        contribution_table(found, {"left": a})
    apart = [Experiment(name, 9, (xyz,) * 2, "MNI", "f:1") for name, xyz in (("one", (0, 0, 0)), ("two", (0, -80, 0)))]
    alone = main_effect(build(apart), iterations=9)
    marked = contribution_table(alone, source="uncorrected")
    assert set(marked["Note"]) == {"more than half"}
    assert marked["Share (%)"].tolist() == [100.0] * len(marked)
