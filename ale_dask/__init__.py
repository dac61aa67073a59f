"""Activation likelihood estimation (ALE) meta-analysis as distributed batch computation on Dask.

    import ale_dask as ale
    a = ale.main_effect(ale.read_foci("drug.txt"), seed=1)
    b = ale.main_effect(ale.read_foci("therapy.txt"), seed=1)
    c = ale.contrast(a, b)
    d = ale.conjunction([a, b])
    ale.write_report([a, b, c, d], "out/")

Everything is loaded when first used: importing this package imports nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ale_dask.analyses.functions import conjunction, contrast, leave_one_out, main_effect
    from ale_dask.analyses.power import power
    from ale_dask.analyses.robustness import fail_safe, noise_experiments
    from ale_dask.by_column import subgroups
    from ale_dask.data.describe import describe
    from ale_dask.data.fetch import fetch
    from ale_dask.data.lint import lint, lint_contrast
    from ale_dask.data.masks import load_mask
    from ale_dask.data.readers import read_foci, write_foci
    from ale_dask.data.selection import flow, select
    from ale_dask.data.subject_groups import with_groups
    from ale_dask.file_drawer import fail_safe_of_run
    from ale_dask.following import cancel, follow, logs
    from ale_dask.leaving_out import survival_of_run
    from ale_dask.left_out import survival
    from ale_dask.results import cite, cluster_table, contribution_table, long_table, write_report
    from ale_dask.results.compare import compare
    from ale_dask.results.export import export
    from ale_dask.results.fail_safe import fail_safe_table
    from ale_dask.results.overlap import overlap_table
    from ale_dask.results.places import robustness_table
    from ale_dask.results.scaling import scaling_table
    from ale_dask.results.surviving import survival_table
    from ale_dask.runs import collect, run
    from ale_dask.submission import submit
    from ale_dask.sweeping import sweep
    from ale_dask.upkeep import extend, run_share, status, verify
    from ale_dask.words.config import Study, load_study
    from ale_dask.words.errors import AleError, BackendError, InputError, StoreError, UnfinishedError
    from ale_dask.words.version import __version__

_WHERE = {
    "__version__": "words.version",
    "AleError": "words.errors",
    "BackendError": "words.errors",
    "InputError": "words.errors",
    "StoreError": "words.errors",
    "Study": "words.config",
    "UnfinishedError": "words.errors",
    "cancel": "following",
    "cite": "results",
    "cluster_table": "results",
    "collect": "runs",
    "compare": "results.compare",
    "conjunction": "analyses.functions",
    "contrast": "analyses.functions",
    "contribution_table": "results",
    "describe": "data.describe",
    "export": "results.export",
    "extend": "upkeep",
    "fail_safe": "analyses.robustness",
    "fail_safe_of_run": "file_drawer",
    "fail_safe_table": "results.fail_safe",
    "fetch": "data.fetch",
    "flow": "data.selection",
    "follow": "following",
    "leave_one_out": "analyses.functions",
    "lint": "data.lint",
    "lint_contrast": "data.lint",
    "load_mask": "data.masks",
    "load_study": "words.config",
    "logs": "following",
    "long_table": "results",
    "main_effect": "analyses.functions",
    "overlap_table": "results.overlap",
    "noise_experiments": "analyses.robustness",
    "power": "analyses.power",
    "read_foci": "data.readers",
    "robustness_table": "results.places",
    "run": "runs",
    "run_share": "upkeep",
    "scaling_table": "results.scaling",
    "select": "data.selection",
    "status": "upkeep",
    "subgroups": "by_column",
    "submit": "submission",
    "survival": "left_out",
    "sweep": "sweeping",
    "survival_of_run": "leaving_out",
    "survival_table": "results.surviving",
    "verify": "upkeep",
    "with_groups": "data.subject_groups",
    "write_foci": "data.readers",
    "write_report": "results",
}

__all__ = [
    "AleError",
    "BackendError",
    "InputError",
    "StoreError",
    "Study",
    "UnfinishedError",
    "__version__",
    "cancel",
    "cite",
    "cluster_table",
    "collect",
    "compare",
    "conjunction",
    "contrast",
    "contribution_table",
    "describe",
    "export",
    "extend",
    "fail_safe",
    "fail_safe_of_run",
    "fail_safe_table",
    "fetch",
    "flow",
    "follow",
    "leave_one_out",
    "lint",
    "lint_contrast",
    "load_mask",
    "load_study",
    "logs",
    "long_table",
    "main_effect",
    "noise_experiments",
    "overlap_table",
    "power",
    "read_foci",
    "robustness_table",
    "run",
    "run_share",
    "scaling_table",
    "select",
    "status",
    "subgroups",
    "submit",
    "survival",
    "survival_of_run",
    "survival_table",
    "sweep",
    "verify",
    "with_groups",
    "write_foci",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'ale_dask' has no attribute '{name}'")
    return getattr(import_module(f"ale_dask.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
