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
    from ale_dask.analyses.api import conjunction, contrast, leave_one_out, main_effect
    from ale_dask.analyses.sensitivity.api import fail_safe, noise_experiments
    from ale_dask.analyses.sensitivity.power import power
    from ale_dask.config.study import Study, load_study
    from ale_dask.coordinates.describe import describe
    from ale_dask.coordinates.lint import lint, lint_contrast
    from ale_dask.coordinates.masks import load_mask
    from ale_dask.coordinates.readers import read_foci, write_foci
    from ale_dask.coordinates.selection import flow, select
    from ale_dask.coordinates.subject_groups import with_groups
    from ale_dask.datasets.fetch import fetch
    from ale_dask.errors import AleError, BackendError, InputError, StoreError, UnfinishedError
    from ale_dask.reporting import cite, cluster_table, contribution_table, long_table, write_report
    from ale_dask.reporting.compare.runs import compare
    from ale_dask.reporting.export.files import export
    from ale_dask.reporting.figures.overlap import overlap_table
    from ale_dask.reporting.sensitivity.fail_safe import fail_safe_table
    from ale_dask.reporting.sensitivity.leave_one_out import survival_table
    from ale_dask.reporting.sensitivity.scaling import scaling_table
    from ale_dask.reporting.sensitivity.sweep_clusters import robustness_table
    from ale_dask.version import __version__
    from ale_dask.workflows.fail_safe import fail_safe_of_run
    from ale_dask.workflows.follow import cancel, follow, logs
    from ale_dask.workflows.jackknife import survival
    from ale_dask.workflows.leave_one_out import survival_of_run
    from ale_dask.workflows.maintain import extend, run_share, status, verify
    from ale_dask.workflows.run import collect, run
    from ale_dask.workflows.subgroups import subgroups
    from ale_dask.workflows.submit import submit
    from ale_dask.workflows.sweep import sweep

_WHERE = {
    "__version__": "version",
    "AleError": "errors",
    "BackendError": "errors",
    "InputError": "errors",
    "StoreError": "errors",
    "Study": "config.study",
    "UnfinishedError": "errors",
    "cancel": "workflows.follow",
    "cite": "reporting",
    "cluster_table": "reporting",
    "collect": "workflows.run",
    "compare": "reporting.compare.runs",
    "conjunction": "analyses.api",
    "contrast": "analyses.api",
    "contribution_table": "reporting",
    "describe": "coordinates.describe",
    "export": "reporting.export.files",
    "extend": "workflows.maintain",
    "fail_safe": "analyses.sensitivity.api",
    "fail_safe_of_run": "workflows.fail_safe",
    "fail_safe_table": "reporting.sensitivity.fail_safe",
    "fetch": "datasets.fetch",
    "flow": "coordinates.selection",
    "follow": "workflows.follow",
    "leave_one_out": "analyses.api",
    "lint": "coordinates.lint",
    "lint_contrast": "coordinates.lint",
    "load_mask": "coordinates.masks",
    "load_study": "config.study",
    "logs": "workflows.follow",
    "long_table": "reporting",
    "main_effect": "analyses.api",
    "overlap_table": "reporting.figures.overlap",
    "noise_experiments": "analyses.sensitivity.api",
    "power": "analyses.sensitivity.power",
    "read_foci": "coordinates.readers",
    "robustness_table": "reporting.sensitivity.sweep_clusters",
    "run": "workflows.run",
    "run_share": "workflows.maintain",
    "scaling_table": "reporting.sensitivity.scaling",
    "select": "coordinates.selection",
    "status": "workflows.maintain",
    "subgroups": "workflows.subgroups",
    "submit": "workflows.submit",
    "survival": "workflows.jackknife",
    "sweep": "workflows.sweep",
    "survival_of_run": "workflows.leave_one_out",
    "survival_table": "reporting.sensitivity.leave_one_out",
    "verify": "workflows.maintain",
    "with_groups": "coordinates.subject_groups",
    "write_foci": "coordinates.readers",
    "write_report": "reporting",
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
