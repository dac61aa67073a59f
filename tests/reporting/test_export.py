"""Results in other programs' files: opened and read by these programs where they are installed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from support.commands import ale
from support.samples import MASK, sample

import ale_dask
from ale_dask.analyses.api_main_effect import main_effect
from ale_dask.config.study import inference_from
from ale_dask.coordinates.foci import Experiment, build
from ale_dask.coordinates.readers import read_foci
from ale_dask.errors import InputError
from ale_dask.reporting.export.files import PROGRAMS, corrected_p, export, nimare_dataset, two_sided
from ale_dask.reporting.export.gingerale import COLUMNS, threshold_name
from ale_dask.reporting.tables.comparisons import contrast_table

Study = dict[str, xr.Dataset]


@pytest.fixture(scope="module")
def folders(study: Study, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("export")
    for to in PROGRAMS:
        assert export(study, out / to, to=to, simulated=True)
    return {to: out / to for to in PROGRAMS}


@pytest.fixture(scope="module")
def nimare(load_script: Any) -> Path:
    """Return the Python of the environment that scripts/bench keeps NiMARE in, or skip."""
    kept = load_script("benchmarks/environments.py").cache_folder()
    python = Path(os.environ.get("ALE_DASK_BENCH") or kept) / "nimare" / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"NiMARE is not here ({python}); scripts/bench makes it, ALE_DASK_BENCH names its folder")
    return python


def values(path: Path) -> Any:
    return np.asarray(nib.load(path).dataobj)[MASK.volume]


def test_nilearn_opens_every_image_on_our_grid(folders: dict[str, Path]) -> None:
    load_img = pytest.importorskip("nilearn.image").load_img
    images = [path for folder in folders.values() for path in folder.rglob("*.nii*")]
    assert len(images) > 40
    for path in images:
        image = load_img(path)
        np.testing.assert_array_equal(image.affine, MASK.affine)
        assert np.isfinite(image.get_fdata()).all(), path
        assert b"SIMULATED" in image.header["descrip"].item()


def test_neurovault_gets_unthresholded_maps_and_the_fields_that_it_asks_for(
    study: Study, folders: dict[str, Path]
) -> None:
    base = folders["neurovault"]
    images = json.loads((base / "images.json").read_text())
    files = {image["file"]: image for image in images}
    assert set(files) == {path.name for path in base.glob("*.nii.gz")}
    assert {"drug_z.nii.gz", "drug_stat.nii.gz", "nowhere_z_desc-conjunctionUnthresholded.nii.gz"} <= set(files)
    kinds = {name: image["map_type"] for name, image in files.items()}
    assert (kinds["drug_z.nii.gz"], kinds["drug_stat.nii.gz"]) == ("Z", "Other")
    assert kinds["contrast_p_desc-group1MinusGroup2.nii.gz"] == "P"
    for name, image in files.items():
        assert {"name", "description", "map_type", "modality", "analysis_level", "target_template_image"} <= set(image)
        assert (image["analysis_level"], image["modality"]) == ("M", "Other")
        assert image["description"].startswith("SIMULATED DATA. ")
        # A thresholded map has a value in few voxels, one of these in more than half.
        outside = 1 if image["map_type"] == "P" else 0
        shown = (values(base / name) != outside).mean()
        assert shown > 0.5 or name.startswith(("contrast_p", "nowhere", "overlap")), (name, shown)
    assert files["drug_z.nii.gz"]["number_of_subjects"] == study["drug"].attrs["n_subjects"]
    np.testing.assert_allclose(values(base / "drug_z.nii.gz"), study["drug"]["z"])
    collection = json.loads((base / "collection.json").read_text())
    assert {"name", "description"} == set(collection)
    assert "pooled" not in collection["name"]


def test_nimare_maps_hold_what_nimare_saves_under_these_names(study: Study, folders: dict[str, Path]) -> None:
    drug, base = study["drug"], folders["nimare"] / "drug"
    names = {path.name.removesuffix(".nii.gz") for path in base.glob("*.nii.gz")}
    mc = "corr-FWE_method-montecarlo"
    levels = ("level-voxel", "desc-size_level-cluster", "desc-mass_level-cluster")
    assert names == {f"drug_{what}" for what in ("stat", "p", "z", "logp", "label_tab-clust_corr-FWE")} | {
        f"drug_{what}_{level}_{mc}" for what in ("logp", "z") for level in levels
    }
    np.testing.assert_allclose(values(base / "drug_stat.nii.gz"), drug["ale"])
    p = values(base / "drug_p.nii.gz")
    np.testing.assert_allclose(-np.log10(p), values(base / "drug_logp.nii.gz"), atol=1e-5)
    null = drug["null"].sel(statistic="max_s").values
    for voxel in (int(np.argmax(drug["s"].values)), 0, 1000):
        wanted = (1 + (null >= int(drug["s"][voxel])).sum()) / (1 + len(null))
        assert corrected_p(drug, "voxel")[voxel] == pytest.approx(wanted)
        logp = values(base / f"drug_logp_level-voxel_{mc}.nii.gz")[voxel]
        assert logp == pytest.approx(-np.log10(wanted), abs=1e-6)
    z = values(base / f"drug_z_desc-size_level-cluster_{mc}.nii.gz")
    labels = drug["cluster_of_voxel"].values
    assert not z[labels == 0].any()
    for k, p_cluster in enumerate(drug["cluster_size_p"].values, 1):
        np.testing.assert_allclose(z[labels == k], max(stats.norm.isf(p_cluster), 0), rtol=1e-6)


def test_a_contrast_has_the_sign_of_its_difference_and_p_of_both_sides(study: Study, folders: dict[str, Path]) -> None:
    contrast, base = study["contrast"], folders["nimare"] / "contrast" / "contrast"
    p, z = two_sided(contrast)
    tested = np.isfinite(contrast["p_greater"].values)
    assert tested.any()
    assert (p[~tested] == 1).all()
    assert not z[~tested].any()
    np.testing.assert_allclose(2 * stats.norm.sf(np.abs(z[p < 1])), p[p < 1])
    surely = p < 0.01
    assert surely.any()
    assert (np.sign(z[surely]) == np.sign(contrast["difference"].values[surely])).all()
    np.testing.assert_allclose(values(Path(f"{base}_z_desc-group1MinusGroup2.nii.gz")), z, rtol=1e-6)


def test_nimare_reads_the_dataset_and_computes_our_z_from_our_p(folders: dict[str, Path], nimare: Path) -> None:
    base = folders["nimare"] / "drug" / "drug"
    code = """
import json, sys, warnings
warnings.simplefilter("ignore")
import nibabel as nib, numpy as np
from nimare.dataset import Dataset
from nimare.nimads import Studyset
from nimare.transforms import p_to_z
base = sys.argv[1]
dataset = Dataset(base + "_dataset.json", target=None, mask=nib.load(base + "_label_tab-clust_corr-FWE.nii.gz"))
Studyset.from_dataset(dataset)
frame = dataset.coordinates
read = lambda what: nib.load(f"{base}_{what}.nii.gz").get_fdata()
print(json.dumps({
    "ids": dataset.ids.tolist(),
    "xyz": frame[["x", "y", "z"]].astype(float).values.tolist(),
    "of": frame["id"].tolist(),
    "n": [int(n) for (n,) in dataset.metadata["sample_sizes"]],
    "apart": float(np.abs(p_to_z(read("p"), tail="one") - read("z")).max()),
}))
"""
    done = subprocess.run([nimare, "-W", "ignore", "-c", code, base], capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    foci = sample("drug", [(-18.0, -18.0, 2.0)])
    assert len(said["ids"]) == foci.sizes["experiment"]
    assert sorted(said["n"]) == sorted(foci["experiment_n_subjects"].values.tolist())
    assert sorted(said["xyz"]) == sorted(foci["focus_xyz"].values.tolist())
    assert len(set(said["of"])) == len(said["ids"])
    # z is stored as float32, p too: it says z to 1e-5.
    assert said["apart"] < 1e-4


def test_a_dataset_keeps_studies_contrasts_tags_moderators_and_what_has_no_focus() -> None:
    columns = {"patients": "yes", "age": "31.5"}
    made = [
        Experiment("Smith 2010; faces", 12, ((1.5, 2, 3),), "MNI", "a:1", columns),
        Experiment("Smith 2010; 1", 12, ((4, 5, 6), (7, 8, 9)), "MNI", "a:2", {"patients": "no", "age": ""}),
        Experiment("Smith 2010", None, (), "MNI", "a:3", {"patients": "no", "age": "20"}),
    ]
    studies = json.loads(nimare_dataset(build(made)))
    assert set(studies) == {"Smith 2010"}
    contrasts = studies["Smith 2010"]["contrasts"]
    assert set(contrasts) == {"faces", "1", "1'"}
    assert contrasts["faces"]["coords"] == {"space": "MNI", "x": [1.5], "y": [2.0], "z": [3.0]}
    assert contrasts["faces"]["metadata"] == {"age": 31.5, "sample_sizes": [12]}
    assert contrasts["faces"]["labels"] == {"patients": 1.0}
    assert contrasts["1"]["metadata"]["age"] is None
    assert "coords" not in contrasts["1'"]
    assert "sample_sizes" not in contrasts["1'"]["metadata"]


def test_gingerale_files_have_its_names(folders: dict[str, Path]) -> None:
    names = {path.name for path in folders["gingerale"].iterdir()}
    assert {
        "drug_simulated.txt",
        "drug_ALE.nii",
        "drug_P.nii",
        "drug_Z.nii",
        "drug_p001_C05_200_ALE.nii",
        "drug_p001_C05_200_clust.nii",
        "drug_p001_C05_200_clust.txt",
        "drug_p001_clust.nii",
        "drug-therapy_P.nii",
        "therapy-drug_P.nii",
        "affect_conj_drug_ALE.nii",
        "affect_conj_drug_clust.nii",
    } <= names
    assert any(name.startswith("drug-therapy_") and name.endswith("-p05_clust.nii") for name in names)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "p001_C05_1k"),
        ({"voxel_p": 0.01, "iterations": 1500}, "p01_C05_1500"),
        ({"correction": "voxel"}, "FWE05_1k"),
    ],
)
def test_thresholds_are_named_by_their_digits(changes: dict[str, Any], expected: str) -> None:
    settings = {"iterations": 1000, "voxel_p": 0.001} | changes
    attrs = {"inference": inference_from(settings).model_dump_json(), "iterations": settings["iterations"]}
    attrs["kind"] = "main-effect"
    assert threshold_name(xr.Dataset(attrs=attrs), source="cluster-fwe") == expected
    assert threshold_name(xr.Dataset(attrs=attrs), source="uncorrected") in ("p001", "p01")


def test_gingerale_tables_agree_with_the_label_images(study: Study, folders: dict[str, Path]) -> None:
    found = 0
    for path in folders["gingerale"].glob("*_clust.txt"):
        with path.open() as file:
            assert file.readline() == "// SIMULATED DATA\n"
            table = pd.read_csv(file, sep="\t")
        assert list(table.columns) == list(COLUMNS)
        image = nib.load(path.with_suffix(".nii"))
        assert image.header["intent_name"].item() == b"Clusters"
        labels = np.asarray(image.dataobj)
        clusters = table[table["Volume (mm^3)"].notna()]
        assert sorted(clusters["Cluster #"]) == list(range(1, labels.max() + 1))
        shown = values(path.with_name(path.name.replace("_clust.txt", "_ALE.nii")))
        assert ((shown != 0) == (labels[MASK.volume] != 0)).all()
        for row in clusters.to_dict("records"):
            found += 1
            assert (labels == row["Cluster #"]).sum() * MASK.voxel_volume == row["Volume (mm^3)"]
            assert row["P"] < 0.06
            assert row["Z"] > 0
    assert found > 5
    table = pd.read_csv(folders["gingerale"] / "drug_p001_C05_200_clust.txt", sep="\t", comment="/")
    ours = ale_dask.cluster_table(study["drug"])
    assert table["Contributors"].str.count("foc(us|i) from").iloc[0] == ours["Experiments"].iloc[0]


def test_each_direction_of_a_contrast_is_in_its_own_files(study: Study, folders: dict[str, Path]) -> None:
    table = contrast_table(study["contrast"], source="cluster-fwe")
    assert {1, -1} == set(np.sign(table["Peak Stat"]))
    for sign, name in ((1, "drug-therapy"), (-1, "therapy-drug")):
        (path,) = folders["gingerale"].glob(f"{name}_*_clust.txt")
        with path.open() as file:
            file.readline()
            mine = pd.read_csv(file, sep="\t")
        theirs = table[np.sign(table["Peak Stat"]) == sign]
        assert mine["Volume (mm^3)"].tolist() == theirs["Cluster Size (mm3)"].tolist()
        assert mine[["x", "y", "z"]].to_numpy().tolist() == theirs[["X", "Y", "Z"]].to_numpy().tolist()
        np.testing.assert_allclose(mine["Z"], theirs["Peak Stat"].abs(), atol=1e-4)
        assert (mine["Extrema Value"] > 0).all()
        (image,) = folders["gingerale"].glob(f"{name}_*_ALE.nii")
        assert (values(image) >= 0).all()


def test_foci_are_read_back_from_sleuth_text_and_csv(study: Study, folders: dict[str, Path]) -> None:
    drug = study["drug"]
    for path in (folders["gingerale"] / "drug_simulated.txt", folders["csv"] / "drug" / "drug_foci.csv"):
        again = read_foci(path)
        np.testing.assert_array_equal(again["focus_xyz"], drug["focus_xyz"])
        np.testing.assert_array_equal(again["experiment_n_subjects"], drug["experiment_n_subjects"])
        assert again["experiment_name"].values.tolist() == drug["experiment_name"].values.tolist()


def test_csv_tables_hold_every_digit_and_say_simulated(study: Study, folders: dict[str, Path]) -> None:
    found = {path.name for path in folders["csv"].rglob("*.csv")}
    assert {"study_results.csv", "drug_clusters.csv", "drug_clusters_uncorrected.csv", "drug_foci.csv"} <= found
    assert {"drug_contributions.csv", "overlap_clusters_level-voxel.csv", "contrast_clusters_level-voxel.csv"} <= found
    table = pd.read_csv(folders["csv"] / "drug" / "drug_clusters.csv", dtype=str)
    ours = ale_dask.cluster_table(study["drug"])
    assert table["Peak ALE"].map(float).tolist() == ours["Peak ALE"].tolist()
    assert set(table["simulated"]) == {"yes"}


def test_one_result_by_itself_is_exported(study: Study, tmp_path: Path) -> None:
    paths = ale_dask.export(study["contrast"], tmp_path, to="csv")
    assert {path.name for path in paths} == {path.name for path in tmp_path.rglob("*.csv")}
    assert not list(tmp_path.rglob("*contributions*"))


def test_what_cannot_be_exported_writes_nothing(study: Study, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"give one of {', '.join(PROGRAMS)}"):
        export(study, tmp_path, to="spm")
    clash = {**study, "Drug": study["drug"]}
    with pytest.raises(InputError, match=r"two analyses would both write Drug"):
        export(clash, tmp_path, to="gingerale")
    assert not list(tmp_path.iterdir())


def test_a_small_sample_without_any_cluster_is_exported(tmp_path: Path) -> None:
    none = main_effect(sample("few", [], experiments=3), name="few", mask=MASK, iterations=50, cluster_p=0.02)
    for to in ("nimare", "gingerale", "csv", "compose"):
        export(none, tmp_path / to, to=to)
    assert not values(tmp_path / "gingerale" / "few_p001_C02_50_clust.nii").any()
    assert (tmp_path / "gingerale" / "few_p001_C02_50_clust.txt").read_text() == "\t".join(COLUMNS) + "\n"
    assert (tmp_path / "gingerale" / "few.txt").is_file()


def test_the_command_exports_beside_the_run_or_where_told(tiny: Path, tmp_path: Path) -> None:
    assert "give one of nimare" in ale("export", tmp_path, "--to", "spm", code=65).stderr
    assert "holds no run" in ale("export", tmp_path, "--to", "csv", code=74).stderr
    ale("run", tiny / "study.toml", "-o", tmp_path / "out", "-b", "serial", "-q", "--no-pictures")
    said = ale("export", tmp_path / "out", "--to", "csv").stdout
    assert said.startswith(f"{len(list((tmp_path / 'out' / 'export' / 'csv').rglob('*.csv')))} files in ")
    told = json.loads(ale("export", tmp_path / "out", "--to", "compose", "-o", tmp_path / "compose", "--json").stdout)
    assert {tmp_path / "compose" / name for name in told["files"]} == {
        path for path in (tmp_path / "compose").rglob("*") if path.is_file()
    }
