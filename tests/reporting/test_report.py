"""Tables, maps, pictures and the page of small real results."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from html.parser import HTMLParser
from io import BytesIO

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from support.samples import EVIL, LEFT, MASK, RIGHT, sample

from ale_dask import reporting as out_of
from ale_dask.analyses.api_main_effect import main_effect
from ale_dask.analyses.findings.clusters import find_clusters
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect_result import thresholded
from ale_dask.errors import InputError
from ale_dask.numerics.space import Mask
from ale_dask.reporting import write
from ale_dask.reporting.common import extra
from ale_dask.reporting.common.maps import map_specs_of, stem
from ale_dask.reporting.figures import maps as figures
from ale_dask.reporting.figures.study_context import study_contexts
from ale_dask.reporting.html import page
from ale_dask.reporting.tables.comparisons import contrast_table
from ale_dask.reporting.tables.text import formatted, tsv
from ale_dask.reporting.write import summary_lines, write_report

NILEARN = ["Cluster ID", "X", "Y", "Z", "Peak Stat", "Cluster Size (mm3)"]


@pytest.fixture(scope="module")
def folder(marked, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    out_of.write_results(marked, out, title=EVIL, pictures=True)
    return out


def read_tsv(path):
    return pd.read_csv(path, sep="\t")


def test_every_map_opens_and_holds_the_values(study, folder):
    from nilearn.image import load_img

    for name, result in study.items():
        for spec in map_specs_of(result):
            image = load_img(folder / name / f"{name}_{spec.suffix}.nii.gz")
            data = image.get_fdata()
            np.testing.assert_array_equal(image.affine, MASK.affine)
            assert image.get_data_dtype() == np.dtype(spec.dtype)
            np.testing.assert_array_equal(data[MASK.volume], spec.read(result).astype(spec.dtype))
            outside = data[~MASK.volume]
            assert np.isnan(outside).all() if spec.units == "p" else not outside.any()


def test_labels_number_the_clusters_as_their_tables_do(folder):
    for name, maps in {
        "contrast": {
            "": "desc-group1MinusGroup2_input-clusterFWE",
            "_uncorrected": "desc-group1MinusGroup2_input-uncorrected",
            "_level-voxel_uncorrected": "desc-group1MinusGroup2_level-voxel_corr-FWE_input-uncorrected",
        },
        "overlap": {
            "_uncorrected": "desc-conjunction_input-uncorrected",
            "_level-voxel": "desc-conjunction_level-voxel_corr-FWE",
        },
    }.items():
        for end, suffix in maps.items():
            table = read_tsv(folder / name / f"{name}_clusters{end}.tsv")
            labels = nib.load(folder / name / f"{name}_label_{suffix}.nii.gz").get_fdata()
            numbers, voxels = np.unique(labels[labels > 0], return_counts=True)
            assert numbers.tolist() == table["Cluster ID"].tolist()
            assert voxels.tolist() == table["Cluster Size (voxels)"].tolist()
            signed = nib.load(folder / name / f"{name}_z_{suffix}.nii.gz").get_fdata()
            np.testing.assert_array_equal(labels > 0, signed != 0)


def test_maps_have_the_names_that_nimare_gives(folder):
    for path in (
        "drug/drug_z_desc-size_level-cluster_corr-FWE_method-montecarlo",
        "drug/drug_z_level-voxel_corr-FWE_method-montecarlo",
        "drug/drug_label_tab-clust_corr-FWE",
        "contrast/contrast_z_desc-group1MinusGroup2_input-clusterFWE",
        "contrast/contrast_z_desc-group1MinusGroup2_level-voxel_corr-FWE_input-uncorrected",
        "overlap/overlap_stat_desc-conjunction_input-uncorrected",
        "overlap/overlap_z_desc-conjunctionUnthresholded",
    ):
        assert (folder / f"{path}.nii.gz").is_file()
        assert (folder / f"{path}.json").is_file()


def test_sidecars_say_simulated_and_what_is_controlled_and_no_private_path(folder):
    sidecars = [p for p in folder.rglob("*.json") if p.parent != folder]
    assert len(sidecars) == len(list(folder.rglob("*.nii.gz"))) == 3 * (10 + 5) + 11 + 2 * 9
    for path in sidecars:
        text = path.read_text()
        said = json.loads(text)
        assert said["Simulated"] is True
        assert said["Controls"]
        assert said["Space"] == "MNI152"
        assert said["Mask"] == {"Name": "ball.nii.gz", "SHA256": MASK.sha256}
        assert "private" not in text
    size = json.loads((folder / "drug/drug_z_desc-size_level-cluster_corr-FWE_method-montecarlo.json").read_text())
    assert size["Thresholds"]["cut_size"] > 0
    assert len(size["Thresholds"]["cut_size_interval"]) == 2
    assert size["Iterations"] == 200
    with gzip.open(folder / "drug/drug_z.nii.gz") as file:
        header = nib.Nifti1Header.from_fileobj(BytesIO(file.read()))
    assert b"SIMULATED" in header["descrip"].item()


def test_the_same_result_gives_the_same_bytes(marked, folder, tmp_path):
    for path in out_of.write_maps(marked["drug"], tmp_path):
        again = hashlib.sha256(path.read_bytes())
        assert again.digest() == hashlib.sha256((folder / "drug" / path.name).read_bytes()).digest()
        assert path.read_bytes()[4:8] == b"\0\0\0\0"


def test_cluster_table_has_nilearns_columns_and_its_peaks(study, folder):
    from nilearn.image import load_img
    from nilearn.reporting import get_clusters_table

    table = read_tsv(folder / "affect/affect_clusters.tsv")
    assert list(table.columns[:6]) == NILEARN
    image = load_img(folder / "affect/affect_z_desc-size_level-cluster_corr-FWE_method-montecarlo.nii.gz")
    theirs = get_clusters_table(image, 0.1)
    assert list(theirs.columns) == NILEARN
    ours = table[table["Cluster Size (mm3)"].notna()].sort_values("Peak Stat", ascending=False)
    first = theirs[theirs["Cluster ID"].astype(str).str.isdigit()]
    assert len(first) >= 2
    np.testing.assert_allclose(ours[["X", "Y", "Z"]], first[["X", "Y", "Z"]].astype(float))
    np.testing.assert_allclose(ours["Peak Stat"], first["Peak Stat"].astype(float), atol=1e-3)
    np.testing.assert_allclose(ours["Cluster Size (mm3)"], first["Cluster Size (mm3)"].astype(float))


def test_cluster_table_says_p_foci_and_experiments(study):
    result = study["drug"]
    table = out_of.cluster_table(result)
    main = table[table["Cluster Size (mm3)"].notna()]
    row = main.iloc[0]
    np.testing.assert_allclose(row[["X", "Y", "Z"]].astype(float), LEFT, atol=6)
    assert row["p size FWE"] == pytest.approx(1 / 201)
    assert row["p size low"] <= row["p size FWE"] <= row["p size high"]
    # 201 * .95^200 = .007 is more than .001: 200 iterations are too few to tell even the least p from .05.
    assert row["decision"] == "undecided"
    assert row["p size high"] < row["p size bound"] < 0.1
    assert 15 <= row["Experiments"] <= 18 <= row["Foci"] + 3
    assert row["Cluster Size (mm3)"] == 64 * row["Cluster Size (voxels)"]
    size = result["cluster_size"].values.max()
    assert row["Cluster Size (voxels)"] == size
    mass = result["cluster_mass"].values.max() / 2 ** result.attrs["scale_bits"]
    assert row["Cluster Mass"] == pytest.approx(mass)
    assert row["Bounds (mm)"].startswith("x ")
    assert main["Cluster Size (voxels)"].sum() == thresholded(result, "cluster-fwe").sum()


def test_labels_are_numbered_as_in_the_table(study, folder):
    labels = np.asarray(nib.load(folder / "affect/affect_label_tab-clust_corr-FWE.nii.gz").dataobj)
    table = read_tsv(folder / "affect/affect_clusters.tsv")
    main = table[table["Cluster Size (mm3)"].notna()]
    counts = np.bincount(labels.ravel())[1:]
    assert counts.tolist() == main["Cluster Size (voxels)"].astype(int).tolist() == sorted(counts, reverse=True)
    for _, row in main.iterrows():
        at = np.rint(MASK.to_grid(np.array([[row["X"], row["Y"], row["Z"]]]))[0]).astype(int)
        assert labels[tuple(at)] == int(row["Cluster ID"])


def test_sub_peaks_are_8_mm_apart_and_maxima():
    mask = Mask(np.ones((30, 8, 8), dtype=bool), np.diag([2.0, 2.0, 2.0, 1.0]))
    x = mask.voxel_ijk[:, 0].astype(float)
    y = 1 + np.cos(x) + x / 100
    z = np.where((mask.voxel_ijk[:, 1:] == 4).all(axis=1), y + 0.5, 0.5)
    (cluster,) = find_clusters(z, mask=mask)
    peaks = [cluster.peak, *cluster.sub_peaks]
    mm = mask.to_mm(mask.voxel_ijk[peaks])
    apart = np.linalg.norm(mm[:, None] - mm[None], axis=-1)[np.triu_indices(len(peaks), 1)]
    assert len(cluster.sub_peaks) == 3
    assert apart.min() >= 8
    assert z[cluster.peak] == z.max()
    assert np.diff(z[list(cluster.sub_peaks)]).max() <= 0
    # A flat part beside a higher one is no peak, however far away.
    steps = np.where(x < 20, 1.0, 2.0)
    (cluster,) = find_clusters(steps, mask=mask)
    assert cluster.sub_peaks == ()


def test_ties_are_averaged_as_gingerale_does_or_the_first_is_taken():
    mask = Mask(np.ones((9, 3, 3), dtype=bool), np.diag([2.0, 2.0, 2.0, 1.0]))
    z = np.where((mask.voxel_ijk == [3, 1, 1]).all(axis=1) | (mask.voxel_ijk == [4, 1, 1]).all(axis=1), 5.0, 1.0)
    assert find_clusters(z, mask=mask)[0].peak_mm.tolist() == [6, 2, 2]
    assert find_clusters(z, mask=mask, average_ties=True)[0].peak_mm.tolist() == [7, 2, 2]
    x = mask.voxel_ijk[:, 0]
    both = find_clusters(np.select([x < 3, x > 3], [1.0, -2.0]), mask=mask)
    assert [(c.number, c.sign, len(c.voxels)) for c in both] == [(1, 1, 27), (2, -1, 45)]
    assert find_clusters(np.zeros(mask.n_voxels), mask=mask) == []


def test_contrast_directions_point_where_the_effects_are(study, folder):
    result = study["contrast"]
    for source in ("cluster-fwe", "uncorrected"):
        table = contrast_table(result, source=source)
        assert list(table.columns[:6]) == NILEARN
        for direction, place, sign in (("drug > therapy", LEFT, 1), ("therapy > drug", RIGHT, -1)):
            row = table[table["Direction"] == direction].iloc[0]
            np.testing.assert_allclose(row[["X", "Y", "Z"]].astype(float), place, atol=9)
            assert np.sign(row["Peak Stat"]) == np.sign(row["Peak Difference"]) == sign
            assert 0 < row["p"] < 0.05
    fwe = contrast_table(result, source="cluster-fwe", level="voxel-fwe")
    assert (fwe["p"] <= 0.05).all()
    assert list(read_tsv(folder / "contrast/contrast_clusters_level-voxel.tsv").columns) == list(fwe.columns)
    with pytest.raises(InputError, match=r"no map at level 'tfce-fwe'; its levels are uncorrected, .*voxel-fwe"):
        contrast_table(result, source="cluster-fwe", level="tfce-fwe")


def test_many_main_effects_say_how_many_would_find_something_without_an_effect(study):
    result = next(r for r in study.values() if model_of(r).kind == "main-effect")
    many = {f"t{i}": result for i in range(40)}
    assert summary_lines(many)[-1] == (
        "Each of the 40 main effects controls its own error alone: were there no effect anywhere, up to 2 of them "
        "would be expected to find something."
    )
    assert "up to 1 of them" in summary_lines(dict(list(many.items())[:20]))[-1]
    assert not any("would be expected" in line for line in summary_lines(dict(list(many.items())[:19])))


def test_study_table_shows_none_and_what_is_controlled(study, folder):
    table = out_of.study_table(study)
    assert set(table["analysis"]) == set(study)
    main = table[table["kind"] == "main-effect"]
    assert main.groupby(["analysis", "level"]).size().index.nunique() == 3 * 2
    assert (main[(main["level"] == "cluster-size") & (main["cluster"] != "none")]["p"] <= 0.05).all()
    nowhere = table[table["analysis"] == "nowhere"]
    assert nowhere["input"].tolist() == ["cluster-fwe", "uncorrected", "voxel-fwe"]
    assert set(nowhere["cluster"]) == {"none"}
    assert set(nowhere["direction"]) == {"drug AND therapy"}
    assert (nowhere["volume_mm3"] == 0).all()
    assert nowhere[["Z", "ALE", "p", "x", "y", "z"]].isna().all(axis=None)
    overlap = table[(table["analysis"] == "overlap") & (table["input"] == "uncorrected")]
    assert (overlap["ALE"] > 0).all()
    assert (table["Z"].dropna() > 0).all()
    gate = table[(table["kind"] == "contrast") & (table["level"] == "uncorrected")]
    assert gate["controls"].str.contains("nothing here is corrected").all()
    assert len(table.groupby(["analysis", "input", "level", "direction"])) == 8 + 3 + 3
    written = read_tsv(folder / "study_results.tsv")
    assert len(written) == len(table)
    assert list(written.columns) == list(table.columns)


def test_numbers_are_rounded_and_no_minus_zero():
    one = {"Cluster ID": "1", "X": -0.04, "Y": 1.25, "Z": -7.0, "Peak Stat": 3.09023, "Cluster Size (mm3)": 1704.0}
    table = pd.DataFrame([one, {"Cluster ID": "1a", "X": 1.0, "Y": 2.0, "Z": 3.0, "Peak Stat": 1.0}])
    assert formatted(table).iloc[0].tolist() == ["1", "0.0", "1.2", "-7.0", "3.090", "1704"]
    assert tsv(table).decode().splitlines()[2] == "1a\t1.0\t2.0\t3.0\t1.000\t"
    study_row = pd.DataFrame([{"analysis": "a", "Z": 3.09023, "z": -7.04, "p": 0.00099900}])
    assert formatted(study_row).iloc[0].tolist() == ["a", "3.090", "-7.0", "0.000999"]


def test_results_without_any_cluster(tmp_path):
    # With 5 iterations no cut at .05 exists; nothing survives, and everything is written all the same.
    result = main_effect(sample("drug", [LEFT]), name="few", mask=MASK, iterations=5, seed=1)
    assert out_of.cluster_table(result).empty
    assert write_report([result], tmp_path, pictures=False) == tmp_path
    assert len(read_tsv(tmp_path / "few/few_clusters.tsv")) == 0
    listed = read_tsv(tmp_path / "study_results.tsv")
    assert listed[["analysis", "level", "cluster", "volume_mm3"]].iloc[0].tolist() == ["few", "cluster-size", "none", 0]
    assert "few: 5 iterations are too few for family-wise error at 0.05." in out_of.summary_lines({"few": result})
    sidecar = json.loads((tmp_path / "few/few_z_desc-size_level-cluster_corr-FWE_method-montecarlo.json").read_text())
    assert sidecar["Thresholds"]["cut_size"] is None
    assert sidecar["Simulated"] is False
    page = (tmp_path / "report.html").read_text()
    assert "No cluster." in page
    assert "too few" in page
    assert "SIMULATED" not in page


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.images, self.text, self.scripts = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag == "script":
            self.scripts.append(dict(attrs))

    def handle_data(self, data):
        self.text.append(data)


def test_page_is_one_file_and_escapes_what_users_name(folder):
    text = (folder / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert EVIL in "".join(page.text)
    assert EVIL not in text
    # One script runs, and only if it is ours; the others are data.
    assert [s for s in page.scripts if s.get("type") not in ("text/plain", "application/json")] == [{}]
    run = text.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(run.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    assert "http:" not in text
    assert "https:" not in text
    assert "SIMULATED DATA" in text
    assert "/home/somebody" not in text
    assert "drug AND therapy" in "".join(page.text)
    assert len(page.images) == len([*folder.rglob("*.png"), *folder.rglob("*.svg")]) > 6
    for image in page.images:
        assert image["src"].startswith(("data:image/png;base64,", "data:image/svg+xml;base64,"))
        said = (
            *("clusters at", "clusters drug > therapy at", "random studies", "iterations", "The sample"),
            *("foci of 18 experiments of", "Shares of experiments", "mm³ in orange", "Overlap of"),
        )
        assert any(words in image["alt"] for words in said)
        assert int(image["width"]) > 400


def test_pictures_are_of_maps_that_hold_something(study, marked, folder):
    for name, result in study.items():
        for spec in figures.pictured_map_specs(result):
            path = figures.picture_path(result, spec, folder / name)
            assert path.is_file() == bool(spec.read(result).any())
            if path.is_file():
                assert path.read_bytes().startswith(b"\x89PNG")
                assert path.stat().st_size > 20_000
    # Of a conjunction without any voxel in common only what went into it.
    assert [path.name for path in (folder / "nowhere").glob("*.png")] == ["nowhere_overlay.png"]
    drug = marked["drug"]
    assert figures.headline(drug, figures.pictured_map_specs(drug)[0]).startswith("SIMULATED")


def test_a_study_and_an_analysis_by_itself_have_the_same_figures(marked, folder, tmp_path):
    context = study_contexts(marked)["overlap"]
    drawn = out_of.write_figures(marked["overlap"], tmp_path, context=context)
    assert len(drawn) == 4
    for path in drawn:
        assert path.read_bytes() == (folder / "overlap" / path.name).read_bytes()


def test_a_picture_that_no_longer_holds_is_removed(study, tmp_path):
    result = study["nowhere"]
    stale = figures.picture_path(result, figures.pictured_map_specs(result)[0], tmp_path)
    stale.write_bytes(b"of an earlier run")
    assert out_of.write_figures(result, tmp_path) == []
    assert not stale.exists()


def test_without_the_extra_the_rest_is_written_and_the_log_says_what_to_install(study, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(extra, "find_spec", lambda name: None)
    for remembered in (extra._say_once, extra._installed):
        remembered.cache_clear()
    out_of.write_results({"drug": study["drug"]}, tmp_path, title="t", pictures=True)
    assert 'pip install "ale-dask[report]"' in caplog.text
    assert (tmp_path / "study_results.tsv").is_file()
    assert not list(tmp_path.rglob("*.png"))
    assert not (tmp_path / "report.html").exists()
    for remembered in (extra._say_once, extra._installed):
        remembered.cache_clear()


def test_description_and_names_stay_inside_the_folder(study, folder, tmp_path):
    description = json.loads((folder / "dataset_description.json").read_text())
    assert "BIDSVersion" not in description
    assert description["GeneratedBy"][0]["Name"] == "ale_dask"
    assert description["Simulated"] is True
    assert stem("../../etc/x y") == "-..-etc-x-y"
    outside = study["nowhere"].assign_attrs(name="../evil")
    out_of.write_results({"../evil": outside}, tmp_path / "in", title="t", pictures=False)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    with pytest.raises(InputError, match="share a folder"):
        out_of.write_results({"a b": outside, "a-b": outside}, tmp_path, title="t", pictures=False)
    with pytest.raises(InputError, match="one name"):
        write_report([outside, outside], tmp_path)


def test_summary_is_a_line_per_finding(study):
    lines = out_of.summary_lines(study)
    assert lines[0].startswith("drug: ")
    assert "mm³ at" in lines[0]
    assert "drug AND therapy, overlap of the maps at cluster-size FWE: none" in lines


def test_a_report_from_python_starts_no_process(study, tmp_path, monkeypatch):
    import multiprocessing

    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: pytest.fail("a process was started"))
    write_report([study["drug"]], tmp_path)
    assert list(tmp_path.rglob("*.png"))


def test_a_page_of_many_analyses_is_an_index(marked, tmp_path, monkeypatch, caplog):
    for module, limit in (
        (page, "MOST_SECTIONS"),
        (write, "MOST_SECTIONS"),
        (page, "MOST_COMPARED"),
        (write, "MOST_COMPARED"),
    ):
        monkeypatch.setattr(module, limit, len(marked) - 1)
    with caplog.at_level("INFO"):
        out_of.write_results(marked, tmp_path, title="many", pictures=False)
    text = (tmp_path / "report.html").read_text()
    assert "This study has 6 analyses, more than a page can show in full" in text
    assert "More than 5 analyses are not compared with each other." in text
    assert "no overlap.tsv: 6 analyses" in caplog.text
    assert "no table.docx: Word opens no table of 6 analyses" in caplog.text
    assert not [*tmp_path.glob("overlap.*"), *tmp_path.glob("*.docx")]
    for name in marked:
        assert f'<a href="{name}/{name}_clusters.tsv">{name}</a>' in text
        assert (tmp_path / name / f"{name}_clusters.tsv").is_file()
    assert 'id="a1"' not in text
