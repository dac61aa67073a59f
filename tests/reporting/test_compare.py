"""Comparison of two runs: every number equals brute force, and runs that cannot be compared are refused."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from support.commands import ale
from support.runs import with_backend, with_inference
from support.studies import write_tiny

import ale_dask
from ale_dask.analyses.findings.clusters import find_clusters
from ale_dask.analyses.findings.matching import CHANGES, matched
from ale_dask.config.study import load_study
from ale_dask.errors import InputError
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.extra import PICTURES, missing_extra
from ale_dask.reporting.common.maps import find_map_spec
from ale_dask.reporting.compare.files import as_tsv, comparison_lines, overlay, write_comparison
from ale_dask.reporting.compare.runs import compare
from ale_dask.storage.location import remove
from ale_dask.workflows import run

N = 12
BOX = Mask(np.ones((N, N, N), dtype=bool), np.diag([2.0, 2.0, 2.0, 1.0]), name="box")


def boxes(*corners: tuple[int, ...], peak: tuple[int, int, int] | None = None) -> Any:
    """Return the clusters of a map of boxes (x0, x1, y0, y1, z0, z1), the first voxel the highest, or `peak`."""
    volume = np.zeros((N, N, N))
    for x0, x1, y0, y1, z0, z1 in corners:
        volume[x0:x1, y0:y1, z0:z1] = 1
    if peak is not None:
        volume[peak] = 2
    return find_clusters(volume[BOX.volume], mask=BOX)


def changes(first: Any, second: Any) -> list[str]:
    return sorted(change for change, _, _ in matched(first, second))


ONE, OTHER, LONG = (0, 3, 0, 3, 0, 3), (6, 9, 0, 3, 0, 3), (0, 9, 0, 3, 0, 3)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (boxes(ONE), boxes(ONE), ["stays"]),
        (boxes(ONE), boxes((1, 4, 0, 3, 0, 3)), ["stays"]),
        # The same voxels, the peak 16 mm along: over 8 mm; and at 8 mm it is still there.
        (boxes(LONG), boxes(LONG, peak=(8, 0, 0)), ["moves"]),
        (boxes(LONG), boxes(LONG, peak=(4, 0, 0)), ["stays"]),
        # No voxel in common, but next to it: 6 mm; and too far: 12 mm.
        (boxes(ONE), boxes((3, 6, 0, 3, 0, 3)), ["moves"]),
        (boxes(ONE), boxes(OTHER), ["appears", "vanishes"]),
        (boxes(LONG), boxes(ONE, OTHER), ["splits", "splits"]),
        (boxes(ONE, OTHER), boxes(LONG), ["merges", "merges"]),
        (
            boxes((0, 5, 0, 1, 0, 1), (6, 9, 0, 1, 0, 1)),
            boxes((0, 2, 0, 1, 0, 1), (3, 9, 0, 1, 0, 1)),
            ["regroups"] * 3,
        ),
        (boxes(), boxes(ONE), ["appears"]),
        (boxes(ONE), boxes(), ["vanishes"]),
        (boxes(), boxes(), []),
    ],
)
def test_a_cluster_stays_moves_splits_merges_appears_or_vanishes(first: Any, second: Any, expected: list[str]) -> None:
    assert changes(first, second) == expected


def test_of_clusters_without_a_common_voxel_each_has_at_most_its_nearest_partner() -> None:
    first = boxes((0, 1, 0, 1, 0, 1))
    second = boxes((2, 3, 0, 1, 0, 1), (0, 1, 3, 4, 0, 1))
    rows = {change: (i, j) for change, i, j in matched(first, second)}
    assert set(rows) == {"moves", "appears"}
    assert rows["moves"][1].peak_mm.tolist() == [4, 0, 0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.3, 0.75))
def test_partners_are_those_that_share_a_voxel_and_changes_those_of_their_groups(seed: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(2, N, N, N)), (0, 1.2, 1.2, 1.2))
    second = 0.7 * smooth[0] + 0.7 * smooth[1]
    maps = [np.where(v > level * v.max(), v, 0)[BOX.volume] for v in (smooth[0], second)]
    ours, theirs = (find_clusters(m, mask=BOX) for m in maps)
    rows = matched(ours, theirs)
    sets = [[set(c.voxels.tolist()) for c in side] for side in (ours, theirs)]
    position = {id(c): k for side in (ours, theirs) for k, c in enumerate(side)}
    pairs = {(position[id(i)], position[id(j)]): change for change, i, j in rows if i is not None and j is not None}
    touching = {(i, j) for i, j in itertools.product(range(len(ours)), range(len(theirs))) if sets[0][i] & sets[1][j]}
    assert touching <= set(pairs)
    assert all(pairs[apart] == "moves" for apart in set(pairs) - touching)
    groups = components(touching)
    for i, j in touching:
        n, m = next((len(left), len(right)) for left, right in groups if i in left)
        wanted = {(False, False): {"stays", "moves"}, (False, True): {"splits"}, (True, False): {"merges"}}
        assert pairs[i, j] in wanted.get((n > 1, m > 1), {"regroups"})
    # Every cluster is in some row, and one that stands alone in exactly one.
    for side, column in ((ours, 1), (theirs, 2)):
        assert {id(row[column]) for row in rows if row[column] is not None} == {id(c) for c in side}
    both = overlay(*maps)
    assert int((both == 3).sum()) == len(set.union(set(), *sets[0]) & set.union(set(), *sets[1]))


def components(edges: set[tuple[int, int]]) -> list[tuple[set[int], set[int]]]:
    groups: list[tuple[set[int], set[int]]] = []
    for i, j in edges:
        mine = [g for g in groups if i in g[0] or j in g[1]]
        groups = [g for g in groups if g not in mine]
        groups.append(({i}.union(*(g[0] for g in mine)), {j}.union(*(g[1] for g in mine))))
    return groups


@pytest.fixture(scope="module")
def outs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two finished runs of the tiny study, the second with another seed and a looser cluster-forming p."""
    folder = tmp_path_factory.mktemp("compare")
    study = with_backend(load_study(write_tiny(folder / "tiny") / "study.toml"), name="serial", block_size=60)
    for name, changed in (("one", {}), ("two", {"seed": 4, "voxel_p": 0.03})):
        run.run(with_inference(study, **changed), folder / name, quiet=True)
    return [folder / "one", folder / "two"]


@pytest.fixture(scope="module")
def both(outs: list[Path]) -> list[dict[str, xr.Dataset]]:
    return [run.collect(out)[1] for out in outs]


def test_a_run_beside_itself_stays_as_it_is(both: list[dict[str, xr.Dataset]]) -> None:
    found = compare(both[0], both[0])
    assert set(found.clusters["change"]) == {"stays"}
    assert (found.clusters[["dice", "shift_mm", "mm3_change"]] == [1, 0, 0]).all(axis=None)
    assert set(found.summary["dice"].dropna()) == {1.0}
    assert (found.summary["clusters_1"] == found.summary["stays"]).all()
    assert (found.maps["largest_difference"] == 0).all()
    np.testing.assert_allclose(found.maps["correlation"], 1)
    assert found.settings.empty


def test_dice_counts_and_maps_are_those_of_brute_force(both: list[dict[str, xr.Dataset]]) -> None:
    found = compare(*both)
    assert set(found.summary["analysis"]) == set(both[0])
    assert found.summary["voxels_both"].gt(0).sum() > 3
    for row in found.summary.to_dict("records"):
        a, b = (side[row["analysis"]] for side in both)
        spec = find_map_spec(a, level=row["level"], source=row["input"])
        sign = -1 if row["direction"] == "therapy > drug" else 1
        kept = [set(np.flatnonzero(sign * spec.read(r) > 0).tolist()) for r in (a, b)]
        assert [row["voxels_1"], row["voxels_2"], row["voxels_both"]] == [*map(len, kept), len(kept[0] & kept[1])]
        total = len(kept[0]) + len(kept[1])
        assert row["dice"] == pytest.approx(2 * len(kept[0] & kept[1]) / total) if total else np.isnan(row["dice"])
        for side, n in enumerate("12"):
            volume = np.zeros(tuple(a.attrs["shape"]), dtype=bool)
            volume[tuple(a["voxel_ijk"].values.T)] = sign * spec.read((a, b)[side]) > 0
            assert row[f"clusters_{n}"] == ndimage.label(volume)[1]
    ale_map = found.maps[(found.maps["analysis"] == "drug") & (found.maps["map"] == "ALE")]
    # Neither seed nor threshold moves the observed ALE.
    assert ale_map["largest_difference"].item() == 0


def test_rows_hold_the_clusters_own_sizes_p_and_shift(both: list[dict[str, xr.Dataset]]) -> None:
    found = compare(*both).clusters
    drug = found[(found["analysis"] == "drug") & (found["level"] == "uncorrected")]
    for side, results in zip("12", both, strict=True):
        table = ale_dask.cluster_table(results["drug"], source="uncorrected")
        table = table[table["Cluster Size (mm3)"].notna()].set_index("Cluster ID")
        mine = drug[drug[f"cluster_{side}"].notna()]
        assert set(mine[f"cluster_{side}"].astype(str)) == set(table.index)
        for row in mine.to_dict("records"):
            one = table.loc[str(row[f"cluster_{side}"])]
            assert row[f"mm3_{side}"] == one["Cluster Size (mm3)"]
            assert row[f"p_{side}"] == one["p size FWE"]
            assert [row[f"{axis}_{side}"] for axis in "xyz"] == list(one[["X", "Y", "Z"]])
    pairs = drug[drug["dice"].notna()]
    assert len(pairs)
    apart = [np.hypot(np.hypot(r.x_2 - r.x_1, r.y_2 - r.y_1), r.z_2 - r.z_1) for r in pairs.itertuples()]
    np.testing.assert_allclose(pairs["shift_mm"], apart)
    contrast = found[(found["analysis"] == "drug-vs-therapy") & (found["level"] == "uncorrected")]
    assert contrast["p_1"].dropna().between(0, 0.05).all()


def test_settings_that_differ_are_said_once_and_thresholds_per_analysis(both: list[dict[str, xr.Dataset]]) -> None:
    told = compare(*both).settings
    everywhere = told[told["analysis"] == ""].set_index("setting")
    assert everywhere.loc["voxel_p"].tolist()[1:] == ["0.01", "0.03"]
    assert everywhere.loc["seed"].tolist()[1:] == ["3", "4"]
    assert "threshold_ale" in set(told[told["analysis"] == "drug"]["setting"])
    assert not told["setting"].isin(["mask", "iterations", "cluster_p"]).any()


def test_two_corrections_are_compared_with_each_other(both: list[dict[str, xr.Dataset]]) -> None:
    other = both[0]["drug"].copy()
    other.attrs["inference"] = other.attrs["inference"].replace('"cluster-size"', '"voxel"')
    found = compare(both[0]["drug"], other).summary
    primary = found[found["primary"] == "yes"]
    assert primary["level"].tolist() == ["cluster-size | voxel"]
    assert primary["voxels_2"].item() == int((other["z_voxel_fwe"] != 0).sum())


def test_two_results_are_compared_whatever_their_names(both: list[dict[str, xr.Dataset]], tmp_path: Path) -> None:
    found = ale_dask.compare(both[0]["drug"], both[0]["therapy"])
    assert set(found.summary["analysis"]) == {"drug | therapy"}
    assert found.maps.set_index("map").loc["ALE", "correlation"] < 0.99
    write_comparison(found, tmp_path, pictures=False)
    assert len(list(tmp_path.iterdir())) == 4


def test_what_cannot_be_compared_is_refused(both: list[dict[str, xr.Dataset]]) -> None:
    with pytest.raises(InputError, match=r"no analysis is in both runs: drug \(main-effect\) in the first, therapy"):
        compare({"drug": both[0]["drug"]}, {"therapy": both[1]["therapy"]})
    with pytest.raises(InputError, match="no analysis is in both"):
        compare(both[0]["drug"], both[0]["drug-vs-therapy"])
    with pytest.raises(InputError, match=r"drug: the masks differ \(mask"):
        compare(both[0], {"drug": both[1]["drug"].assign_attrs(mask_sha256="other")})
    turned = both[1]["drug-vs-therapy"].assign_attrs(arms=["therapy", "drug"])
    with pytest.raises(InputError, match="the other way round"):
        compare(both[0], {"drug-vs-therapy": turned})
    with pytest.raises(InputError, match="no result"):
        compare(xr.Dataset(), both[0]["drug"])
    # What only one side has is said beside what both have.
    told = compare(both[0], {"drug": both[1]["drug"]}).settings
    row = told[(told["analysis"] == "therapy") & (told["setting"] == "kind")]
    assert row[["value_1", "value_2"]].to_numpy().tolist() == [["main-effect", "not there"]]


def test_the_command_writes_tables_and_json(outs: list[Path], tmp_path: Path) -> None:
    done = ale("compare", *outs, "-o", tmp_path / "deep", "--json", "--no-pictures")
    whole = json.loads(done.stdout)
    written = pd.read_csv(tmp_path / "deep" / "comparison_summary.tsv", sep="\t", keep_default_na=False)
    assert list(CHANGES) == list(written.columns[-len(CHANGES) :])
    assert len(whole["summary"]) == len(written)
    assert {row["change"] for row in whole["clusters"]} <= set(CHANGES)
    assert len(list((tmp_path / "deep").iterdir())) == 4


def test_a_comparison_is_said_in_lines(both: list[dict[str, xr.Dataset]]) -> None:
    said = comparison_lines(compare(*both))
    (drug,) = (line for line in said if line.startswith("drug [uncorrected]"))
    assert re.search(r"Dice 0\.\d{3}, \d+ and \d+ voxels, \d+ in both; clusters: \d+ ", drug)
    assert "drug [ALE]: r 1.0000, largest difference 0 at -36 0 0" in said
    assert "all: voxel_p 0.01 | 0.03" in said
    # A sentence first, then the maps, those least alike first.
    assert re.match(
        r"The two runs agree least in .+ \(Dice 0\.\d{3}\).*: of \d+ clusters? in the first and \d+ ", said[0]
    )
    assert said[0].endswith("What differs is voxel_p.") or "voxel_p" in said[0].partition("What differs is")[2]
    alike = [float(each[1]) for line in said[1:] if (each := re.search(r"\]: Dice (\d\.\d{3})", line))]
    assert len(alike) > 2
    assert alike == sorted(alike)
    (same,) = comparison_lines(compare(both[0], both[0]))[:1]
    assert same == "The two runs find the same voxels at their primary corrections. No setting differs."


def test_maps_that_hold_anything_are_drawn(both: list[dict[str, xr.Dataset]], tmp_path: Path) -> None:
    if missing_extra(*PICTURES):
        pytest.skip(f"no pictures: {missing_extra(*PICTURES)}")
    name = "drug-vs-therapy"
    contrast = [side[name].copy() for side in both]
    for side in contrast:
        for variable in ("z_contrast", "z_contrast_voxel_fwe"):
            # Only the second arm is greater, and at one input only.
            kept = np.minimum(side[variable], 0)
            side[variable] = kept.where(kept["input"] == "uncorrected", 0)
    write_comparison(compare(*({name: side} for side in contrast)), tmp_path, names=("/home/somebody/one", "two"))
    (picture,) = tmp_path.glob("*.png")
    assert picture.name == f"{name}_z_desc-group1MinusGroup2_input-uncorrected_desc-less.png"
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_an_empty_map_has_no_picture_and_an_old_one_goes(both: list[dict[str, xr.Dataset]], tmp_path: Path) -> None:
    if missing_extra(*PICTURES):
        pytest.skip(f"no pictures: {missing_extra(*PICTURES)}")
    old = tmp_path / "drug_z_desc-size_level-cluster_corr-FWE_method-montecarlo.png"
    old.write_bytes(b"old")
    empty = both[0]["drug"].copy()
    for name in ("z_size_fwe", "z_uncorrected"):
        empty[name] = xr.zeros_like(empty[name])
    written = write_comparison(compare(empty, empty), tmp_path)
    assert not old.exists()
    assert [path.suffix for path in written] == [".tsv"] * 4
    row = compare(empty, empty).summary.set_index("level").loc["uncorrected"]
    assert np.isnan(row["dice"])
    assert row["clusters_1"] == 0


def test_colours_tell_one_run_from_the_other_and_both() -> None:
    assert overlay(np.array([0, 1, 0, 2, -1]), np.array([0, 0, 3, 1, -2])).tolist() == [0, 1, 2, 3, 0]
    assert overlay(np.array([0, 1, -1, -1]), np.array([0, 0, 0, -2]), sign=-1).tolist() == [0, 0, 1, 3]


def test_tables_are_read_back(both: list[dict[str, xr.Dataset]]) -> None:
    found = compare(*both)
    again = pd.read_csv(StringIO(as_tsv(found.clusters).decode()), sep="\t", keep_default_na=False, na_values=[""])
    assert again["change"].tolist() == found.clusters["change"].tolist()
    np.testing.assert_allclose(again["dice"], found.clusters["dice"], rtol=1e-5)


def test_an_unfinished_run_and_none_are_told_with_74(outs: list[Path], tmp_path: Path) -> None:
    assert "holds no run" in ale("compare", outs[0], tmp_path / "nothing", code=74).stderr
    half = tmp_path / "half"
    shutil.copytree(outs[1], half)
    remove(half / "store.zarr")
    message = ale("compare", outs[0], half, "-o", tmp_path / "to", code=74).stderr
    assert str(half) in message
    assert not (tmp_path / "to").exists()
