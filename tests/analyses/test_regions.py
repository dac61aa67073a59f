"""Inference in a region: against the slow reference, on the field case, and that nothing else is changed by it."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from support import reference
from support.commands import ale as ale_command
from support.real_data import SHARED

import ale_dask as ale
from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect import plan_main_effect
from ale_dask.analyses.sample import sample, study_bits
from ale_dask.config.inference import Inference
from ale_dask.config.study import Study, parse_study
from ale_dask.coordinates.decisions import decisions
from ale_dask.coordinates.masks import load_space, within
from ale_dask.coordinates.readers import read_foci
from ale_dask.errors import InputError
from ale_dask.numerics import correct
from ale_dask.numerics.space import Mask
from ale_dask.workflows import run as runs

VOXEL_P, ITERATIONS = 0.05, 40


def write_region(path: Path, *, corner: tuple[int, int, int] = (4, 6, 5), edge: int = 9) -> Path:
    """Write a cube of voxels on the grid of the tiny mask."""
    ball = nib.load(path.parent / "ball.nii.gz")
    volume = np.zeros(ball.shape, dtype=np.uint8)
    volume[tuple(slice(c, c + edge) for c in corner)] = 1
    nib.save(nib.Nifti1Image(volume, ball.affine), path)
    return path


@pytest.fixture
def region(tiny: Path) -> Path:
    return write_region(tiny / "region.nii.gz")


def settings_of(tiny: Path, **changes: object) -> dict[str, object]:
    base = {"mask": str(tiny / "ball.nii.gz"), "iterations": ITERATIONS, "voxel_p": VOXEL_P, "seed": 3, "min_volume": 0}
    return base | changes


def by_hand(tiny: Path, region: Path, settings: dict[str, object]) -> tuple[np.ndarray, int]:
    """Return the null (iteration, 3) in the region from the reference alone, and the cluster-forming value."""
    inference = Inference.model_validate(settings)
    chosen = sample(read_foci(tiny / "drug.txt"), mask=load_space(inference), inference=inference)
    bits = study_bits([chosen])
    plan = plan_main_effect(chosen, bits=bits, name="drug")
    ijk = chosen.mask.voxel_ijk.astype(int)
    inside = nib.load(region).get_fdata()[tuple(ijk.T)] > 0
    distinct, kernel = chosen.kernels
    values = [reference.stamp(s, support=4.0, bits=bits) for s in distinct]
    rows = []
    for iteration in range(ITERATIONS):
        drawn = [
            (values[k], ijk[reference.draw_voxels(int(key), iteration, len(ijk), int(n))].tolist())
            for k, key, n in zip(kernel, plan.draw_key, chosen.n_foci, strict=True)
        ]
        s = reference.permuted_sum(ijk[inside], drawn, additive=False)
        rows.append(reference.cluster_statistics(ijk[inside], s, plan.threshold))
    return np.array(rows), plan.threshold


def test_the_null_cuts_and_clusters_are_those_of_the_region_by_brute_force(tiny: Path, region: Path) -> None:
    settings = settings_of(tiny, search=str(region))
    null, threshold = by_hand(tiny, region, settings)
    result = ale.main_effect(read_foci(tiny / "drug.txt"), **settings)
    assert np.array_equal(result["null"].values, null)
    for i, name in enumerate(("cut_s", "cut_size", "cut_mass")):
        assert result.attrs[name] == correct.cut(null[:, i], alpha=0.05, rule="plus-one")
    inside = result["searched"].values
    ijk, s = result["voxel_ijk"].values, result["s"].values
    found = reference.clusters([tuple(v) for v in ijk[inside & (s >= threshold)].tolist()])
    assert sorted(result["cluster_size"].values.tolist()) == sorted(map(len, found))
    whole = ale.main_effect(read_foci(tiny / "drug.txt"), **settings_of(tiny))
    for name in ("ale", "s", "logp", "z"):
        assert np.array_equal(result[name].values, whole[name].values)
    assert whole.attrs["cut_size"] > result.attrs["cut_size"]
    for name in ("z_uncorrected", "z_size_fwe", "z_mass_fwe", "z_voxel_fwe", "z_fdr_bh", "z_fdr_by"):
        assert not result[name].values[~inside].any()
    p = 10.0 ** -result["logp"].values[inside].astype(float)
    ranked = np.sort(p)
    passing = np.flatnonzero(ranked <= 0.05 * np.arange(1, len(p) + 1) / len(p))
    kept = p <= ranked[passing[-1]] if passing.size else np.zeros(len(p), dtype=bool)
    assert np.array_equal(result["z_fdr_bh"].values[inside] != 0, kept)


def test_tfce_in_a_region_is_that_of_its_own_voxels(tiny: Path, region: Path) -> None:
    result = ale.main_effect(
        read_foci(tiny / "drug.txt"), **settings_of(tiny, search=str(region), correction="tfce", iterations=20)
    )
    inside = result["searched"].values
    whole = ale.main_effect(read_foci(tiny / "drug.txt"), **settings_of(tiny, correction="tfce", iterations=20))
    assert not result["tfce"].values[~inside].any()
    assert result["tfce"].values.max() > 0
    assert (result["tfce"].values <= whole["tfce"].values).all()
    assert (result["null"].values[:, 3] <= whole["null"].values[:, 3]).all()
    assert (result["null"].values[:, 3] < whole["null"].values[:, 3]).any()
    assert not result["z_tfce_fwe"].values[~inside].any()


def with_search(study: Study, region: Path, **changes: object) -> Study:
    inference = study.inference.model_copy(update={"search": str(region), "voxel_p": VOXEL_P, **changes})
    return study.model_copy(update={"inference": inference})


def digests(record: dict[str, dict[str, dict[str, str]]]) -> dict[str, str]:
    return {name: entry["digest"] for name, entry in record["analyses"].items() if entry["digest"]}


def test_a_region_that_is_the_whole_mask_changes_no_digest_and_another_does(
    tiny: Path, tiny_study: Study, tmp_path: Path, region: Path
) -> None:
    plain = tiny_study.model_copy(update={"inference": tiny_study.inference.model_copy(update={"voxel_p": VOXEL_P})})
    one = runs.run(plain, tmp_path / "plain", quiet=True)[1]
    same = runs.run(with_search(tiny_study, tiny / "ball.nii.gz"), tmp_path / "same", quiet=True)[1]
    other = runs.run(with_search(tiny_study, region), tmp_path / "other", quiet=True)[1]
    assert digests(same) == digests(one)
    identities = [{n: e["identity"] for n, e in r["analyses"].items()} for r in (one, same, other)]
    assert identities[0] == identities[1]
    assert all(identities[0][name] != identities[2][name] for name in identities[0])
    assert all(digests(one)[name] != digests(other)[name] for name in ("drug", "therapy"))


@pytest.mark.parametrize("gate", ["arms", "pooled", "none"])
def test_a_study_in_a_region_is_the_same_however_it_is_run_and_stays_inside(
    tiny_study: Study, tmp_path: Path, region: Path, gate: str
) -> None:
    study = with_search(tiny_study, region, gate=gate)
    found = []
    for name, backend in (("serial", {"name": "serial", "block_size": 16}), ("threads", {"name": "threads"})):
        run = study.model_copy(update={"backend": study.backend.model_copy(update=backend)})
        results, record = runs.run(run, tmp_path / name, quiet=True)
        found.append(digests(record))
    assert found[0] == found[1]
    inside = results["drug"]["searched"].values
    contrast, overlap = results["drug-vs-therapy"], results["drug-and-therapy"]
    assert np.isnan(contrast["p_greater"].values[~inside]).all()
    assert np.isfinite(contrast["p_greater"].values[inside]).any()
    assert not contrast["z_contrast"].values[:, ~inside].any()
    assert not overlap["z_min"].values[:, ~inside].any()
    assert overlap["z_min_unthresholded"].values[~inside].any()
    if gate == "none":
        assert contrast.attrs["candidates"] <= inside.sum()


def test_a_run_keeps_its_region_and_says_it_everywhere(tiny_study: Study, tmp_path: Path, region: Path) -> None:
    out = tmp_path / "out"
    study = with_search(tiny_study, region)
    results, record = runs.run(study, out, quiet=True)
    runs.write(results, record, out, study=study, pictures=False)
    region.unlink()
    again = runs.run(ale.load_study(out / "study.toml"), out, quiet=True)[1]
    assert digests(again) == digests(record)
    n = int(results["drug"]["searched"].values.sum())
    assert results["drug"].attrs["search_mm3"] == n * 64
    text = ale.cite(record)
    assert "small volume" in text
    assert f"{n:,} voxels of the mask, {n * 64:,} mm³" in text
    sidecar = json.loads(next(out.rglob("drug_*size*.json")).read_text())
    assert sidecar["Search"]["Voxels"] == n
    assert "small volume region.nii.gz" in sidecar["Controls"]
    assert model_of(results["drug"]).mask.search_sha256 == results["drug"].attrs["search_sha256"]


def test_a_contrast_over_the_mask_has_a_floor_and_kept_runs_have_none(tiny_study: Study, tmp_path: Path) -> None:
    def results(name: str, **changes: object) -> dict[str, xr.Dataset]:
        inference = tiny_study.inference.model_copy(update={"gate": "none", **changes})
        study = tiny_study.model_copy(update={"inference": inference})
        return runs.run(study, tmp_path / name, quiet=True)[0]

    found = results("floored")
    floored, whole = found["drug-vs-therapy"], results("whole", contrast_floor=0.0)["drug-vs-therapy"]
    pooled = found["drug-vs-therapy_pooled"]
    above = pooled["logp"].values > -np.log10(0.05)
    assert 0 < above.sum() < len(above)
    assert np.array_equal(np.isfinite(floored["p_greater"].values), above)
    assert np.isfinite(whole["p_greater"].values).all()
    assert np.array_equal(floored["p_greater"].values[above], whole["p_greater"].values[above])
    assert floored.attrs["identity"] != whole.attrs["identity"]
    assert "below 0.05" in floored.attrs["controls"]
    assert "hardly any focus" in whole.attrs["controls"]
    text = (tmp_path / "whole" / "study.toml").read_text()
    old = "\n".join(line for line in text.splitlines() if not line.startswith("contrast_floor"))
    assert parse_study(old, recorded=True).inference.contrast_floor == 0
    assert parse_study(old).inference.contrast_floor == 0.05
    for program in ("gingerale", "nimare", "matlab", "jale"):
        assert Inference.model_validate({"profile": program}).contrast_floor == 0


def test_variants_and_leave_one_out_look_in_the_region(tiny: Path, region: Path) -> None:
    inference = Inference.model_validate(settings_of(tiny, search=str(region)))
    chosen = sample(read_foci(tiny / "drug.txt"), mask=load_space(inference), inference=inference)
    plan = plan_main_effect(chosen, bits=study_bits([chosen]), name="drug")
    from ale_dask.analyses.sensitivity import variant_null

    both = variant_null.plan_variants(plan, [plan, plan], left_out=[(), ()], name="both")
    null = main_effects.block(plan, 0, 12)["null"]
    shared = variant_null.block(both, 0, 12)["null"]
    assert np.array_equal(variant_null.null_of(shared, 0), null)
    assert np.array_equal(variant_null.null_of(shared, 1), null)


def test_power_is_of_places_in_the_region(tiny: Path, region: Path) -> None:
    foci = read_foci(tiny / "drug.txt")
    small = ale.main_effect(foci, **settings_of(tiny, search=str(region), correction="voxel"))
    curve = ale.power(small, simulations=20, threads=2)
    assert 0 < curve["power"].values[-1] <= 1
    again = ale.power(small, simulations=20, threads=1)
    assert np.array_equal(curve["power"].values, again["power"].values)


def test_the_base_rate_null_looks_in_the_region(tiny: Path) -> None:
    # The literature's base rate is on the 2 mm grid around the origin, as the tiny mask is.
    region = write_region(tiny / "low.nii.gz", corner=(2, 2, 2), edge=8)
    foci = read_foci(tiny / "drug.txt")
    small = ale.main_effect(foci, **settings_of(tiny, search=str(region), null="both", iterations=20))
    whole = ale.main_effect(foci, **settings_of(tiny, null="both", iterations=20))
    inside = small["searched"].values
    one, other = small["null_base_rate"].values, whole["null_base_rate"].values
    assert (one <= other).all()
    assert (one < other).any()
    assert np.array_equal(small["z_base_rate"].values, whole["z_base_rate"].values)
    assert not small["base_rate_cluster_of_voxel"].values[~inside].any()
    assert not small["z_base_rate_size_fwe"].values[~inside].any()


def field_case() -> tuple[Path, Path]:
    folder = SHARED.parent / "field_cases"
    if not folder.is_dir():
        pytest.skip("the shared field cases are not beside this repository")
    return folder / "region_all_foci.txt", folder / "region_2mm.nii.gz"


def test_the_field_case_has_its_cluster_in_the_region() -> None:
    foci, region = field_case()
    result = ale.main_effect(read_foci(foci), search=str(region), iterations=500)
    assert result["cluster_size"].values.max() > 200
    assert 0.001 < result["cluster_size_p"].values.min() < 0.0101
    with pytest.raises(InputError, match=r"only 20 of 300 foci lie in mask .*--search"):
        ale.main_effect(read_foci(foci), mask=str(region), iterations=5)


def test_regions_of_another_grid_and_outside_the_mask() -> None:
    mask = Mask(np.ones((8, 8, 8), dtype=bool), np.diag([2.0, 2, 2, 1]))
    coarse = Mask(np.ones((2, 2, 2), dtype=bool), np.diag([4.0, 4, 4, 1]), name="coarse")
    found = within(mask, coarse)
    # Centres at 0 and 4 mm reach from -2 to 6 mm: the voxels at 0, 2, 4 and, by the tie to even, 6 mm or not.
    assert found.search is not None
    assert found.search.sum() in (27, 64)
    assert within(mask, mask) is mask
    far = Mask(np.ones((2, 2, 2), dtype=bool), np.array([[2.0, 0, 0, 90], [0, 2, 0, 90], [0, 0, 2, 90], [0, 0, 0, 1]]))
    with pytest.raises(InputError, match="none of its voxels lies in mask"):
        within(mask, far)


def test_a_region_partly_outside_the_mask_is_said(tiny: Path) -> None:
    path = write_region(tiny / "corner.nii.gz", corner=(0, 0, 0), edge=12)
    inference = Inference.model_validate(settings_of(tiny, search=str(path)))
    chosen = sample(read_foci(tiny / "drug.txt"), mask=load_space(inference), inference=inference, name="drug")
    said = [d.message for d in decisions(chosen.foci) if d.code == "image"]
    assert len(said) == 1
    assert "lie outside mask" in said[0]


def outside_foci(tiny: Path) -> xr.Dataset:
    text = (tiny / "drug.txt").read_text() + "\n// far 1\n// Subjects=12\n70 70 70\n"
    (tiny / "drug.txt").write_text(text)
    return read_foci(tiny / "drug.txt")


def test_foci_outside_are_kept_or_dropped_and_that_is_said(tiny: Path) -> None:
    foci = outside_foci(tiny)
    kept = ale.main_effect(foci, **settings_of(tiny))
    dropped = ale.main_effect(foci, **settings_of(tiny, outside="drop"))
    lost = kept.attrs["foci_outside_mask"]
    assert lost >= 1
    assert dropped.attrs["foci_outside_mask"] == 0
    assert dropped.attrs["n_foci"] == kept.attrs["n_foci"] - lost
    assert dropped.attrs["n_experiments"] == kept.attrs["n_experiments"] - 1
    (said,) = [d for d in decisions(dropped) if d.code == "outside-mask"]
    assert said.count == lost
    assert "1 experiment" in said.message
    assert not [d for d in decisions(kept) if d.code == "outside-mask"]


def test_one_experiment_is_no_main_effect(tiny: Path) -> None:
    (tiny / "one.txt").write_text("// Reference=MNI\n// A\n// Subjects=12\n0 0 0\n4 4 4\n")
    with pytest.raises(InputError, match="'A' is its only experiment with a focus"):
        ale.main_effect(read_foci(tiny / "one.txt"), **settings_of(tiny))


def command(*arguments: object, code: int) -> str:
    done = ale_command(*arguments, code=code)
    return done.stderr + done.stdout


def test_the_command_line_takes_a_region_and_refuses_what_is_none(tiny: Path, tmp_path: Path, region: Path) -> None:
    out = tmp_path / "out"
    command("run", tiny / "study.toml", "-o", out, "--search", region, "-q", "--no-pictures", code=0)
    assert (out / "search.nii.gz").read_bytes() == region.read_bytes()
    assert 'search = "search.nii.gz"' in (out / "study.toml").read_text()
    command("run", tiny / "study.toml", "-o", out, "-q", code=74)
    missing = command("check", tiny / "study.toml", "--search", tmp_path / "none.nii", code=65)
    assert "search" in missing
    assert "no such file" in missing
    (tiny / "one.txt").write_text("// Reference=MNI\n// A\n// Subjects=12\n0 0 0\n4 4 4\n")
    said = command("main-effect", tiny / "one.txt", "-o", tmp_path / "b", "--mask", tiny / "ball.nii.gz", code=65)
    assert "only experiment" in said
    assert "Traceback" not in said
    assert not (tmp_path / "b").exists()
