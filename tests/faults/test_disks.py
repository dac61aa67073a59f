"""A disk that is full or read-only: exit code 74, one message, nothing half-written, and the same command goes on.

Chunks that were damaged on disk are in tests/storage/test_store.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CalledProcessError

import nibabel as nib
import pytest
from support.commands import quietly
from support.faults import ale, amid_blocks, disk, ended, expected, mount, needs_root, start, write_study
from support.runs import chunks, digests, digests_of, with_backend
from support.slurm import wait_until

from ale_dask.config.study import load_study
from ale_dask.errors import StoreError
from ale_dask.execution.plan import Plan
from ale_dask.workflows import follow, maintain, run
from ale_dask.workflows.status import status

ROOM = 64_000
"""kB that hold a whole run of the tiny study, which takes 3,000."""


def one_message(errors: str) -> None:
    assert errors.count("ale-dask: ") == 1
    assert len(errors.strip().splitlines()) == 1, errors


def nothing_is_half_written(out: Path) -> None:
    def temporary() -> list[Path]:
        return [p for p in out.rglob("*") if p.name.startswith(".") or p.name.endswith(".partial")]

    # zarr writes in threads: when one fails, another may still be about to delete its own temporary file.
    wait_until(lambda: not temporary(), seconds=1200, what=f"no temporary file, there are {temporary()}")
    found = [path for path in out.rglob("*") if path.is_file()]
    for path in found:
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".jsonl":
            assert all(json.loads(line) for line in path.read_text().splitlines())
        elif path.name == "plan.npz":
            Plan.from_bytes(path.read_bytes())
        elif path.name.endswith(".nii.gz"):
            nib.load(path).get_fdata()


# Each size fills up at another moment; the last lets all blocks through and stops the results.
@needs_root
@pytest.mark.parametrize(
    ("kilobytes", "where", "blocks"),
    [
        (12, "drug", (0, 0)),
        pytest.param(300, "plan.npz", (0, 0), marks=pytest.mark.slow),
        pytest.param(780, "maps", (0, 0), marks=pytest.mark.slow),
        (1400, "/0: ", (1, 239)),
        (2400, ".", (240, 240)),
    ],
    ids=["store", "plans", "maps", "blocks", "results"],
)
def test_a_full_disk_exits_74_and_with_more_room_the_same_run_ends(
    tmp_path: Path, kilobytes: int, where: str, blocks: tuple[int, int]
) -> None:
    study = write_study(tmp_path / "tiny")
    with disk(tmp_path / "disk", kilobytes=kilobytes) as small:
        out = small / "out"
        _, errors = ale("run", study, "-o", out, "-b", "serial", code=74)
        assert "No space left on device" in errors
        assert where in errors
        assert "run again" in errors
        one_message(errors)
        assert blocks[0] <= chunks(out) <= blocks[1]
        nothing_is_half_written(out)
        mount("-o", f"remount,size={ROOM}k", small)
        assert digests(with_backend(load_study(study), name="serial"), out) == expected()


@needs_root
def test_any_write_that_finds_the_disk_full_says_so(tmp_path: Path) -> None:
    study = with_backend(load_study(write_study(tmp_path / "tiny")), name="serial")
    for kilobytes in [*range(4, 40, 4), *range(640, 980, 20)]:
        with disk(tmp_path / f"disk{kilobytes}", kilobytes=kilobytes) as small:
            with pytest.raises(StoreError, match="No space left on device"):
                digests(study, small / "out")
            nothing_is_half_written(small / "out")


@pytest.mark.slow
@needs_root
def test_workers_on_a_full_disk_stop_the_run_too(tmp_path: Path) -> None:
    study = write_study(tmp_path / "tiny")
    with disk(tmp_path / "disk", kilobytes=1400) as small:
        _, errors = ale("run", study, "-o", small / "out", "-b", "processes", "-w", 2, code=74)
        assert "No space left on device" in errors
        one_message(errors)
        assert 0 < chunks(small / "out") < 240
        mount("-o", f"remount,size={ROOM}k", small)
        assert digests(with_backend(load_study(study), name="serial"), small / "out") == expected()


@needs_root
def test_a_disk_that_turns_read_only_amid_blocks_exits_74_and_resumes(tmp_path: Path) -> None:
    study = write_study(tmp_path / "tiny")
    with disk(tmp_path / "disk", kilobytes=ROOM) as turned:
        out = turned / "out"
        command = ("run", study, "-o", out, "-b", "serial")
        process = start(*command)
        amid_blocks(out, process)
        # Refused as busy while a chunk is open for writing.
        while process.poll() is None:
            try:
                mount("-o", "remount,ro", turned)
            except CalledProcessError:
                continue
            break
        _, errors = ended(process, code=74)
        assert "Read-only file system" in errors
        one_message(errors)
        assert 0 < chunks(out) < 240
        _, errors = ale(*command, code=74)
        assert "Read-only file system" in errors
        assert 0 < sum(standing.done for standing in status(out)) < 240
        mount("-o", "remount,rw", turned)
        assert digests_of(ale(*command)[0]) == expected()


@needs_root
def test_a_finished_run_on_a_read_only_disk_can_be_looked_at(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path / "tiny", block_size=10))
    with disk(tmp_path / "disk", kilobytes=ROOM) as archive:
        out = archive / "out"
        results, record = run.run(with_backend(study, name="serial"), out, quiet=True)
        run.write(results, record, out, study=study, pictures=False)
        mount("-o", "remount,ro", archive)
        with pytest.raises(OSError, match="Read-only"):
            (out / "new").touch()
        rows = json.loads(quietly("status", out, "--json")[0])
        assert [row["done"] for row in rows] == [60] * 4
        assert maintain.verify(out, blocks=2) == []
        assert list(follow.logs(out))
        quietly("collect", out, "-o", tmp_path / "table.tsv")
        assert len((tmp_path / "table.tsv").read_text().splitlines()) > 1
        _, errors = quietly("collect", out, "--no-pictures", "-q", code=74)
        assert "Read-only file system" in errors
        one_message(errors)
        mount("-o", "remount,rw", archive)
        assert digests_of(quietly("collect", out, "--no-pictures", "--json")[0]) == expected()
