"""Every command on a study of a second, one after the other in this process: what an installation without extras does.

Run as a script by `scripts/bare` in a new environment, and by `tests/cli/test_bare.py` in one that hides what is not
required: python bare.py FOLDER. It ends with 1 where a command fails that should not.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np

STUDY = """
title = "tiny"
simulated = true
[foci.drug]
files = "drug.csv"
[foci.therapy]
files = "therapy.txt"
[inference]
mask = "ball.nii.gz"
iterations = 60
voxel_p = 0.01
null = "uniform"
[analysis.drug]
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


def write_study(folder: Path) -> None:
    """Write a study of 8 and 8 experiments, two groups in the first, and a ball of 4 mm voxels as the mask."""
    folder.mkdir(parents=True)
    ijk = np.stack(np.indices((23, 23, 23)), axis=-1)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -44.0
    nib.save(nib.Nifti1Image((((ijk - 11) ** 2).sum(axis=-1) <= 81).astype(np.uint8), affine), folder / "ball.nii.gz")
    rng = np.random.default_rng(1)
    rows, text = ["study,n,space,group,x,y,z"], ["// Reference=MNI"]
    for i in range(8):
        group = "a" if i % 2 else "b"
        rows += [
            f"D{i} 200{i},{12 + i},MNI,{group},{x:.1f},{y:.1f},{z:.1f}" for x, y, z in rng.normal((12, 4, 0), 4, (4, 3))
        ]
        text += [f"// T{i} 201{i}", f"// Subjects={20 + i}"]
        text += [f"{x:.1f} {y:.1f} {z:.1f}" for x, y, z in rng.normal((-12, 0, 8), 4, (4, 3))] + [""]
    (folder / "drug.csv").write_text("\n".join(rows) + "\n")
    (folder / "therapy.txt").write_text("\n".join(text) + "\n")
    (folder / "study.toml").write_text(STUDY)
    (folder / "ssh.toml").write_text(f'{STUDY}[backend]\nname = "ssh"\nhosts = ["one", "two"]\n')


def commands(folder: Path) -> list[tuple[int, str]]:
    """Return each command with the exit code that it must have, in their order."""
    study, out, foci = folder / "study", folder / "out", folder / "study" / "therapy.txt"
    alone = f"--mask {folder / 'study' / 'ball.nii.gz'} -i 20 --voxel-p 0.01 -q"
    return [
        (0, "--version"),
        (0, f"example {folder / 'example'}"),
        (0, f"new {folder / 'study' / 'drug.csv'} -o {folder / 'new'} --by group"),
        (0, f"macm 12,4,0,12 --database {folder / 'study' / 'drug.csv'} -o {folder / 'macm'}"),
        (0, f"check {study}"),
        (0, f"describe {study}"),
        (0, f"plan {study}"),
        (0, f"design --experiments 6 --foci 4 --mask {study / 'ball.nii.gz'} -i 40 --simulations 5 --null uniform"),
        (0, f"protocol {study} -o {folder / 'protocol.md'}"),
        (0, f"double-extraction {folder / 'study' / 'drug.csv'} {foci}"),
        (0, "doctor -b serial"),
        (0, f"run {study} -o {out} -b serial -q"),
        (0, f"status {out}"),
        (0, f"logs {out}"),
        (0, f"collect {out}"),
        (0, f"extend {out} -i 80"),
        (0, f"verify {out}"),
        (0, f"cite {out}"),
        (0, f"cite {out} --bibtex"),
        (0, f"cite {out} --short"),
        (0, f"checklist {out}"),
        (0, f"collect {out} -o {folder / 'all.tsv'}"),
        (0, f"compare {out} {out}"),
        (69, f"figure {out} drug -o {folder / 'drug.pdf'}"),
        (0, f"leave-one-out {out}"),
        (0, f"fail-safe {out} --max 4 --series 2"),
        (0, f"power {out} --simulations 20"),
        (0, f"clustering {out} --subsamples 5"),
        (0, f"clustering {out} drug --k 2 --subsamples 5 --study {folder / 'experiment-clusters'}"),
        (0, f"null {out} drug --statistic laterality -i 20"),
        (0, f"decode {out}"),
        (0, f"decode {out} drug --by correlation -i 20"),
        (0, f"evidence {out}"),
        (0, f"collect {out}"),
        *(
            (0, f"export {out} --to {to} -o {folder / f'to-{to}'}")
            for to in ("nimare", "gingerale", "neurovault", "csv", "compose")
        ),
        (69, f"export {out} --to ro-crate"),
        (0, f"sweep {study} -o {folder / 'grid'} --set seed=1,2"),
        *((0, f"{command} {folder / 'grid'}") for command in ("status", "logs", "collect", "cite")),
        (0, f"update {study / 'study.toml'} -o {folder / 'look1'} --planned 20"),
        (0, f"subgroups {study} --by group -o {folder / 'groups'}"),
        (0, f"main-effect {foci} -o {folder / 'main'} {alone}"),
        (0, f"contrast {folder / 'study' / 'drug.csv'} {foci} -o {folder / 'contrast'} {alone}"),
        (
            0,
            f"conjunction {folder / 'study' / 'drug.csv'} {foci} -o {folder / 'conjunction'} {alone} "
            f"--inside {study / 'ball.nii.gz'}",
        ),
        (0, f"subsampled {foci} --size 5 --subsamples 4 -o {folder / 'subsampled'} {alone}"),
        (0, f"balanced-contrast {folder / 'study' / 'drug.csv'} {foci} --subsamples 4 -o {folder / 'pairs'} {alone}"),
        (0, f"moderator {folder / 'study' / 'drug.csv'} --on group -o {folder / 'moderator'} {alone}"),
        # What lies behind an extra says so before anything is computed.
        (69, f"run {study} -o s3://bucket/run"),
        (69, f"run {study} -o {folder / 'pbs'} -b pbs -w 2"),
        (69, f"run {study / 'ssh.toml'} -o {folder / 'ssh'}"),
        (69, f"run {study} -o {folder / 'gateway'} -b gateway -w 2"),
    ]


def main(folder: Path) -> int:
    """Run the commands and return 1 if any of them ended otherwise than it must."""
    from databases import write_database

    from ale_dask.cli import main as ale_dask

    write_study(folder / "study")
    write_database(folder / "data")
    os.environ["ALE_DASK_DATA"] = str(folder / "data")
    wrong = 0
    for code, command in commands(folder):
        said = io.StringIO()
        sys.argv = ["ale-dask", *command.split()]
        ended: object = 0
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                ale_dask()
            except SystemExit as end:
                ended = end.code or 0
            except BaseException as error:
                ended = f"{type(error).__name__}: {error}"
        text = said.getvalue()
        named = code == 0 or 'pip install "ale-dask[' in text
        good = ended == code and named and "Traceback" not in text
        wrong += not good
        print(f"{'ok' if good else 'WRONG'} {ended} {command}" + ("" if good else f"\n{text}"), flush=True)
    for name in ("run.json", "study_results.tsv", "logs/CITATION.md", "drug/drug_clusters.tsv"):
        if not (folder / "out" / name).is_file():
            print(f"WRONG no {name}")
            wrong += 1
    return min(wrong, 1)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
