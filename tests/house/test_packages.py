"""The wheel and the sdist are what a release needs, and the recipes of other packagers say what pyproject.toml says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from twine.commands.check import check

from ale_dask.version import __version__

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
NEEDED = {canonicalize_name(r.name): r.specifier for r in map(Requirement, PROJECT["dependencies"])}
INCLUDED = PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["only-include"]
ALWAYS = {".gitignore", "LICENSE", "README.md", "pyproject.toml"}
"""What hatchling puts into each sdist."""
STRAY = ("out/run.json", ".env", "notebooks/notes.txt", "ale_dask/__pycache__/run.cpython-311.pyc", ".venv/pyvenv.cfg")
CONDA = {"dask": "dask-core", "matplotlib": "matplotlib-base", "kubernetes": "python-kubernetes"}
"""Names of conda packages that differ; dask[array] asks for numpy besides, which stands in the list anyway."""
FOR_USERS = ("report", "dashboard", "cloud", "hpc", "ssh", "gateway", "kubernetes", "sweep", "crate")


def files_below(folder: Path) -> set[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in paths}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the sdist and the wheel by their endings, built in a tree where other things lie about, too."""
    tree = tmp_path_factory.mktemp("tree")
    for name in (*ALWAYS, *INCLUDED):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tree / name)
    for name in STRAY:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("mine")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist", "."],
        cwd=tree,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.suffix: path for path in (tree / "dist").iterdir()}


def test_twine_accepts_both(built: dict[str, Path]) -> None:
    assert sorted(built) == [".gz", ".whl"]
    assert not check([str(path) for path in built.values()], strict=True)


def test_the_sdist_holds_what_is_listed_and_nothing_of_the_machine(built: dict[str, Path]) -> None:
    wanted = ALWAYS | {"PKG-INFO"}
    for name in INCLUDED:
        wanted |= {f"{name}/{below}" for below in files_below(ROOT / name)} if (ROOT / name).is_dir() else {name}
    with tarfile.open(built[".gz"]) as archive:
        members = archive.getmembers()
        assert {member.name.partition("/")[2] for member in members} == wanted
        assert {(member.uid, member.uname) for member in members} == {(0, "")}
        texts = {m.name: file.read() for m in members if (file := archive.extractfile(m)) is not None}
    places = [str(place).encode() for place in (ROOT, built[".gz"].parents[1])]
    assert [name for name, text in texts.items() if any(place in text for place in places)] == []


def test_the_wheel_holds_the_package_and_says_what_it_needs(built: dict[str, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(built[".whl"]) as archive:
        info = f"ale_dask-{__version__}.dist-info"
        package = {name for name in archive.namelist() if not name.startswith(info)}
        assert package == {f"ale_dask/{name}" for name in files_below(ROOT / "ale_dask")}
        metadata = HeaderParser().parsestr(archive.read(f"{info}/METADATA").decode())
        archive.extractall(tmp_path)
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == PROJECT["license"]
    assert set(metadata.get_all("Classifier")) == set(PROJECT["classifiers"])
    run_time = [need for need in metadata.get_all("Requires-Dist") if "extra ==" not in need]
    assert {canonicalize_name(r.name): r.specifier for r in map(Requirement, run_time)} == NEEDED
    said = subprocess.run(
        [sys.executable, "-c", "import ale_dask.cli as c; print(c.__file__); c.main()", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert said.stdout.split("\n")[:2] == [str(tmp_path / "ale_dask/cli/__init__.py"), f"ale-dask {__version__}"]


def conda_names(requirements: list[str]) -> set[str]:
    parsed = [Requirement(each) for each in requirements]
    return {
        f"{CONDA.get(each.name, each.name).replace('prometheus-', 'prometheus_')} {each.specifier}" for each in parsed
    }


def test_the_conda_recipe_says_what_pyproject_says() -> None:
    recipe: dict[str, Any] = yaml.safe_load((DEPLOY / "conda" / "recipe.yaml").read_text())
    context, needs = recipe["context"], recipe["requirements"]
    assert (context["name"], context["version"]) == (PROJECT["name"], __version__)
    assert f">={context['python_min']}" == PROJECT["requires-python"]
    assert needs["run"][0] == "python >=${{ python_min }}"
    assert set(needs["run"][1:]) == conda_names(PROJECT["dependencies"])
    extras = PROJECT["optional-dependencies"]
    assert set(needs["run_constraints"]) == conda_names([each for name in FOR_USERS for each in extras[name]])
    assert set(extras) - set(FOR_USERS) == {"docs", "fuzz", "release", "test"}
    assert set(PYPROJECT["build-system"]["requires"]) < set(needs["host"])
    assert recipe["about"]["summary"] == PROJECT["description"]
    assert recipe["about"]["license"] == PROJECT["license"]
    points = [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == points
    assert set(recipe["tests"][1]["files"]["source"]) < set(INCLUDED)


def test_the_easybuild_recipe_names_each_dependency_in_a_version_that_will_do() -> None:
    (path,) = (DEPLOY / "easybuild").glob("*.eb")
    recipe: dict[str, Any] = {}
    exec(compile(path.read_text(), path.name, "exec"), recipe)
    chain = recipe["toolchain"]
    assert path.name == f"{recipe['name']}-{recipe['version']}-{chain['name']}-{chain['version']}.eb"
    assert (recipe["name"], recipe["version"]) == (PROJECT["name"], __version__)
    given = {canonicalize_name(each[0]): each[1] for each in (*recipe["dependencies"], *recipe["exts_list"])}
    assert given.pop("python") in Requirement(f"python{PROJECT['requires-python']}").specifier
    # Beside a bundle stands what is taken from it.
    beside = re.findall(r"^    \(.*#(.*)$", path.read_text(), flags=re.MULTILINE)
    in_bundles = {canonicalize_name(word) for line in beside for word in re.findall(r"[a-z][\w-]*", line)}
    assert set(NEEDED) <= set(given) | in_bundles
    assert [name for name, spec in NEEDED.items() if name in given and given[name] not in spec] == []


def test_the_images_take_the_version_and_the_extras_that_there_are() -> None:
    neurodesk = yaml.safe_load((DEPLOY / "neurodesk" / "build.yaml").read_text())
    assert neurodesk["version"] == __version__
    assert neurodesk["copyright"][0]["license"] == PROJECT["license"]
    assert neurodesk["deploy"]["bins"] == list(PROJECT["scripts"])
    ((install,),) = (step["run"] for step in neurodesk["build"]["directives"] if "run" in step)
    (wanted,) = re.findall(r'"(ale-dask\[.*?\])==\{\{ context\.version \}\}"', install)
    assert Requirement(wanted).extras <= set(FOR_USERS)
    apptainer = (DEPLOY / "slurm" / "apptainer.def").read_text()
    copied = re.findall(r"^    (\S+) /opt/ale_dask/", apptainer, flags=re.MULTILINE)
    assert {*PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], "pyproject.toml"} < set(copied)
    assert {"constraints.txt", PROJECT["readme"], *PROJECT["license-files"]} < set(copied)
    (extras,) = re.findall(r"/opt/ale_dask\[(.*?)\]", apptainer)
    assert set(extras.split(",")) <= set(FOR_USERS)
