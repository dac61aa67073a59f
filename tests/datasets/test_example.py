"""The built-in example: its sizes, its mark, and that the script makes these very bytes."""

from pathlib import Path

import pytest

from ale_dask.config.study import load_study
from ale_dask.coordinates.readers import read_foci
from ale_dask.datasets.example import FILES, write_example
from ale_dask.errors import InputError

EXAMPLE = Path(__file__).parents[2] / "ale_dask" / "datasets" / "example"
SCRIPT = Path(__file__).parents[2] / "scripts" / "make_example"
FILE_OF = {name.rpartition(".")[0]: name for name in FILES}
SAMPLES = {"antidepressants": (24, 200, 343), "psychotherapy": (17, 120, 276), "affect": (216, 3869, 3587)}


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("make_example")


@pytest.mark.parametrize(("name", "sizes"), SAMPLES.items())
def test_the_example_has_the_sizes_of_the_published_samples(name, sizes):
    foci = read_foci(EXAMPLE / FILE_OF[name])
    n = foci["experiment_n_subjects"].values
    assert (foci.sizes["experiment"], foci.sizes["focus"], n.sum()) == sizes
    assert n.min() >= 6
    assert set(foci["focus_experiment"].values) == set(range(sizes[0]))


@pytest.mark.parametrize("name", SAMPLES)
def test_every_experiment_is_named_as_simulated(name):
    ids = read_foci(EXAMPLE / FILE_OF[name])["experiment_id"].values
    assert all("imulated" in i and "not real data" in i for i in ids)
    assert len(set(ids)) == len(ids)
    assert not any(";" in i for i in ids)


def test_the_study_is_marked_and_names_the_papers_analyses():
    study = load_study(EXAMPLE / "study.toml")
    assert study.simulated
    assert "SIMULATED" in study.title
    assert study.inference.iterations == 1000
    assert list(study.analysis) == [
        "drug",
        "therapy",
        "affect",
        "drug-vs-therapy",
        "drug-and-therapy",
        "affect-and-drug",
        "affect-and-therapy",
    ]


def test_the_script_makes_the_committed_bytes(script, tmp_path):
    script.write(tmp_path, seed=script.SEED)
    assert {p.name for p in tmp_path.iterdir()} == set(FILES)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (EXAMPLE / name).read_bytes(), name


def test_another_seed_makes_other_foci(script):
    one, two = script.generate(1), script.generate(2)
    assert all(one[FILE_OF[name]] != two[FILE_OF[name]] for name in SAMPLES)
    assert one["study.toml"] == two["study.toml"]


def test_an_effect_is_in_its_share_of_experiments(script):
    grey = script.load_mask("gm")
    effects = (script.Effect("here", (22, -6, -12), 0.5), script.Effect("there", (8, 56, 18), 1.0))
    arm = script.Arm("one", 10, 20, 100, effects)
    random = script.np.random.RandomState(1)
    experiments = script.simulate(random, arm, grey)
    assert sum(len(foci) for foci in experiments) == 20
    # Six standard deviations on each axis.
    around = [
        sum(any(script.np.abs(script.np.array(f) - e.peak).max() < 27 for f in foci) for foci in experiments)
        for e in effects
    ]
    assert around[0] >= 5
    singles = sum(len(foci) == 1 for foci in experiments)
    assert around[1] >= 10 - singles


@pytest.mark.parametrize(("text", "seeds"), [("3", [3]), ("1-3", [1, 2, 3]), ("1-2,7", [1, 2, 7])])
def test_a_list_of_seeds_is_read_as_numbers(script, text, seeds):
    assert list(script.seeds_of(text)) == seeds


def test_the_example_is_written_file_by_file(tmp_path):
    write_example(tmp_path / "new" / "folder")
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == sorted(FILES)
    for name in FILES:
        assert (tmp_path / "new" / "folder" / name).read_bytes() == (EXAMPLE / name).read_bytes()
    for source in load_study(tmp_path / "new" / "folder" / "study.toml").foci.values():
        assert read_foci(*source.files).sizes["experiment"] > 0


def test_write_example_twice_and_beside_other_files(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    write_example(tmp_path)
    write_example(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("name", FILES)
def test_write_example_overwrites_nothing(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="other content"):
        write_example(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_write_example_into_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_example(tmp_path / "file")


def test_the_samples_that_are_contrasted_have_columns_to_describe_and_select_by():
    drug, therapy = (read_foci(EXAMPLE / FILE_OF[name]) for name in ("antidepressants", "psychotherapy"))
    for foci, own in ((drug, "drug_class"), (therapy, "therapy")):
        assert {f"moderator_{c}" for c in (own, "diagnosis", "weeks", "modality")} <= set(foci.data_vars)
    assert 2 <= len(set(drug["moderator_drug_class"].values)) <= 6
