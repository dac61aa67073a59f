"""Every term of a database as one run: the nulls of each set alone, any order, any backend, after any crash."""

from __future__ import annotations

import io
import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.commands import ale as command
from support.databases import PLACE, plan_of_terms, write_database
from support.faults import local_workers
from support.slurm import wait_until

import ale_dask as ale
from ale_dask.analyses import literature as sets_of
from ale_dask.analyses.literature import LiteraturePlan
from ale_dask.config.backend import Backend
from ale_dask.config.inference import Inference
from ale_dask.coordinates.foci import subset
from ale_dask.coordinates.masks import load_mask, load_space
from ale_dask.errors import InputError
from ale_dask.execution.plan import digest
from ale_dask.reporting.html.literature_page import png_of
from ale_dask.workflows import literature
from ale_dask.workflows.follow import submitted
from ale_dask.workflows.literature_runs import (
    About,
    collect_literature,
    create_literature,
    run_literature,
)
from ale_dask.workflows.maintain import verify
from ale_dask.workflows.status import status

SERIAL = Backend(name="serial")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a made-up database with terms into the cache."""
    monkeypatch.setenv("ALE_DASK_DATA", str(tmp_path / "data"))
    return write_database(tmp_path / "data")


@pytest.fixture
def inference(tiny: Path) -> Inference:
    """Return settings on a small mask."""
    return Inference(mask=str(tiny / "ball.nii.gz"), iterations=40, seed=3, null="both", voxel_p=0.01)


def ran(plan: LiteraturePlan, out: Path, *, backend: Backend = SERIAL) -> tuple[list[sets_of.SetResult], str]:
    """Return what a run of the sets of a plan in OUT says of each, and its digest."""
    create_literature(plan, out, About("terms", (), ()), backend=backend)
    told = run_literature(out, quiet=True)
    results, sha256 = collect_literature(out, plan)
    assert told["sha256"] == sha256
    return results, sha256


def test_each_set_has_the_nulls_of_its_experiments_alone(data: Path, inference: Inference, tmp_path: Path) -> None:
    plan = plan_of_terms(inference)
    assert list(plan.names) == ["fear", "motor", "brain", "random 1", "random 2"]
    results, _ = ran(plan, tmp_path / "out")
    foci, notes = literature.database("neurosynth")
    assert any("240 experiments state no sample size: n = 20" in note for note in notes)
    (fear,) = [each for each in literature.term_sets(foci, "neurosynth") if each.name == "fear"]
    assert len(fear.experiments) == 60
    study = literature.study_of(foci, fear, inference)
    study.write(tmp_path / "fear")
    (alone,) = ale.run(ale.load_study(tmp_path / "fear" / "study.toml"), tmp_path / "fear" / "out", quiet=True)[
        0
    ].values()
    told = results[0].numbers
    for null, name in (("uniform", "null"), ("base-rate", "null_base_rate")):
        first = bytes.fromhex(digest(alone[name].values))[:8]
        assert told[f"{null} digest"] == int.from_bytes(first, "little", signed=True)
    p = alone["cluster_size_p"].values
    assert told["uniform found"] == int((p <= 0.05).sum()) > 0
    at = min(results[0].clusters, key=lambda c: np.linalg.norm(np.array(c.peak) - PLACE))
    assert np.linalg.norm(np.array(at.peak) - PLACE) < 8
    surviving = (alone["z_size_fwe"].values > 0).sum()
    assert told["uniform voxels"] == surviving


def test_a_run_goes_on_where_it_was_stopped(data: Path, inference: Inference, tmp_path: Path) -> None:
    plan = plan_of_terms(inference, most=12)
    _, whole = ran(plan, tmp_path / "out")
    chunks = sorted((tmp_path / "out" / "store.zarr").rglob("c/*/*"))
    assert len(chunks) == len(plan.names)
    for chunk in chunks[1::2]:
        chunk.unlink()
    written = chunks[0].stat().st_mtime_ns
    assert run_literature(tmp_path / "out", quiet=True)["sha256"] == whole
    assert chunks[0].stat().st_mtime_ns == written
    assert verify(tmp_path / "out", blocks=1) == []
    chunks[0].write_bytes(b"damaged")
    assert "1 block(s) of segment 0 missing or damaged" in "".join(verify(tmp_path / "out", blocks=1))


@pytest.mark.slow
def test_a_submitted_run_loses_a_worker_and_its_driver_and_no_bit(
    data: Path, inference: Inference, tmp_path: Path
) -> None:
    plan, out = plan_of_terms(inference, most=12, random=9), tmp_path / "out"
    _, whole = ran(plan, tmp_path / "whole")
    create_literature(plan, out, About("terms", (), ()), backend=SERIAL)

    def done() -> int:
        return len(list((out / "store.zarr").rglob("c/*/*")))

    command("submit", out, "-o", out, "-b", "processes", "-w", 2)
    submission = submitted(out)
    assert submission is not None
    assert submission.pid is not None
    wait_until(lambda: done() > 0, seconds=1200, what="a set")
    local_workers(submission.pid)[-1].kill()
    before = done()
    wait_until(lambda: done() > before, seconds=1200, what="another set")
    os.killpg(submission.pid, signal.SIGKILL)
    assert done() < 12
    command("collect", out, code=74)
    command("block", out, 11)
    assert done() == status(out)[0].done
    shown = command("status", out).stdout
    assert re.search(rf"^atlas +{done()} of +12 sets", shown, re.M)
    assert (f"wait: {12 - done()} of 12 sets are missing" if done() < 12 else "enough: all sets are there") in shown
    assert json.loads(command("run", out, "-o", out, "-b", "serial", "-q", "--json").stdout)["sha256"] == whole
    assert json.loads(command("collect", out, "--json").stdout)["sha256"] == whole


def test_sets_of_a_database_are_no_study(data: Path, inference: Inference, tmp_path: Path) -> None:
    plan, out = plan_of_terms(inference), tmp_path / "out"
    create_literature(plan, out, About("terms", (), ()), backend=SERIAL)
    assert "holds sets of a database and no study" in command("evidence", out, code=74).stderr
    assert "leave out seed" in command("run", out, "-o", out, "--seed", 2, code=65).stderr
    assert "#SBATCH" in command("submit", out, "-o", out, "-b", "slurm-array", "-n").stdout
    (out / "atlas.json").write_text("{}")
    assert "damaged or changed" in command("status", out, code=74).stderr
    (out / "study.toml").write_text("")
    with pytest.raises(InputError, match="holds a run of a study"):
        create_literature(plan, out, About("terms", (), ()), backend=SERIAL)


def test_views_show_what_lies_behind_each_pixel(data: Path, inference: Inference) -> None:
    mask = load_space(inference)
    codes = np.random.default_rng(1).integers(0, 4, mask.n_voxels) * (np.arange(mask.n_voxels) % 50 == 0)
    views = sets_of._unpacked(sets_of._views(codes, mask), mask)
    for (a, b), view in zip(sets_of.PLANES, views, strict=True):
        expected = np.zeros_like(view)
        for voxel, code in zip(mask.voxel_ijk // 2, codes, strict=True):
            expected[voxel[a], voxel[b]] |= code
        np.testing.assert_array_equal(view, expected)


def test_pictures_have_the_right_of_the_subject_on_the_right() -> None:
    mask = load_mask("brain")
    codes = np.where(mask.to_mm(mask.voxel_ijk) @ (1, 1, 1) > 60, 3, 0)
    picture = png_of(sets_of._unpacked(sets_of._views(codes, mask), mask), mask)
    colours = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    found = (colours == (0xB2, 0x18, 0x2B)).all(axis=2)
    brain = found | (colours == (225, 228, 232)).all(axis=2)
    # Forwards, right and up: to the right and to the top in each of the three views.
    for begin, end in ((0, 55), (57, 103), (105, 151)):
        (row, column), (rows, columns) = np.nonzero(found[:, begin:end]), np.nonzero(brain[:, begin:end])
        assert column.mean() > columns.mean() + 3
        assert row.mean() < rows.mean() - 3


def test_the_page_has_every_set_and_says_what_sets_of_regions_are(load_script, tiny: Path, tmp_path, capsys) -> None:
    script, out = load_script("atlas"), tmp_path / "out"
    settings = tmp_path / "settings.toml"
    settings.write_text(f'[inference]\nmask = "{tiny / "ball.nii.gz"}"\nvoxel_p = 0.01\n[backend]\nname = "serial"\n')
    foci = tmp_path / "foci.csv"
    rng = np.random.default_rng(2)
    rows = ["study,space,x,y,z"]
    for i in range(12):
        rows += [f"S{i},MNI,{x:.1f},{y:.1f},{z:.1f}" for x, y, z in rng.normal((12, 4, 0), 6, (4, 3))]
    foci.write_text("\n".join(rows) + "\n")
    given = [str(foci), "-o", str(out), "--sets", "regions", "--least", "8", "--control", "1", "-i", "20"]
    script.run(script.options_of([*given, "--settings", str(settings), "--plan", "--json"]))
    plan = json.loads(capsys.readouterr().out)
    assert {"sets", "experiments", "time", "bytes", "1,000 workers"} <= set(plan)
    assert not out.exists()
    with pytest.raises(InputError, match="--study Nowhere: no such set"):
        script.run(script.options_of([*given, "--settings", str(settings), "--study", "Nowhere"]))
    script.run(script.options_of([*given, "--settings", str(settings), "--store"]))
    assert "5 sets" not in capsys.readouterr().out
    assert [each.done for each in status(out)] == [0]
    script.run(script.options_of([*given, "--settings", str(settings), "--json"]))
    told = json.loads(capsys.readouterr().out)
    page = (out / "report.html").read_text()
    assert "always finds its place" in page
    assert "random 1" in page
    assert told["sha256"] in page
    names = [line.split("\t")[0] for line in (out / "sets.tsv").read_text().splitlines()[1:]]
    assert len(names) == sum(told["counts"]["Sets with a significant cluster"].values()) + 1
    for name in names:
        assert f">{name}</a>" in page
    assert len(list((out / "sets").glob("*.tsv"))) == len(names)


def test_what_cannot_be_asked_is_said(data: Path, inference: Inference) -> None:
    foci, _ = literature.database("neurosynth")
    with pytest.raises(InputError, match="no term has 500 experiments or more; the most is 240"):
        literature.term_sets(foci, "neurosynth", least=500)
    sets = literature.term_sets(foci, "neurosynth")
    with pytest.raises(InputError, match="by cluster size against both nulls"):
        literature.prepare_literature(foci, sets, inference=inference.model_copy(update={"null": "uniform"}))


def test_random_sets_have_as_many_experiments_and_about_as_many_foci(data: Path) -> None:
    foci, _ = literature.database("neurosynth")
    sets = literature.at_most(literature.term_sets(foci, "neurosynth"), 50, seed=1)
    assert [len(each.experiments) for each in sets] == [50, 50, 50]
    for drawn in literature.random_sets(sets, 3, foci=foci, seed=1):
        assert len(np.unique(drawn.experiments)) == 50
        keep = np.isin(np.arange(foci.sizes["experiment"]), drawn.experiments)
        assert subset(foci, keep).sizes["experiment"] == 50
        # All studies have three foci: neighbours in the database are no likelier than others.
        assert drawn.experiments.max() - drawn.experiments.min() > 150
