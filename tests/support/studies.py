"""Studies small enough to run whole in a second: a ball on a 4 mm grid and samples of few experiments."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

ANALYSES = """[analysis.drug]
kind = "main-effect"
foci = "drug"
[analysis.therapy]
kind = "main-effect"
foci = "therapy"
[analysis.drug-vs-therapy]
kind = "contrast"
arms = ["drug", "therapy"]
[analysis.drug-and-therapy]
kind = "conjunction"
of = ["drug", "therapy"]
"""
"""The tables of a study.toml of two samples: their main effects, contrast and conjunction."""
STUDY = f"""
title = "tiny"
simulated = true
[foci.drug]
files = "drug.txt"
[foci.therapy]
files = "therapy.txt"
[inference]
mask = "ball.nii.gz"
iterations = 60
voxel_p = 0.01
seed = 3
null = "uniform"
{ANALYSES}"""


def write_ball(path: Path, *, radius: float = 9.0) -> None:
    """Write a ball-shaped mask on a 4 mm grid centred on the origin."""
    n = int(2 * radius + 5)
    centre = (n - 1) / 2
    ijk = np.indices((n, n, n)).reshape(3, -1).T
    inside = (((ijk - centre) ** 2).sum(axis=1) <= radius**2).reshape(n, n, n)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -4.0 * centre
    nib.save(nib.Nifti1Image(inside.astype(np.uint8), affine), path)


def experiments(seed: int, *, number: int, planted: tuple[float, float, float], prefix: str) -> list[str]:
    """Return Sleuth paragraphs of experiments with 2-9 random foci, two thirds of them with one near a place."""
    rng = np.random.default_rng(seed)
    paragraphs = []
    for i in range(number):
        xyz = rng.uniform(-20, 20, size=(int(rng.integers(2, 10)), 3))
        if i % 3:
            xyz[0] = np.array(planted) + rng.normal(0, 3, 3)
        rows = "\n".join("\t".join(f"{v:.2f}" for v in row) for row in xyz)
        paragraphs.append(f"// {prefix} {i}\n// Subjects={int(rng.integers(8, 40))}\n{rows}\n")
    return paragraphs


def write_sample(path: Path, paragraphs: list[str]) -> None:
    """Write a Sleuth file in MNI space."""
    path.write_text("// Reference=MNI\n" + "\n".join(paragraphs))


def write_tiny(folder: Path) -> Path:
    """Write study.toml, two samples of 8 and 6 experiments and a mask of about 3,000 voxels."""
    folder.mkdir()
    write_ball(folder / "ball.nii.gz")
    write_sample(folder / "drug.txt", experiments(1, number=8, planted=(12, 4, 0), prefix="drug"))
    write_sample(folder / "therapy.txt", experiments(2, number=6, planted=(-12, 0, 8), prefix="therapy"))
    (folder / "study.toml").write_text(STUDY)
    return folder


def write_one_place(folder: Path, *, number: int) -> None:
    """Write ball.nii.gz and drug.txt, a sample of so many experiments of which two thirds report one place."""
    write_ball(folder / "ball.nii.gz")
    write_sample(folder / "drug.txt", experiments(1, number=number, planted=(12, 4, 0), prefix="drug"))


def one_place(*, null: str, iterations: int, settings: str = "", rest: str = "") -> str:
    """Return the study.toml of that sample; `settings` are further lines of [inference], `rest` further tables."""
    return f"""
title = "one place"
simulated = true
[foci.drug]
files = "drug.txt"
[inference]
mask = "ball.nii.gz"
iterations = {iterations}
voxel_p = 0.01
null = "{null}"
{settings}
[analysis.drug]
kind = "main-effect"
foci = "drug"
{rest}
"""


def table(path: Path, seed: int, number: int, planted: tuple[float, float, float], **columns: list[str]) -> None:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(number):
        xyz = rng.uniform(-20, 20, size=(int(rng.integers(2, 8)), 3))
        xyz[0] = np.array(planted) + rng.normal(0, 3, 3)
        n = int(rng.integers(8, 40))
        for x, y, z in xyz.round(1):
            row = {"study": f"{path.stem} {i}", "n": n, "space": "MNI", "x": x, "y": y, "z": z}
            rows.append(row | {name: values[i % len(values)] for name, values in columns.items()})
    pd.DataFrame(rows).to_csv(path, index=False)
