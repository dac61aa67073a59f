"""Selection: conditions, rules in order, and the record of what each removed."""

import itertools
import json
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import strategies as ours
from support.commands import ale as command

import ale_dask as ale
from ale_dask.config.study import load_study, parse_study
from ale_dask.coordinates.expressions import holds
from ale_dask.coordinates.foci import Experiment, build, foci_of, table
from ale_dask.errors import InputError
from ale_dask.reporting.figures.canvas import width_of
from ale_dask.reporting.figures.flow import flow_svg, flow_table

TABLE = pd.DataFrame(
    {
        "drug": np.array(["ssri", "", "ketamine"], dtype=object),
        "n": np.array([1, 12, 30], dtype=np.int32),
        "weeks": [4.0, np.nan, 8.0],
        "patients": [True, False, True],
        "my tag": [True, True, False],
    }
)


def rows_where(expression):
    """The numbers of the rows in which a condition holds."""
    return np.flatnonzero(holds(expression, TABLE, where="here")).tolist()


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("patients and weeks >= 8", [2]),
        ("not patients or n < 5", [0, 1]),
        ("drug != 'ketamine'", [0, 1]),
        ("drug == ''", [1]),
        ("drug < 'z'", [0, 2]),
        ("drug not in ['ssri', 'ketamine']", [1]),
        ("'ket' in drug", [2]),
        ("4 <= weeks < 8", [0]),
        ("weeks != 4", [2]),
        ("not known(weeks) or not known(drug)", [1]),
        ("`my tag` == patients", [0]),
        ("-n + 2 * 10 / 2 > 0 and 'a`b' != drug", [0]),
        ("True", [0, 1, 2]),
        ("n in []", []),
    ],
)
def test_a_condition_means_what_it_says(expression, rows):
    assert rows_where(expression) == rows


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("pations", "did you mean 'patients'"),
        ("drug > 3", "'drug' is text (such as 'ssri') and 3 is a number"),
        ("drug", "compare it with something"),
        ("n = 3", "cannot read 'n = 3'"),
        ("weeks + 'a' > 1", "'a' is text, not a number"),
        ("n > 1" + "0" * 400, "too large"),
        ("(" * 3000 + "n" + ")" * 3000 + " > 1", "cannot read"),
        ("n > 1 or " * 2000 + "n > 1", "characters"),
        ("n is 3", "use =="),
        ("__import__('os').system('true')", "is not allowed"),
        ("n.__class__ == 1", "is not allowed"),
        ("[n for n in drug] == 1", "is not allowed"),
        ("'a'('b')", "is not allowed"),
    ],
)
def test_what_is_no_condition_is_one_error(expression, said):
    with pytest.raises(InputError, match=r"^here: ") as raised:
        rows_where(expression)
    assert said in str(raised.value)


WORDS = [
    "n",
    "weeks",
    "drug",
    "patients",
    "'ssri'",
    "4",
    "-1.5",
    "and",
    "or",
    "not",
    "==",
    "<",
    "in",
    "(",
    ")",
    "[",
    "]",
]


@given(st.lists(st.sampled_from([*WORDS, ",", "+", "known", "`my tag`", ":", "lambda"]), max_size=12).map(" ".join))
@ours.QUICK
def test_any_text_is_a_condition_or_an_error(expression):
    try:
        found = holds(expression, TABLE, where="here")
    except InputError:
        return
    assert (found.dtype, found.shape) == (bool, (3,))


CONDITIONS = st.recursive(
    st.sampled_from(["patients", "n > 1", "n == 30", "drug == 'ssri'", "drug in ('ssri', 'x')", "n - 1 < 12"]),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({t[0]}) {t[1]} ({t[2]})")
        | inner.map("not ({})".format)
    ),
    max_leaves=6,
)


@given(CONDITIONS)
@ours.QUICK
def test_conditions_agree_with_python_row_by_row(expression):
    expected = [bool(eval(expression, {}, row)) for row in TABLE[["drug", "n", "patients"]].to_dict("records")]
    assert holds(expression, TABLE, where="here").tolist() == expected


def experiment(name, n, xyz, **columns):
    """An experiment in MNI space."""
    return Experiment(name, n, tuple(xyz), "MNI", "t.csv:1", {k: str(v) for k, v in columns.items()})


LISTED = build(
    [
        experiment("A 2001; pre", 12, [(0, 0, 0)], weeks=4, group="a"),
        experiment("A 2001; post", 10, [(10, 0, 0), (0, 0, 12)], weeks=8, group="a"),
        experiment("B 2002; post", 14, [(0, 20, 0)], weeks="", group="b"),
        experiment("C 2003; post", 9, [], weeks=6, group=""),
        experiment("D 2004; post", 9, [(-22, -4, -18)], weeks=6, group=""),
    ]
)


def names(dataset):
    """The names of a Dataset's experiments."""
    return dataset["experiment_name"].values.tolist()


@pytest.mark.parametrize(
    ("step", "left"),
    [
        ({"one_per": "study", "rule": "first"}, "A 2001; pre|B 2002; post|C 2003; post|D 2004; post"),
        ({"one_per": "group", "rule": "latest", "by": "weeks"}, "A 2001; post|B 2002; post|C 2003; post|D 2004; post"),
        ({"drop_empty": True}, "A 2001; pre|A 2001; post|B 2002; post|D 2004; post"),
        ({"exclude": ["A 2001", "D 2004; post"], "why": "overlap"}, "B 2002; post|C 2003; post"),
        ({"near": [0, 0, 5], "mm": 7}, "A 2001; pre|A 2001; post"),
        ({"near": [0, 0, 5], "mm": 6.999}, "A 2001; pre"),
        ({"where": "weeks >= 6"}, "A 2001; post|C 2003; post|D 2004; post"),
    ],
)
def test_each_rule_leaves_what_it_says(step, left):
    chosen = ale.select(LISTED, step)
    assert names(chosen) == left.split("|")
    keys = dict(zip(LISTED["experiment_id"].values, LISTED["experiment_key"].values, strict=True))
    assert [keys[i] for i in chosen["experiment_id"].values] == chosen["experiment_key"].values.tolist()


def test_a_focus_inside_an_image_selects_its_experiment(tmp_path):
    volume = np.zeros((3, 3, 3), dtype=np.uint8)
    volume[1, 1, 1] = 7
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = np.array([-22, -4, -18]) - 4 + 1.9
    nib.save(nib.Nifti1Image(volume, affine), tmp_path / "amygdala.nii.gz")
    assert names(ale.select(LISTED, {"inside": str(tmp_path / "amygdala.nii.gz")})) == ["D 2004; post"]


def test_pooling_makes_one_experiment_of_all_foci_with_the_smallest_sample_size():
    pooled = ale.select(LISTED, {"one_per": "group", "rule": "pooled"})
    assert names(pooled) == ["A 2001; pre", "B 2002; post", "C 2003; post", "D 2004; post"]
    assert pooled["experiment_n_subjects"].values.tolist() == [10, 14, 9, 9]
    assert [len(p) for p in foci_of(pooled)] == [3, 1, 0, 1]
    assert foci_of(pooled)[0].tolist() == [[0, 0, 0], [10, 0, 0], [0, 0, 12]]
    assert pooled["experiment_key"].values[0] not in LISTED["experiment_key"].values
    assert pooled["experiment_key"].values[1:].tolist() == LISTED["experiment_key"].values[2:].tolist()
    shuffled = LISTED.isel(experiment=[1, 0, 2, 3, 4])
    shuffled = shuffled.assign(focus_experiment=("focus", np.array([1, 0, 0, 2, 4], dtype=np.int32)))
    other = ale.select(shuffled, {"one_per": "group", "rule": "pooled"})
    assert other["experiment_key"].values.tolist() == pooled["experiment_key"].values.tolist()


def test_the_flow_counts_after_every_step_and_names_what_was_removed():
    chosen = ale.select(LISTED, {"where": "n < 14", "why": "small"}, {"drop_empty": True}, name="drug")
    found = ale.flow(chosen)
    columns = ["sample", "step", "studies", "experiments", "foci", "subjects"]
    assert found[columns].to_numpy().tolist() == [
        ["drug", 0, 4, 5, 5, 54],
        ["drug", 1, 3, 4, 4, 40],
        ["drug", 2, 2, 3, 4, 31],
    ]
    assert found["removed"].tolist() == [[], ["B 2002; post"], ["C 2003; post"]]
    assert found["why"].tolist() == ["", "small", ""]
    again = ale.select(chosen, {"where": "n > 9"}, name="drug")
    assert ale.flow(again)["step"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"where": "n > 99"}, "no experiment is left of 5"),
        ({"exclude": ["A 20O1"], "why": "x"}, "did you mean 'A 2001'"),
        ({"exclude": ["A 2001"]}, "exclude needs why"),
        ({"one_per": "grup", "rule": "first"}, "did you mean 'group'"),
        ({"one_per": "study", "rule": "latest", "by": "group"}, "holds text"),
        ({"one_per": "study", "rule": "latest"}, "one_per needs by"),
        ({"one_per": "study"}, "one_per needs rule"),
        ({"drop_empty": True, "mm": 3}, "mm does not belong to drop_empty"),
        ({"drop_empty": True, "where": "n > 1"}, "give one of"),
        ({"where": "n > 1", "colour": "red"}, "unknown key"),
        ({"near": [0, 0], "mm": 3}, "at least 3 items"),
        ({"inside": "nowhere.nii"}, "no such file"),
    ],
)
def test_a_rule_that_cannot_be_applied_is_named(step, said):
    with pytest.raises(InputError) as raised:
        ale.select(LISTED, step)
    assert said in str(raised.value)
    assert str(raised.value).startswith("select[1]")


def full_texts(prefix, *, studies, wanted, seed):
    """A table of studies as a reviewer keeps it, of which the paper's rules leave `wanted` experiments."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(studies):
        kept = i < wanted
        # The others fail one rule each: healthy controls, a single dose, or no focus.
        fault = None if kept else ("patients", "days", "foci")[i % 3]
        times = sorted(random.choice(np.arange(2, 26, 2), size=random.integers(1, 4), replace=False).tolist())
        for weeks, contrast in itertools.product(times, ["faces > shapes", "sad > neutral"][: random.integers(1, 3)]):
            stated = {
                "study": f"{prefix} {i} 20{i % 20:02}",
                "contrast": f"{contrast}, week {weeks}",
                "n": int(random.integers(8, 40)),
                "space": "MNI",
                "patients": "no" if fault == "patients" else "yes",
                "days": 1 if fault == "days" else 7 * weeks,
                "weeks": weeks,
            }
            for _ in range(1 if fault == "foci" else random.integers(1, 5)):
                x, y, z = ["", "", ""] if fault == "foci" else random.integers(-30, 30, size=3).tolist()
                rows.append(stated | {"x": x, "y": y, "z": z})
    return pd.DataFrame(rows)


MAIN = '[analysis.{0}]\nkind = "main-effect"\nfoci = "{0}"\n'
RULES = """
[[foci.{0}.select]]
where = "patients"
why = "patients, no healthy controls"
[[foci.{0}.select]]
where = "days > 1"
why = "a course of treatment, no single dose"
[[foci.{0}.select]]
drop_empty = true
[[foci.{0}.select]]
one_per = "study"
rule = "latest"
by = "weeks"
why = "the latest time point; of its contrasts the first listed"
"""


@pytest.mark.integration
def test_sixty_and_nineteen_studies_become_twenty_four_and_seventeen_by_configuration_alone(tmp_path):
    study = "\n".join(
        f'[foci.{name}]\nfiles = "{name}.csv"{RULES.format(name)}{MAIN.format(name)}' for name in ("drug", "therapy")
    )
    (tmp_path / "study.toml").write_text(study)
    for name, (studies, wanted) in {"drug": (60, 24), "therapy": (19, 17)}.items():
        full_texts(name, studies=studies, wanted=wanted, seed=studies).to_csv(tmp_path / f"{name}.csv", index=False)
    out = tmp_path / "out"
    command("run", tmp_path / "study.toml", "-o", out, "-i", 20, "-b", "serial", "--no-pictures")
    found = pd.read_csv(out / "selection.tsv", sep="\t")
    last = found.groupby("sample").last()
    assert last["experiments"].to_dict() == {"drug": 24, "therapy": 17}
    assert last["studies"].to_dict() == {"drug": 24, "therapy": 17}
    record = json.loads((out / "run.json").read_text())
    first = found[found["step"] == 0].set_index("sample")
    assert first["studies"].to_dict() == {"drug": 60, "therapy": 19}
    assert set(record["analyses"]) == {"drug", "therapy"}
    # Of the latest time point the first contrast stays.
    foci = load_study(out / "study.toml").foci["drug"]
    table_of = pd.read_csv(foci.files[0])
    kept = ale.select(ale.read_foci(foci.files[0], require_n=False), *foci.select)
    for study_name, part in table_of[table_of["study"].isin(table(kept)["study"])].groupby("study", sort=False):
        latest = part[part["weeks"] == part["weeks"].max()]["contrast"].iloc[0]
        assert f"{study_name}; {latest}" in names(kept)
    page = (out / "report.html").read_text()
    assert "a course of treatment, no single dose" in page
    svg = ElementTree.fromstring((out / "selection_drug.svg").read_text())
    words = "".join(svg.itertext())
    assert "24 studies, 24 experiments" in words
    assert "60 studies" in words


def test_the_figure_holds_any_text():
    chosen = ale.select(LISTED, {"where": "n < 14", "why": '<b>&"small"\''}, name="a<b>")
    result = chosen.assign_attrs(kind="main-effect")
    steps = flow_table({"drug": result})
    words = list(ElementTree.fromstring(flow_svg(steps, simulated=True)).itertext())
    assert "SIMULATED: a<b>" in words
    assert '<b>&"small"\'' in words


def test_images_of_a_selection_are_found_beside_the_study_and_copied_into_the_run(tmp_path):
    text = '[foci.a]\nfiles = "a.txt"\n[[foci.a.select]]\ninside = "roi.nii.gz"\n'
    text += MAIN.format("a")
    (tmp_path / "study.toml").write_text(text)
    assert load_study(tmp_path / "study.toml").foci["a"].select[0].inside == str(tmp_path / "roi.nii.gz")
    assert parse_study(text.replace("roi.nii.gz", "gm")).foci["a"].select[0].inside == "gm"
    lines = ["// Reference=MNI", "// A", "// Subjects=9", "0 0 0", "// B", "// Subjects=9", "20 20 20"]
    lines += ["// C", "// Subjects=9", "2 2 2"]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), dtype=np.uint8), np.diag([2.0, 2, 2, 1])), tmp_path / "roi.nii.gz")
    command("plan", tmp_path / "study.toml", "-o", tmp_path / "out", "-i", 5)
    kept = load_study(tmp_path / "out" / "study.toml").foci["a"]
    assert kept.select[0].inside == str(tmp_path / "out" / "foci" / "a" / "2_roi.nii.gz")
    assert names(ale.select(ale.read_foci(*kept.files), *kept.select)) == ["A", "C"]


def test_include_and_exclude_on_the_command_line_are_rules_of_every_sample(tmp_path):
    rows = ["study,n,space,x,y,z,drug", "A,9,MNI,1,2,3,ssri", "B,9,MNI,9,2,3,snri", "C,12,MNI,1,9,3,ssri"]
    rows.append("D,10,MNI,1,2,9,ssri")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    more = ["--include", "drug == 'ssri'", "--exclude", "n > 10", "-i", "5", "-b", "serial", "--no-pictures"]
    command("main-effect", tmp_path / "t.csv", "-o", tmp_path / "out", *more)
    found = pd.read_csv(tmp_path / "out" / "selection.tsv", sep="\t")
    assert found["experiments"].tolist() == [4, 3, 2]
    assert found["rule"].tolist()[1:] == ["where drug == 'ssri'", "where not (n > 10)"]


def test_a_condition_alone_is_a_rule():
    foci = build([Experiment(f"A {2000 + i}", 10 + i, ((1.0, 2.0, 3.0),), "MNI", f"f:{i}") for i in range(4)])
    assert ale.select(foci, "n >= 12").identical(ale.select(foci, {"where": "n >= 12"}))


def test_long_texts_of_the_figure_stay_inside_their_boxes():
    rule = "where known(`Duration of the treatment in weeks`) and diagnosis in ('MDD', 'bipolar disorder')"
    counts = {"studies": 1234, "experiments": 23456, "foci": 123456, "subjects": 1234567}
    why = "see https://example.org/" + "a-long-address-without-a-space-in-it/" * 3
    first = {"sample": "S" * 80, "step": 0, "rule": "read", "why": "", **counts, "removed": ""}
    steps = pd.DataFrame([first, first | {"step": 1, "rule": rule, "why": why, "experiments": 1}])
    svg = ElementTree.fromstring(flow_svg(steps, simulated=False))
    name = "{http://www.w3.org/2000/svg}"
    boxes = [box for box in svg.iter(f"{name}rect") if box.get("class") == "box"]
    texts = [text for text in svg.iter(f"{name}text") if len(text)]
    assert len(boxes) == len(texts) == 3
    for box, text in zip(boxes, texts, strict=True):
        right, bottom = (float(box.get(a)) + float(box.get(b)) for a, b in (("x", "width"), ("y", "height")))
        for line in text:
            # Measured in DejaVu Sans, which is wider than the usual fonts; an inch of letters of 14 points is 72 units.
            assert float(line.get("x")) + 72 * width_of(line.text, 14) < right, line.text
            assert float(line.get("y")) < bottom
    said = " ".join(svg.itertext())
    assert "1,234 studies, 23,456 experiments," in said
    assert "1 experiment," in said
    assert why.replace(" ", "") in "".join("".join(text.itertext()) for text in texts).replace(" ", "")
