"""The base-rate null of a study: stored, resumed, extended and verified as any other null, beside the uniform one."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
from support.commands import ale as command
from support.runs import MACHINES
from support.studies import experiments, one_place, write_ball, write_one_place, write_sample

import ale_dask as ale
from ale_dask.analyses import base_rate_result
from ale_dask.analyses.findings.model import mask_of as ale_mask
from ale_dask.config.study import inference_from, load_study
from ale_dask.errors import InputError, StoreError
from ale_dask.workflows import maintain, run, sweep


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    write_one_place(path, number=8)
    return path


def toml(null="both", **more):
    return one_place(null=null, iterations=60, settings="seed = 3", **more)


def study(folder, *, null="both", backend=None, **changes):
    path = folder / f"{null}.toml"
    path.write_text(toml(null))
    found = load_study(path)
    inference = inference_from(found.inference.model_dump() | changes)
    settings = {"name": "serial", "block_size": 16} | (backend or {})
    return found.model_copy(update={"inference": inference, "backend": found.backend.model_copy(update=settings)})


def digests(asked, out):
    _, record = run.run(asked, out, quiet=True)
    entry = record["analyses"]["drug"]
    return entry["digest"], entry.get("digest_base_rate")


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    results, record = run.run(study(folder), out, quiet=True)
    run.write(results, record, out, study=study(folder), pictures=False)
    return out, results["drug"], record


@pytest.fixture(scope="module")
def reference(done):
    entry = done[2]["analyses"]["drug"]
    return entry["digest"], entry["digest_base_rate"]


def test_the_uniform_result_is_what_it_is_alone(folder, tmp_path, done, reference):
    alone, _ = run.run(study(folder, null="uniform"), tmp_path / "o", quiet=True)
    assert digests(study(folder, null="uniform"), tmp_path / "o") == (reference[0], None)
    for name, variable in alone["drug"].data_vars.items():
        assert variable.identical(done[1][name]) or variable.equals(done[1][name]), name
    assert alone["drug"].attrs["identity"] == done[1].attrs["identity"]


@pytest.mark.parametrize(
    "backend",
    [{"block_size": 1}, {"block_size": 7}, {"name": "threads", "workers": 2}, {"name": "processes", "workers": 2}],
    ids=str,
)
def test_same_bits_on_any_backend_and_block_size(folder, tmp_path, reference, backend):
    assert digests(study(folder, backend=backend), tmp_path / "o") == reference


def test_same_bits_when_a_run_is_made_longer(folder, tmp_path, reference):
    out = tmp_path / "o"
    digests(study(folder, iterations=25), out)
    assert digests(study(folder), out) == reference
    assert sum(1 for _ in (out / "plans" / "drug_base-rate").glob("[0-9].json")) == 2


def test_same_bits_in_python_as_from_a_study(folder, done):
    asked = study(folder).inference.model_dump(exclude={"mask", "until_decided", "fwhm"})
    result = ale.main_effect(ale.read_foci(folder / "drug.txt"), mask=str(folder / "ball.nii.gz"), name="drug", **asked)
    assert np.array_equal(result["null_base_rate"], done[1]["null_base_rate"])
    assert np.array_equal(result["z_base_rate"], done[1]["z_base_rate"])


def test_a_base_rate_can_be_asked_of_a_uniform_run(folder, tmp_path, reference):
    """The main effect's own blocks stay: only those of the other null are computed."""
    out = tmp_path / "o"
    digests(study(folder, null="uniform"), out)
    begun = {path: path.stat().st_mtime_ns for path in (out / "store.zarr" / "drug").rglob("*") if path.is_file()}
    assert digests(study(folder), out) == reference
    assert begun == {path: path.stat().st_mtime_ns for path in begun}


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_digests(folder, tmp_path, reference):
    text = (folder / "both.toml").read_text() + "[backend]\nname = 'serial'\nblock_size = 1\n"
    (folder / "killed.toml").write_text(text)
    out = tmp_path / "o"
    command = [sys.executable, "-m", "ale_dask.cli", "run", str(folder / "killed.toml"), "-o", str(out), "-q"]
    process = subprocess.Popen([*command, "--no-pictures"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    done, deadline = 0, time.monotonic() + 1200
    while done < 5 and process.poll() is None and time.monotonic() < deadline:
        done = len(list((out / "store.zarr").glob("drug_base-rate/null/*/c/*/0")))
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert 5 <= done < 60
    assert digests(study(folder, backend={"block_size": 1}), out) == reference


@pytest.mark.slow
def test_plain_kernels_give_the_same_bits(folder, tmp_path, reference):
    out = tmp_path / "o"
    command = [sys.executable, "-m", "ale_dask.cli", "run", str(folder / "both.toml"), "-o", str(out), "-q"]
    environment = {**os.environ, **MACHINES["plain"]}
    subprocess.run([*command, "--no-pictures"], check=True, env=environment, capture_output=True)
    assert digests(study(folder), out) == reference


def test_tfce_adds_a_statistic_and_changes_no_other(folder, tmp_path, done):
    results, record = run.run(study(folder, correction="tfce"), tmp_path / "o", quiet=True)
    null = results["drug"]["null_base_rate"]
    assert null["base_rate_statistic"].values.tolist() == ["max_z", "max_size", "max_mass", "max_tfce"]
    assert np.array_equal(null.values[:, :3], done[1]["null_base_rate"].values)
    other = study(folder, correction="tfce", backend={"name": "threads", "workers": 2, "block_size": 7})
    entry = record["analyses"]["drug"]
    assert digests(other, tmp_path / "threads") == (entry["digest"], entry["digest_base_rate"])


def test_verify_finds_a_changed_block(done, tmp_path):
    out = tmp_path / "o"
    shutil.copytree(done[0], out)
    assert maintain.verify(out, blocks=100) == []
    for path in (out / "store.zarr" / "drug_base-rate" / "null").glob("*/c/0/0"):
        path.unlink()
    with pytest.raises(StoreError, match="drug_base-rate"):
        run.collect(out)


def test_collect_reads_it_from_the_folder_alone(done):
    out, result, record = done
    _, again, told = run.collect(out)
    assert again["drug"]["null_base_rate"].equals(result["null_base_rate"])
    assert told["analyses"]["drug"]["digest_base_rate"] == record["analyses"]["drug"]["digest_base_rate"]


def test_what_it_says_of_the_clusters_is_what_the_maps_hold(done):
    _, result, _ = done
    null = result["null_base_rate"].values
    label = result["base_rate_cluster_of_voxel"].values
    z = result["z_base_rate"].values
    assert label.max() >= 1
    for number in range(1, label.max() + 1):
        inside = label == number
        size = int(result["base_rate_cluster_size"][number - 1])
        assert size == inside.sum()
        assert result["base_rate_cluster_peak"][number - 1] / 4096 == pytest.approx(z[inside].max(), abs=1e-5)
        p = (1 + (null[:, 1] >= size).sum()) / (1 + len(null))
        assert float(result["base_rate_cluster_size_p"][number - 1]) == p
        assert (result["z_base_rate_size_fwe"].values[inside] > 0).all() == (p <= 0.05)
    kept = result["z_base_rate_size_fwe"].values != 0
    for number in range(1, result.sizes["cluster"] + 1):
        inside = result["cluster_of_voxel"].values == number
        assert float(result["cluster_base_rate_share"][number - 1]) == pytest.approx(kept[inside].mean())
        beside = np.unique(label[inside & (label > 0)]) - 1
        least = result["base_rate_cluster_size_p"].values[beside].min(initial=1.0)
        assert float(result["cluster_base_rate_size_p"][number - 1]) == least


def test_clusters_are_of_voxels_at_or_above_the_threshold_shown(done):
    _, result, _ = done
    ale, least = result["ale"].values, result["base_rate_threshold"].values
    # The map is float32, and what decides are integers.
    near = np.abs(ale - least) < 1e-6
    inside = result["base_rate_cluster_of_voxel"].values > 0
    assert np.array_equal((ale >= least)[~near], inside[~near])


def test_clusters_found_here_alone_meet_no_other(done):
    _, result, _ = done
    kept = result["z_base_rate_size_fwe"].values != 0
    none = np.zeros(len(kept), dtype=bool)
    assert np.array_equal(base_rate_result.only_against_base_rate(result, none), kept)
    assert not base_rate_result.only_against_base_rate(result, kept).any()


def test_an_image_of_ones_own_goes_with_the_run(folder, tmp_path, own):
    path = folder / "own.toml"
    path.write_text(toml().replace("[analysis", 'base_rate = "own.nii.gz"\n[analysis', 1))
    out = tmp_path / "o"
    asked = load_study(path)
    results, record = run.run(asked, out, quiet=True)
    assert record["inference"]["base_rate"] == "own.nii.gz"
    assert (out / "base_rate.nii.gz").is_file()
    own.rename(folder / "elsewhere.nii.gz")
    _, again, _ = run.collect(out)
    (folder / "elsewhere.nii.gz").rename(own)
    assert again["drug"]["null_base_rate"].equals(results["drug"]["null_base_rate"])
    assert results["drug"].attrs["base_rate"] == "own.nii.gz"


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"null": "uniform", "base_rate": "own.nii.gz"}, "base_rate is not used"),
            ({"null": "none"}, "null"),
        ],
    )
    def test_what_does_not_go_together_is_told(self, changes, says):
        with pytest.raises(InputError, match=says):
            inference_from({"null": "both"} | changes)

    def test_profiles_of_other_programs_are_uniform(self):
        for profile in ("gingerale", "nimare", "matlab", "jale"):
            assert inference_from({"profile": profile}).null == "uniform"

    def test_the_name_of_the_null_is_kept(self, folder, tmp_path):
        path = folder / "names.toml"
        more = '[analysis.drug_base-rate]\nkind = "main-effect"\nfoci = "drug"\n'
        path.write_text(toml() + more)
        with pytest.raises(InputError, match="kept for the base-rate null of 'drug'"):
            run.run(load_study(path), tmp_path / "o", quiet=True)


@pytest.fixture(scope="module")
def alone(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "out"
    asked = study(folder, null="base-rate")
    results, record = run.run(asked, out, quiet=True)
    run.write(results, record, out, study=asked, pictures=False)
    return out, results["drug"]


class TestWhatIsAskedLater:
    """Of a run that the base rate alone decides: it is about the uniform test, and says so."""

    def test_fail_safe_against_a_null_that_the_run_lacks_exits_65(self, alone):
        told = command("fail-safe", alone[0], "-q", "--null", "uniform", code=65)
        assert "was run with null base-rate" in told.stderr


@pytest.mark.parametrize("null", ["both", pytest.param("base-rate", marks=pytest.mark.slow)])
def test_what_is_asked_of_a_run_later_resumes_and_says_what_the_base_rate_leaves(tmp_path, null):
    write_ball(tmp_path / "ball.nii.gz")
    write_sample(tmp_path / "drug.txt", experiments(4, number=3, planted=(12, 4, 0), prefix="drug"))
    (tmp_path / "study.toml").write_text(toml(null).replace("[analysis", "cluster_p = 0.9\n[analysis", 1))
    out = tmp_path / "o"
    command("run", tmp_path / "study.toml", "-o", out, "-b", "serial", "-q", "--no-pictures")
    told = command("leave-one-out", out, "-b", "serial")
    assert "drug: the thresholds against the base rate of 4 samples take " in told.stderr
    assert ("against the base rate, cluster" in told.stdout) == (null == "both")
    written = (out / "drug" / "drug_leave-out-group.tsv").read_text()
    passes = {path.name for path in (out / "store.zarr").glob("*without-group")}
    assert passes == {"drug_base-rate_without-group"} | ({"drug_without-group"} if null == "both" else set())
    (chunk,) = (out / "store.zarr" / "drug_base-rate_without-group").glob("null/*/c/0/0")
    chunk.unlink()
    command("leave-one-out", out, "-b", "serial", "-q")
    assert (out / "drug" / "drug_leave-out-group.tsv").read_text() == written
    told = command("fail-safe", out, "--max", 2, "--series", 2, "-i", 30, "-b", "serial")
    assert "drug, against the base rate: up to 2 noise experiments beside 3, 2 series" in told.stderr
    assert re.search(r"^drug 1, against the base rate, .* mm³ at .*: N ", told.stdout, re.M)
    assert bool(re.search(r"^drug 1, [\d,]+ mm³ at .*: N ", told.stdout, re.M)) == (null == "both")
    files = {path.name for path in (out / "drug").glob("*fail-safe*.tsv")}
    assert files == {"drug_fail-safe-base-rate.tsv"} | ({"drug_fail-safe.tsv"} if null == "both" else set())
    command("collect", out, "--no-pictures")
    page = (out / "report.html").read_text()
    assert "<summary>Fail-safe N against the base rate" in page
    assert ("<summary>Fail-safe N: how many" in page) == (null == "both")


@pytest.fixture(scope="module")
def own(folder):
    """An image of numbers of foci beside the study, most of them in one place."""
    counts = np.zeros((23, 23, 23), dtype=np.int16)
    counts[5:18, 5:18, 5:18] = 1
    counts[14, 12, 11] = 40
    image = nib.load(folder / "ball.nii.gz")
    nib.save(nib.Nifti1Image(counts[: image.shape[0]], image.affine), folder / "own.nii.gz")
    return folder / "own.nii.gz"


def test_a_contrast_tests_every_voxel_that_survives_the_base_rate_in_its_arms(tiny_study, tmp_path):
    """Where little is reported, the threshold against the base rate lies below that of the uniform null."""
    changes = {"null": "base-rate", "iterations": 30, "cluster_p": 0.9, "contrast_p": 0.9}
    asked = tiny_study.model_copy(update={"inference": tiny_study.inference.model_copy(update=changes)})
    results, _ = run.run(asked, tmp_path / "o", quiet=True)
    found = results["drug-vs-therapy"]
    arms = [results[name] for name in ("drug", "therapy")]
    for arm, p in zip(arms, (found["p_greater"].values, found["p_less"].values), strict=True):
        assert np.isfinite(p[arm["z_base_rate_size_fwe"].values != 0]).all()
    beyond = [(arm["z_base_rate_size_fwe"].values != 0) & (arm["s"].values < arm.attrs["threshold"]) for arm in arms]
    assert any(where.any() for where in beyond)
    pooled = results["drug-vs-therapy_pooled"]["z_base_rate_size_fwe"].values != 0
    tested = np.isfinite(found["p_voxel_fwe_greater"].sel(input="cluster-fwe").values)
    assert np.array_equal(tested, pooled)
    alone = ale.contrast(*arms, pooled=results["drug-vs-therapy_pooled"], name="drug-vs-therapy")
    for name in ("p_greater", "p_voxel_fwe_greater", "z_contrast"):
        np.testing.assert_array_equal(alone[name].values, found[name].values)


class TestTables:
    """The long table and comparisons say which null a cluster and its p are of."""

    def test_a_long_table_has_what_the_base_rate_says_of_each_cluster(self, folder, done):
        _, result, record = done
        table = ale.long_table([("o", study(folder), {"drug": result}, record)])
        uniform = table[table["level"] == "cluster-size"]
        assert uniform["against"].tolist() == ["uniform"] * len(uniform)
        numbers = result["cluster_of_voxel"].values[_at(result, uniform)] - 1
        for what in ("size", "mass", "peak"):
            wanted = result[f"cluster_base_rate_{what}_p"].values[numbers]
            assert uniform[f"p_{what}_base_rate"].tolist() == wanted.tolist()
        share = result["cluster_base_rate_share"].values[numbers]
        assert uniform["share_base_rate"].tolist() == pytest.approx(share.tolist())
        assert (uniform["survives_base_rate"] == "yes").tolist() == (share > 0).tolist()
        second = table[table["level"] == "base-rate-cluster-size"]
        assert second["against"].tolist() == ["base-rate"] * len(second)
        numbers = result["base_rate_cluster_of_voxel"].values[_at(result, second)] - 1
        assert second["p_size"].tolist() == result["base_rate_cluster_size_p"].values[numbers].tolist()
        assert second["p_size"].tolist() == second["p_size_base_rate"].tolist()
        assert second["cut_base_rate_size_voxels"].tolist() == [result.attrs["base_rate_cut_size"]] * len(second)
        assert set(table["digest_base_rate"]) == {record["analyses"]["drug"]["digest_base_rate"]}

    def test_the_pooled_arms_of_a_contrast_have_no_base_rate_rows(self, tiny_study, tmp_path):
        asked = tiny_study.model_copy(
            update={"inference": tiny_study.inference.model_copy(update={"null": "both", "iterations": 20})}
        )
        results, record = run.run(asked, tmp_path / "o", quiet=True)
        table = ale.long_table([("o", asked, results, record)])
        rows = table[table["level"] == "base-rate-cluster-size"]
        assert set(rows["analysis"]) == {"drug", "therapy"}

    def test_where_it_decides_alone_the_primary_rows_are_its(self, folder, done, alone):
        record = json.loads((alone[0] / "run.json").read_text())
        table = ale.long_table([("o", study(folder, null="base-rate"), {"drug": alone[1]}, record)])
        whole = ale.long_table([("o", study(folder), {"drug": done[1]}, done[2])])
        rows = table[table["level"] == "cluster-size"]
        assert set(rows["against"]) == {"base-rate"}
        assert rows["p_size"].tolist() == whole[whole["level"] == "base-rate-cluster-size"]["p_size"].tolist()
        listed = table[table["level"] == "uncorrected"]
        assert set(listed["against"]) == {"uniform"}
        assert listed["survives"].tolist() == (listed["share_base_rate"] > 0).map({True: "yes", False: "no"}).tolist()

    def test_like_is_compared_with_like(self, done, alone):
        found = ale.compare(done[1], alone[1])
        summary = found.summary.set_index("level")
        assert summary.index[0] == "cluster-size | base-rate-cluster-size"
        assert (summary.loc[["cluster-size", "base-rate-cluster-size", "voxel", "uncorrected"], "dice"] == 1).all()
        rows = found.clusters.set_index("level")
        of_base_rate = rows.loc[["base-rate-cluster-size"]]
        assert of_base_rate["p_1"].tolist() == of_base_rate["p_2"].tolist()
        assert set(of_base_rate["p_1"]) <= set(done[1]["base_rate_cluster_size_p"].values)
        of_uniform = rows.loc[["cluster-size"]]
        assert set(of_uniform["p_base_rate_2"]) <= set(done[1]["cluster_base_rate_size_p"].values)
        assert of_uniform["share_base_rate_1"].tolist() == of_uniform["share_base_rate_2"].tolist()
        assert found.settings["setting"].tolist() == ["null"]


def _at(result, rows):
    """The voxels (row) of the peaks in a table."""
    grid = ale_mask(result)
    return grid.voxel_at(rows[["x", "y", "z"]].to_numpy(dtype=float))


AXES = '[sweep]\nnull = ["uniform", "both", "base-rate"]\nbase_rate = ["literature", "own.nii.gz"]\n'


def test_a_sweep_over_the_null_and_the_base_rate(folder, tmp_path, own, reference):
    """A cell has the results of a run of its own; the six cells share one uniform pass and one pass per base rate."""
    path = folder / "axes.toml"
    path.write_text(toml() + AXES)
    swept = load_study(path)
    swept = swept.model_copy(update={"backend": study(folder).backend})
    whole, record = sweep.sweep(swept, tmp_path / "o", quiet=True)
    assert record["axes"]["base_rate"] == ["literature", "own.nii.gz"]
    assert str(folder) not in whole.to_csv()
    found = {label: cell["digests"] for label, cell in record["cells"].items()}
    assert list(found)[1] == "null=uniform,base_rate=own.nii.gz"
    alone = study(folder, base_rate=str(own))
    of_own = digests(alone, tmp_path / "alone")
    for label, (main, second) in zip(found, [reference, of_own] * 3, strict=True):
        wanted = {"drug": main} if "uniform" in label else {"drug": main, "drug_base-rate": second}
        assert found[label] == wanted, label
    assert sorted(one["kind"] for one in record["passes"].values()) == ["base-rate", "base-rate", "main-effect"]
    again = load_study(tmp_path / "o" / "sweep.toml")
    kept = tmp_path / "o" / "base_rate" / "1" / "own.nii.gz"
    assert again.sweep["base_rate"] == ["literature", str(kept)]
    assert kept.read_bytes() == own.read_bytes()


def test_a_base_rate_of_the_study_has_no_say_where_the_command_line_asks_for_the_uniform_null(folder, tmp_path, own):
    path = folder / "own.toml"
    path.write_text(toml().replace("[analysis", 'base_rate = "own.nii.gz"\n[analysis', 1))
    command("run", path, "-o", tmp_path / "o", "--null", "uniform", "--no-pictures", "-b", "serial", "-q")
    assert json.loads((tmp_path / "o" / "run.json").read_text())["inference"]["null"] == "uniform"
    both = command("run", path, "-o", tmp_path / "o", "--null", "uniform", "--base-rate", own, code=65)
    assert "base_rate is not used with null uniform" in both.stderr
