"""Show each kind of analysis: a module per kind, named as it is, with its row of `common.presentation`."""

from importlib import import_module

from ale_dask.analyses.contrast_conjunction import KIND
from ale_dask.analyses.kinds import ANALYSES
from ale_dask.reporting.common.presentation import add_presentation

for _kind in (*ANALYSES, KIND):
    add_presentation(import_module(f"{__name__}.{_kind.replace('-', '_')}").PRESENTATION)
