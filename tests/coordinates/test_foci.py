"""The foci Dataset: keys, ids, columns, concat and subset."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import strategies as ours

from ale_dask.coordinates.decisions import decisions
from ale_dask.coordinates.foci import (
    Experiment,
    as_stated,
    build,
    concat,
    foci_of,
    n_foci,
    shared_keys,
    study_of,
    subset,
    table,
    together,
)
from ale_dask.coordinates.selection import select
from ale_dask.errors import InputError
from ale_dask.numerics.space import talairach_to_mni
from ale_dask.schema import FOCI, check


def experiment(name="A", n=12, xyz=((1.0, 2.0, 3.0),), space="MNI", **columns):
    return Experiment(name, n, xyz, space, "f.txt:1", columns)


def by_key(dataset):
    return {int(k): f.tolist() for k, f in zip(dataset["experiment_key"].values, foci_of(dataset), strict=True)}


POOLED = {"one_per": "study", "rule": "pooled"}


@pytest.mark.parametrize("variant", ["other", "fsl", "spm"])
def test_coordinates_as_the_file_had_them(variant):
    listed = [experiment(xyz=((1.5, -20.0, 30.0),), space="TAL"), experiment(xyz=((4.0, 5.25, 6.0),))]
    found = build(listed, talairach=variant)
    assert found["experiment_space"].values.tolist() == [f"TAL-{variant}", "MNI"]
    assert as_stated(found).tolist() == [[1.5, -20.0, 30.0], [4.0, 5.25, 6.0]]
    one = select(found.assign(experiment_study=("experiment", np.array(["S", "S"], dtype=object))), POOLED)
    assert np.isnan(as_stated(one)).all()


def test_build_fills_the_vocabulary():
    found = check(build([experiment(), experiment("B", None, ())]), *FOCI)
    assert found["experiment_n_subjects"].values.tolist() == [12, 0]
    assert n_foci(found).tolist() == [1, 0]
    texts = ("experiment_id", "experiment_name", "experiment_study", "experiment_source")
    assert {found[n].dtype.kind for n in texts} == {"O"}
    assert found["focus_xyz"].attrs["units"] == "mm MNI"
    assert (found.attrs["space"], json.loads(found.attrs["sources"])) == ("MNI", [])
    assert "experiment_tag" not in found
    assert check(build([]), *FOCI).sizes == {"experiment": 0, "focus": 0, "axis": 3}


@pytest.mark.parametrize("variant", ["other", "fsl", "spm"])
def test_talairach_foci_are_converted_and_others_are_not(variant):
    xyz = ((10.0, -20.0, 30.0),)
    found = build([experiment(xyz=xyz), experiment(xyz=xyz, space="TAL")], talairach=variant)
    mni, converted = foci_of(found)
    assert mni.tolist() == [list(xyz[0])]
    np.testing.assert_allclose(converted, talairach_to_mni(np.array(xyz), variant=variant), atol=1e-12)


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["A", "B", "A", "A"], ["A", "B", "A#2", "A#3"]),
        (["A", "A#2", "A"], ["A", "A#2", "A#3"]),
        (["A#2", "A", "A", "A"], ["A#2", "A", "A#3", "A#4"]),
        (["A", "A", "A#2"], ["A", "A#2", "A#2#2"]),
        (["", "", "unnamed"], ["unnamed", "unnamed#2", "unnamed#3"]),
    ],
)
def test_ids_are_unique(names, ids):
    found = build([experiment(name) for name in names])
    assert found["experiment_id"].values.tolist() == ids
    assert found["experiment_name"].values.tolist() == names


@pytest.mark.parametrize(
    "other",
    [
        {"name": "B"},
        {"n": 13},
        {"n": None},
        {"space": "TAL"},
        {"xyz": ((1.0, 2.0, 3.0), (1.0, 2.0, 3.0))},
        {"xyz": ((1.0, 3.0, 2.0),)},
        {"xyz": ((1.0, 2.0, np.nextafter(3.0, 4.0)),)},
    ],
)
def test_a_key_stands_for_the_content(other):
    a = build([experiment()])
    assert shared_keys(a, build([replace(experiment(), **other)])).size == 0
    assert shared_keys(a, build([replace(experiment(age="3"), source="g.txt:9")])).size == 1


def test_a_key_is_the_same_on_every_machine_and_in_every_release():
    found = build([experiment(), experiment(), experiment("Müller", None, ((-0.0, 1e-7, 90.1),), "TAL")])
    assert found["experiment_key"].values.tolist() == KEYS


def test_a_key_depends_neither_on_the_variant_nor_on_the_order_of_foci_nor_on_negative_zero():
    a = experiment(xyz=((1.0, 2.0, 0.0), (0.0, 0.0, 5.0)), space="TAL")
    b = experiment(xyz=((-0.0, 0.0, 5.0), (1.0, 2.0, -0.0)), space="TAL")
    assert shared_keys(build([a]), build([b], talairach="spm")).size == 1


@ours.QUICK
@given(ours.experiments(), st.randoms())
def test_keys_are_unique_and_follow_their_experiments(listed, random):
    shuffled = listed.copy()
    random.shuffle(shuffled)
    a, b = by_key(build(listed)), by_key(build(shuffled))
    assert len(a) == len(listed)
    assert a.keys() == b.keys()
    for key, foci in a.items():
        np.testing.assert_allclose(foci, b[key], atol=1e-12)


def test_columns_become_tags_or_moderators():
    found = build(
        [
            experiment(drug="yes", age="31.5", task="faces", dose="1"),
            experiment("B", drug="", age="NA", task="", dose="2"),
            experiment("C", drug="NO"),
        ]
    )
    assert found["tag"].values.tolist() == ["drug"]
    assert found["experiment_tag"].values.tolist() == [[True], [False], [False]]
    np.testing.assert_array_equal(found["moderator_age"].values, [31.5, np.nan, np.nan])
    np.testing.assert_array_equal(found["moderator_dose"].values, [1, 2, np.nan])
    assert found["moderator_task"].values.tolist() == ["faces", "", ""]
    assert (found["moderator_task"].dtype, found["moderator_age"].dtype) == (object, np.float64)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1000.5])
def test_build_refuses_impossible_coordinates(bad):
    with pytest.raises(InputError, match=r"f\.txt:1: 'B' has the focus"):
        build([experiment(), experiment("B", xyz=((1.0, 2.0, 3.0), (1.0, bad, 3.0)))])


@pytest.mark.parametrize("bad", [{"n": 0}, {"n": -1}, {"space": "Mars"}, {"n": 2**31}])
def test_an_experiment_refuses_impossible_values(bad):
    with pytest.raises(InputError, match=r"f\.txt:1"):
        experiment(**bad)


def test_concat_keeps_keys_and_fills_columns():
    a = build(
        [experiment(drug="yes", age="30", group="a"), experiment("B", None, ())],
        sources=[{"path": "a", "sha256": "0"}],
    )
    b = build(
        [experiment(age="old", child="x")],
        sources=[{"path": "b", "sha256": "1"}, {"path": "a", "sha256": "0"}],
    )
    found = check(concat([a, b]), *FOCI)
    assert found["experiment_id"].values.tolist() == ["A", "B", "A#2"]
    assert found["experiment_key"].values.tolist() == [
        *a["experiment_key"].values,
        *b["experiment_key"].values,
    ]
    assert shared_keys(a, b).tolist() == [int(b["experiment_key"].values[0])]
    assert found["focus_experiment"].values.tolist() == [0, 2]
    assert found["tag"].values.tolist() == ["drug", "child"]
    assert found["experiment_tag"].values.tolist() == [[True, False], [False, False], [False, True]]
    assert found["moderator_age"].values.tolist() == ["30.0", "", "old"]
    assert found["moderator_group"].values.tolist() == ["a", "", ""]
    assert [s["path"] for s in json.loads(found.attrs["sources"])] == ["a", "b"]
    assert concat([]).sizes["experiment"] == 0


@ours.QUICK
@given(ours.experiments(), ours.experiments())
def test_concat_is_build_of_both_but_for_keys(a, b):
    parts, whole = concat([build(a), build(b)]), build([*a, *b])
    for name in ("experiment_name", "experiment_study", "experiment_n_subjects", "focus_experiment"):
        np.testing.assert_array_equal(parts[name].values, whole[name].values)
    np.testing.assert_allclose(parts["focus_xyz"].values, whole["focus_xyz"].values, atol=1e-12)
    assert np.unique(parts["experiment_id"].values).size == len(a) + len(b)


@ours.QUICK
@given(ours.experiments(), st.data())
def test_subset_takes_experiments_whole(listed, data):
    whole = build(listed)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(listed), max_size=len(listed))))
    part = check(subset(whole, keep), *FOCI)
    kept = np.flatnonzero(keep)
    assert part["experiment_key"].values.tolist() == whole["experiment_key"].values[kept].tolist()
    assert n_foci(part).tolist() == n_foci(whole)[kept].tolist()
    everything = foci_of(whole)
    for found, i in zip(foci_of(part), kept, strict=True):
        np.testing.assert_array_equal(found, everything[i])
    assert part["focus_experiment"].dtype == np.int32


@pytest.mark.parametrize("keep", [[0, 1], [True], [True, False, True]])
def test_subset_wants_one_truth_value_per_experiment(keep):
    with pytest.raises(InputError, match="subset: keep"):
        subset(build([experiment(), experiment()]), keep)


def test_foci_of_takes_foci_in_any_order():
    found = build(
        [
            experiment(xyz=((1.0, 0.0, 0.0), (2.0, 0.0, 0.0))),
            experiment(xyz=()),
            experiment(xyz=((3.0, 0.0, 0.0),)),
        ]
    )
    mixed = found.isel(focus=[2, 0, 1])
    assert [f[:, 0].tolist() for f in foci_of(mixed)] == [[1, 2], [], [3]]
    assert foci_of(build([])) == []


KEYS = [7538766204251073637, 7049700820907957731, 9084489036264805464]


def test_the_study_is_named_by_the_file_or_begins_the_name():
    named = Experiment("Lee 2011; pre > post", 9, ((1.0, 2.0, 3.0),), "MNI", "f.txt:1", {"drug": "yes", "age": "30"})
    said = Experiment("a contrast", 9, (), "MNI", "f.txt:5", {"n": "8"}, study="Lee 2011")
    found = table(build([named, said]))
    assert found["study"].tolist() == ["Lee 2011", "Lee 2011"]
    assert found["name"].tolist() == ["Lee 2011; pre > post", "a contrast"]
    assert (found["n"].tolist(), found["foci"].tolist(), found["drug"].tolist()) == ([9, 9], [1, 0], [True, False])
    assert study_of("; no study") == "; no study"


@pytest.mark.parametrize("own", [{"sample": "patients"}, {"sample": "yes"}], ids=["words", "tag"])
def test_a_column_sample_of_the_files_is_kept_before_the_names_of_samples_and_that_is_said(own):
    plain = {"drug": build([experiment("A")]), "therapy": build([experiment("B")])}
    named = together(plain)
    assert table(named)["sample"].tolist() == ["drug", "therapy"]
    assert not decisions(named)
    (said,) = decisions(together({**plain, "third": build([experiment("C", **own)])}))
    assert (said.code, said.where, said.count) == ("own-column-sample", "drug, therapy, third", 3)
    assert "rename the column" in said.message
    assert table(together({**plain, "third": build([experiment("C", **own)])}))["sample"].tolist()[:2] != [
        "drug",
        "therapy",
    ]
    # One sample alone has no built-in column.
    assert not decisions(together({"third": build([experiment("C", **own)])}))
