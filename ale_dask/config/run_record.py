"""The content of run.json: what was run, on which files, with which settings and program, and how long it took."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

SCHEMA = 1
"""Raised when a key of run.json changes its meaning; records of version 0.1 have no key "schema"."""


class ProgramRecord(TypedDict):
    """The program that computed a run."""

    name: str
    version: str
    numerics: int


class FileRecord(TypedDict):
    """An input file, by the last part of its path."""

    file: str
    sha256: str


class BackendRecord(TypedDict):
    """Where the blocks of the last run or collect were computed."""

    name: str
    workers: int | str | None


class FollowUpRecord(TypedDict):
    """An analysis that was made of a result of a finished run."""

    analysis: str
    what: str
    title: str
    methods: NotRequired[str]
    """What the methods text says of it, with {names} for the analyses, where that depends on what was asked."""


class RunRecord(TypedDict):
    """The content of run.json."""

    schema: int
    program: ProgramRecord
    title: str
    simulated: bool
    inputs: dict[str, list[FileRecord]]
    """The files of each sample, and the images that its selection names."""
    samples: dict[str, dict[str, Any]]
    """Settings of each sample, and the numbers of experiments in Talairach space and without a sample size."""
    selection: list[dict[str, Any]]
    """Numbers of experiments and foci after each step of a sample's selection."""
    columns: NotRequired[dict[str, Any]]
    """What columns of the files say of search coverage, extraction and the source of the data, where there are any."""
    records: NotRequired[dict[str, Any]]
    """How the literature was searched and screened, where the study says so."""
    protocol: NotRequired[dict[str, Any]]
    """The file and sha256 of the protocol, and the sentences on deviations from it, where the study names one."""
    living: NotRequired[dict[str, Any]]
    """The looks of a living meta-analysis and how error is spent over them, where the study is one."""
    inference: dict[str, Any]
    """Every setting, and the size of the mask."""
    backend: BackendRecord
    environment: dict[str, str]
    """Versions of Python and of libraries, and the machine."""
    atlases: list[str]
    """The atlases that name the regions of clusters in the tables written with this record."""
    wall_seconds: float
    analyses: dict[str, dict[str, Any]]
    """Of each analysis: the attributes of its result, digests of its nulls, its decisions, its segments."""
    follow_ups: NotRequired[list[FollowUpRecord]]
    """Those that still hold, put in for the methods text; run.json has none."""
