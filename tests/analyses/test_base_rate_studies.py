"""The base-rate null of whole studies: reading of a database, and a study that is run with it."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from support.commands import ale as command
from support.studies import one_place, write_one_place

import ale_dask as ale
from ale_dask.config.study import inference_from, load_study
from ale_dask.coordinates.masks import load_mask
from ale_dask.datasets.base_rate.studies import in_order, load_base_rate
from ale_dask.datasets.fetch import SOURCES
from ale_dask.errors import InputError
from ale_dask.workflows import maintain, run


def write_database(path, *, studies=230, seed=5):
    """Studies of 1 to 9 foci, each around a place of its own; one of them has a focus twice and one a numbered row."""
    rng = np.random.default_rng(seed)
    rows = ["study,space,x,y,z"]
    for i in range(studies):
        place = rng.uniform(-15, 15, 3)
        xyz = np.rint(place + rng.normal(0, 4, (int(rng.integers(1, 10)), 3))) + 0.5
        rows += [f"s{i},MNI," + ",".join(map(str, row)) for row in xyz.tolist()]
    path.write_text("\n".join([*rows, rows[-1], "s0,MNI,4,5,6", "s0,MNI,400,5,6"]) + "\n")
    return path


def toml(draw, size):
    return one_place(
        null="both",
        iterations=30,
        settings=f'seed = 3\nbase_rate = "database.csv"\nbase_rate_draw = "{draw}"',
        rest=f'[backend]\nname = "serial"\nblock_size = {size}',
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    write_one_place(path, number=8)
    write_database(path / "database.csv")
    for draw in ("foci", "studies"):
        for size in (7, 16):
            (path / f"{draw}-{size}.toml").write_text(toml(draw, size))
    return path


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    asked = load_study(folder / "studies-16.toml")
    results, record = run.run(asked, out, quiet=True)
    run.write(results, record, out, study=asked, pictures=False)
    return out, results["drug"], record


def digest(record):
    return record["analyses"]["drug"]["digest_base_rate"]


def settings(**changes):
    return inference_from({"null": "both", "base_rate_draw": "studies"} | changes)


class TestDatabase:
    def test_half_of_its_studies_are_drawn_and_the_others_make_the_density(self, folder):
        mask, path = load_mask(folder / "ball.nii.gz"), str(folder / "database.csv")
        found = load_base_rate(settings(base_rate=path), mask=mask)
        whole = load_base_rate(settings(base_rate=path, base_rate_draw="foci"), mask=mask)
        assert whole.studies is None
        assert found.studies.number == 115
        # The focus that is there twice, the numbered row and the one beyond the mask.
        assert found.studies.left_out == 3
        number = np.diff(found.studies.begin)
        assert (number > 0).all()
        assert (np.diff(number) >= 0).all()
        drawn = np.bincount(found.studies.voxel, minlength=mask.n_voxels)
        assert np.array_equal(drawn + found.counts.volume[mask.volume], whole.counts.volume[mask.volume])
        # Every other one in order of their numbers of foci: as many foci within a few.
        assert abs(drawn.sum() - found.counts.volume.sum()) < 10

    def test_neither_names_nor_the_order_of_rows_matter(self):
        rng = np.random.default_rng(3)
        study, voxel = rng.integers(0, 40, 300), rng.integers(0, 50, 300)
        first = in_order(study, voxel)
        mixed = rng.permutation(300)
        other = in_order(rng.permutation(40)[study[mixed]], voxel[mixed])
        assert first.sha256 == other.sha256
        voxel[0] += 1
        assert in_order(study, voxel).sha256 != first.sha256

    def test_too_few_studies_are_told(self, folder, tmp_path):
        path = write_database(tmp_path / "few.csv", studies=199)
        mask = load_mask(folder / "ball.nii.gz")
        with pytest.raises(InputError, match=r"few\.csv': has fewer than 200 studies.*base_rate_draw foci"):
            load_base_rate(settings(base_rate=str(path)), mask=mask)
        assert load_base_rate(settings(base_rate=str(path), base_rate_draw="foci"), mask=mask).studies is None

    def test_a_missing_file_is_told(self, folder):
        with pytest.raises(InputError, match=r"nowhere\.csv': no such file"):
            load_base_rate(settings(base_rate="nowhere.csv"), mask=load_mask(folder / "ball.nii.gz"))

    @pytest.mark.parametrize("name", ["literature", "own.nii.gz"])
    def test_what_is_no_database_is_told(self, name):
        with pytest.raises(InputError, match=f"database of studies, not '{name}'.*ale-dask fetch neurosynth"):
            settings(base_rate=name)

    def test_the_uniform_null_draws_none(self):
        with pytest.raises(InputError, match="base_rate_draw is not used with null uniform"):
            settings(null="uniform")


class TestByName:
    def test_what_is_not_fetched_says_the_command(self, folder, tmp_path, monkeypatch):
        monkeypatch.setenv("ALE_DASK_DATA", str(tmp_path / "none"))
        with pytest.raises(InputError, match=r"base_rate 'neuroquery': .*`ale-dask fetch neuroquery`"):
            load_base_rate(settings(base_rate="neuroquery"), mask=load_mask(folder / "ball.nii.gz"))

    def test_what_is_fetched_is_read_and_goes_with_the_run(self, folder, tmp_path, monkeypatch, done):
        source, cache = SOURCES["neurosynth"], tmp_path / "cache"
        (cache / "neurosynth").mkdir(parents=True)
        rows = [line.split(",") for line in (folder / "database.csv").read_text().splitlines()[1:]]
        foci = "\n".join(["id\tx\ty\tz", *("\t".join([row[0], *row[2:]]) for row in rows)]) + "\n"
        studies = "id\ttitle\tspace\n" + "".join(f"s{i}\tA study\tUNKNOWN\n" for i in range(230))
        for name, text in {source.coordinates: foci, source.metadata: studies}.items():
            (cache / "neurosynth" / name).write_bytes(gzip.compress(text.encode()))
        monkeypatch.setenv("ALE_DASK_DATA", str(cache))
        path = folder / "named.toml"
        path.write_text((folder / "studies-16.toml").read_text().replace("database.csv", "neurosynth"))
        results, record = run.run(load_study(path), tmp_path / "o", quiet=True)
        assert digest(record) == digest(done[2])
        assert results["drug"].attrs["base_rate"] == "neurosynth"
        assert ale.cite(record).count("Neurosynth database") == 1
        monkeypatch.setenv("ALE_DASK_DATA", str(tmp_path / "none"))
        _, again, _ = run.collect(tmp_path / "o")
        assert again["drug"]["null_base_rate"].equals(results["drug"]["null_base_rate"])


class TestRun:
    def test_same_bits_in_blocks_of_another_size(self, folder, tmp_path, done):
        _, record = run.run(load_study(folder / "studies-7.toml"), tmp_path / "o", quiet=True)
        assert digest(record) == digest(done[2])

    def test_both_draws_are_kept_apart(self, folder, tmp_path, done):
        """The folder of a run refuses a null with other draws, as it does with any other setting."""
        out = tmp_path / "o"
        run.run(load_study(folder / "foci-16.toml"), out, quiet=True)
        told = command("run", folder / "studies-16.toml", "-o", out, "-q", code=74)
        assert "base_rate_studies" in told.stderr

    def test_a_run_is_verified_and_collected_from_its_folder_alone(self, folder, done):
        assert (done[0] / "base_rate.csv").is_file()
        assert maintain.verify(done[0], blocks=2) == []
        _, again, record = run.collect(done[0])
        assert again["drug"]["null_base_rate"].equals(done[1]["null_base_rate"])
        assert digest(record) == digest(done[2])

    def test_page_and_methods_say_what_was_drawn(self, done):
        page = (done[0] / "report.html").read_text()
        assert "each experiment the foci of one of 115 studies" in page
        assert "3 of the database that a study has twice" in page
        text = ale.cite(done[2])
        assert "every experiment was given the foci of one study of this database" in text
        assert "the foci of the studies in “database.csv”" in text

    def test_the_option_reaches_the_study_and_refuses_unknown_values(self, folder, tmp_path):
        out = tmp_path / "o"
        words = ["main-effect", folder / "drug.txt", "-o", out, "-q", "--no-pictures", "-i", 5, "--null", "both"]
        words += ["--mask", folder / "ball.nii.gz", "--base-rate", folder / "database.csv", "--base-rate-draw"]
        command(*words, "studies")
        assert load_study(out / "study.toml").inference.base_rate_draw == "studies"
        assert "base_rate_draw" in command(*words, "whole", "--overwrite", code=65).stderr
