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
    from ale_dask.data.describe import describe
    from ale_dask.data.fetch import fetch
    from ale_dask.data.lint import lint, lint_contrast
    from ale_dask.data.masks import load_mask
    from ale_dask.data.readers import read_foci, write_foci
    from ale_dask.data.selection import flow, select
    from ale_dask.following import cancel, follow, logs
    from ale_dask.results import cite, cluster_table, contribution_table, long_table, write_report
    from ale_dask.results.compare import compare
    from ale_dask.results.export import export
    from ale_dask.runs import collect, run
    from ale_dask.submission import submit
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
    "power": "analyses.power",
    "read_foci": "data.readers",
    "run": "runs",
    "run_share": "upkeep",
    "select": "data.selection",
    "status": "upkeep",
    "submit": "submission",
    "verify": "upkeep",
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
    "power",
    "read_foci",
    "run",
    "run_share",
    "select",
    "status",
    "submit",
    "verify",
    "write_foci",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'ale_dask' has no attribute '{name}'")
    return getattr(import_module(f"ale_dask.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
