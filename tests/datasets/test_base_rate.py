"""The built-in base rate, images of one's own, and their density on any mask."""

import gzip
from importlib import resources

import nibabel as nib
import numpy as np
import pytest
from support.commands import ale
from support.real_data import shared
from support.studies import write_ball

from ale_dask.config.study import study_from
from ale_dask.coordinates.masks import load_mask
from ale_dask.coordinates.readers import read_foci
from ale_dask.datasets.base_rate import UNIFORM, Counts, density, load_counts, membership
from ale_dask.datasets.base_rate.fit import base_rate_findings
from ale_dask.errors import InputError
from ale_dask.numerics.space import Mask
from ale_dask.workflows.notices import study_notices


def image(path, volume, affine=None):
    nib.save(nib.Nifti1Image(volume, np.diag([4.0, 4, 4, 1]) if affine is None else affine), path)
    return path


class TestLiterature:
    def test_it_is_whole_numbers_on_the_brain_mask(self):
        counts, brain = load_counts(), load_mask("brain")
        assert np.array_equal(counts.affine, brain.affine)
        assert np.array_equal(counts.volume, np.rint(counts.volume))
        assert not counts.volume[~brain.volume].any()
        assert counts.volume.sum() == 434_281
        assert counts.volume.max() == 62

    def test_the_packaged_base_rate_takes_less_than_400_kb(self):
        folder = resources.files("ale_dask.datasets.base_rate")
        data = (folder / "literature.nii.gz").read_bytes()
        assert len(data) + len((folder / membership.FILE).read_bytes()) < 400_000
        assert gzip.decompress(data)

    def test_insula_and_amygdala_are_reported_more_often_than_temporal_pole(self):
        brain = load_mask("brain")
        w = density(brain) * brain.n_voxels
        places = np.array([[36, 22, -2], [-22, -4, -18], [-42, 8, -36], [-56, -24, -28], [0.0, 0, 0]])
        insula, amygdala, pole, temporal, middle = w[brain.voxel_at(places)]
        assert insula > amygdala > 3
        assert pole < 1
        assert temporal < 0.6
        # Where numbers that are no coordinates stood: 24.9 with them.
        assert middle < 4


class TestDensity:
    @pytest.mark.parametrize("name", ["brain", "gm"])
    def test_it_sums_to_one_and_no_voxel_is_impossible(self, name):
        mask = load_mask(name)
        w = density(mask)
        assert w.sum() == pytest.approx(1)
        assert w.min() >= UNIFORM / mask.n_voxels * (1 - 1e-9)

    def test_the_same_place_has_the_same_density_on_another_grid(self, tmp_path):
        write_ball(tmp_path / "ball.nii.gz", radius=12)
        coarse, brain = load_mask(tmp_path / "ball.nii.gz"), load_mask("brain")
        fine, w = density(brain), density(coarse)
        here = coarse.to_mm(coarse.voxel_ijk)
        near = brain.voxel_at(here)
        inside = near >= 0
        assert np.corrcoef(np.log(fine[near[inside]]), np.log(w[inside]))[0, 1] > 0.9

    def test_mass_is_kept_on_a_coarser_grid(self):
        volume = np.zeros((40, 40, 40))
        volume[18:22, 18:22, 18:22] = 5
        counts = Counts("own", volume, np.diag([2.0, 2, 2, 1]))
        affine = np.diag([6.0, 6, 6, 1])
        coarse = Mask(np.ones((13, 13, 13), dtype=bool), affine)
        w = (density(coarse, counts) - UNIFORM / 13**3) / (1 - UNIFORM)
        centre = (w[:, None] * coarse.to_mm(coarse.voxel_ijk)).sum(axis=0)
        assert np.allclose(centre, 39, atol=0.2)
        assert w.sum() == pytest.approx(1)

    def test_a_focus_is_spread_by_four_millimetres(self):
        volume = np.zeros((31, 31, 31))
        volume[15, 15, 15] = 7
        grid = np.diag([1.0, 1, 1, 1])
        w = density(Mask(np.ones((31, 31, 31), dtype=bool), grid), Counts("own", volume, grid)).reshape(31, 31, 31)
        w -= UNIFORM / 31**3
        assert w[17, 15, 15] / w[15, 15, 15] == pytest.approx(0.5, abs=0.01)

    def test_another_image_has_another_hash(self, tmp_path):
        one = np.zeros((9, 9, 9), dtype=np.int16)
        one[4, 4, 4] = 1
        a = load_counts(image(tmp_path / "a.nii.gz", one))
        b = load_counts(image(tmp_path / "b.nii.gz", 2 * one))
        assert len({a.sha256, b.sha256, load_counts().sha256}) == 3
        assert a.sha256 == load_counts(image(tmp_path / "c.nii.gz", one)).sha256


class TestWrongImages:
    @pytest.mark.parametrize(
        ("volume", "says"),
        [
            (np.full((3, 3, 3), -1.0, dtype=np.float32), "below 0"),
            (np.full((3, 3, 3), np.nan, dtype=np.float32), "no number"),
            (np.zeros((3, 3, 3), dtype=np.float32), "no voxel holds a focus"),
            (np.ones((3, 3, 3, 2), dtype=np.float32), "3-D"),
        ],
    )
    def test_they_are_told_by_name(self, tmp_path, volume, says):
        path = image(tmp_path / "own.nii.gz", volume)
        with pytest.raises(InputError, match=says) as told:
            load_counts(path)
        assert "own.nii.gz" in str(told.value)

    def test_a_missing_file_says_what_to_give(self):
        with pytest.raises(InputError, match="literature"):
            load_counts("nowhere.nii.gz")

    def test_text_is_no_image(self, tmp_path):
        (tmp_path / "own.nii.gz").write_text("no image")
        with pytest.raises(InputError, match="cannot be read"):
            load_counts(tmp_path / "own.nii.gz")

    def test_foci_elsewhere_are_told(self):
        far = np.diag([2.0, 2, 2, 1])
        far[:3, 3] = 5000
        volume = np.ones((3, 3, 3))
        with pytest.raises(InputError, match="no focus lies in the mask"):
            density(load_mask("brain"), Counts("own", volume, far))


def of_structure(path):
    foci = "10 20 30\n-20 4 8\n"
    names = ["Smith 2010: VBM patients < controls", "Jones 2011: deactivation in rest", "Lee 2012: n-back"]
    path.write_text("// Reference=MNI\n" + "\n".join(f"// {name}\n// Subjects=20\n{foci}" for name in names))
    return path


class TestFit:
    def test_structure_and_deactivations_are_told(self, tmp_path):
        found = base_rate_findings(read_foci(of_structure(tmp_path / "a.txt")))
        assert [f.code for f in found] == ["other-base-rate"] * 2
        assert "deactivations (first 'Jones" in found[0].message
        assert "brain structure (first 'Smith" in found[1].message
        assert all(f.message.startswith("1 of 3") for f in found)

    @pytest.mark.parametrize(("null", "times"), [("uniform", 0), ("both", 2)])
    def test_structural_samples_are_noticed_only_with_the_base_rate(self, tmp_path, null, times):
        path = of_structure(tmp_path / "a.txt")
        foci = {"a": {"files": [str(path)]}}
        analysis = {"a": {"kind": "main-effect", "foci": "a"}}
        study = study_from({"foci": foci, "analysis": analysis, "inference": {"null": null}})
        codes = [f.code for one in study_notices(study) for f in one.findings]
        assert codes.count("other-base-rate") == times


class TestMembership:
    def test_bytes_are_the_hashes(self):
        hashes = membership.database_hashes()
        assert hashes.shape == (14_284, 4)
        assert len(membership.packed(hashes)) == hashes.size * 3
        again = np.frombuffer(membership.packed(hashes), np.uint8).reshape(-1, 3).astype(int) @ [65536, 256, 1]
        assert np.array_equal(again, hashes.reshape(-1))

    def test_the_smallest_different_hashes_of_each_study(self):
        rng = np.random.default_rng(1)
        xyz = rng.integers(-60, 60, size=(40, 3)).astype(float)
        study = np.repeat([0, 1, 2], [30, 2, 8])
        xyz[31] = xyz[30]
        found = membership.smallest_hashes(study, xyz)
        hashes = membership.focus_hashes(xyz)
        assert found[0].tolist() == sorted(set(hashes[:30].tolist()))[:4]
        assert found[2].tolist() == sorted(set(hashes[32:].tolist()))[:4]
        assert found[1, 0] == hashes[30]
        assert (found[1, 1:] > hashes.max()).all()

    def test_two_foci_of_one_study_tell(self, tmp_path, monkeypatch):
        xyz = np.array([[10, 20, 30], [-20, 4, 8], [5, -60, 12], [40, 2, -14], [-33, 18, 2.0]])
        known = membership.smallest_hashes(np.array([0, 0, 1, 1, 1]), xyz)
        monkeypatch.setattr(membership, "database_hashes", lambda: known)
        rows = {"both of one": [0, 1], "one of each": [0, 2], "the same twice": [2, 2], "three": [2, 4, 3]}
        path = tmp_path / "a.txt"
        lines = ["// Reference=MNI"]
        for name, which in rows.items():
            lines += [f"// {name}", "// Subjects=20", *(" ".join(map(str, xyz[i])) for i in which), ""]
        path.write_text("\n".join(lines))
        assert membership.in_database(read_foci(path)).tolist() == [True, False, False, True]

    @pytest.mark.parametrize(
        ("name", "least", "most"),
        [("treatment_proxies/antidepressant_titles_N20.txt", 29, 30), ("reward_talairach/one.txt", 0, 3)],
    )
    def test_real_samples_are_found_in_the_base_rate(self, name, least, most):
        foci = read_foci(shared(name))
        number = int(membership.in_database(foci).sum())
        assert least <= number <= most
        told = [f for f in base_rate_findings(foci) if f.code == "in-base-rate"]
        assert len(told) == (number >= 0.25 * foci.sizes["experiment"])


def test_a_study_is_counted_as_its_samples_are_selected(tiny, tmp_path):
    mask, own, files = tiny / "ball.nii.gz", tmp_path / "own.nii.gz", tmp_path / "files.nii.gz"
    said = ale("base-rate", tiny, "-o", own, "--mask", mask).stdout
    ale("base-rate", tiny / "drug.txt", tiny / "therapy.txt", "-o", files, "--mask", mask)
    assert "of 14 experiments" in said
    assert own.read_bytes() == files.read_bytes()
    toml = (tiny / "study.toml").read_text()
    drop = 'files = "drug.txt"\nselect = [{exclude = "drug 1", why = "a test"}]'
    (tiny / "study.toml").write_text(toml.replace('files = "drug.txt"', drop))
    assert "of 13 experiments" in ale("base-rate", tiny / "study.toml", "-o", own, "--mask", mask).stdout
    ale("base-rate", tiny, "-o", own, "--space", "MNI", code=2)
