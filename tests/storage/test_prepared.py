"""Arrays made from another package's files: kept once, read again, and made anew when the file is not whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ale_dask.storage import prepared as module
from ale_dask.storage.prepared import prepared


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the list that grows with every call of `make`, with a cache of its own."""
    monkeypatch.setattr(module, "CACHE_DIRECTORY", tmp_path / "kernels")
    monkeypatch.setattr(module, "CACHE_IS_KEPT", True)
    return []


def made(calls: list[int]) -> dict[str, np.ndarray]:
    calls.append(1)
    return {"volume": np.arange(5000) % 7, "names": np.array(["Amygdala L", "Insula R"])}


def read(calls: list[int]) -> None:
    arrays = prepared("some", lambda: made(calls), package="numpy")
    assert arrays["volume"].tolist() == (np.arange(5000) % 7).tolist()
    assert arrays["names"].tolist() == ["Amygdala L", "Insula R"]


def test_arrays_are_made_once(tmp_path: Path, calls: list[int]) -> None:
    read(calls)
    read(calls)
    assert len(calls) == 1
    (path,) = tmp_path.iterdir()
    assert np.__version__ in path.name


def test_every_damaged_file_is_made_anew(tmp_path: Path, calls: list[int]) -> None:
    read(calls)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for at in range(0, len(whole), 37):
        path.write_bytes(whole[:at])
        read(calls)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        read(calls)
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_keeps_nothing(
    tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHE_DIRECTORY", tmp_path / "gone" / "kernels")
    read(calls)
    read(calls)
    assert len(calls) == 2
    assert list(tmp_path.iterdir()) == []
