"""Every term of a database as one run: the nulls of each set alone, any order, any backend, after any crash."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.databases import PLACE, write_database

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


def plan_of(inference: Inference) -> LiteraturePlan:
    """Return the plan of the terms of 40 studies or more, and of two random sets."""
    foci = literature.independent(literature.database("neurosynth")[0], inference)
    sets = literature.term_sets(foci, "neurosynth")
    sets = [*sets, *literature.random_sets(sets, 2, foci=foci, seed=1)]
    return literature.prepare_literature(foci, sets, inference=inference)


def test_each_set_has_the_nulls_of_its_experiments_alone(data: Path, inference: Inference, tmp_path: Path) -> None:
    plan = plan_of(inference)
    assert list(plan.names) == ["fear", "motor", "brain", "random 1", "random 2"]
    results, _ = literature.run_literature(plan, tmp_path / "out", backend=SERIAL, quiet=True)
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


def test_a_run_goes_on_where_it_was_stopped_and_any_backend_gives_its_digest(
    data: Path, inference: Inference, tmp_path: Path
) -> None:
    plan = plan_of(inference)
    _, whole = literature.run_literature(plan, tmp_path / "out", backend=SERIAL, quiet=True)
    chunks = sorted((tmp_path / "out" / "store.zarr").rglob("c/*/*"))
    assert len(chunks) == len(plan.names)
    for chunk in chunks[1::2]:
        chunk.unlink()
    written = chunks[0].stat().st_mtime_ns
    _, again = literature.run_literature(plan, tmp_path / "out", backend=SERIAL, quiet=True)
    assert again == whole
    assert chunks[0].stat().st_mtime_ns == written
    threads = Backend(name="threads", workers=2)
    assert literature.run_literature(plan, tmp_path / "other", backend=threads, quiet=True)[1] == whole


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
