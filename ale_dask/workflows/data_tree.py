"""Open the folder of a run as one tree of arrays."""

from __future__ import annotations

import warnings

import xarray as xr

from ale_dask.storage.location import Place, place, zarr_store
from ale_dask.workflows.run import collect


def open(out: str | Place) -> xr.DataTree:
    """Return a finished run as a tree: the result of each analysis, and the arrays of its store.

    Parameters
    ----------
    out
        Folder of the run, or its address in object storage.

    Returns
    -------
    xr.DataTree
        "results/NAME" is the result of an analysis, in memory. "store/NAME/maps" holds its MA maps (experiment, voxel)
        and "store/NAME/null" the iterations of its null (iteration, statistic), one variable per segment; the arrays of
        the store are read when they are used.

    Raises
    ------
    StoreError
        When the folder holds no finished run.

    Examples
    --------
    >>> tree = ale.open("out")
    >>> [name in tree["results"].children for name in ("drug", "therapy")]
    [True, True]
    >>> tree["store/drug/maps"]["ma"].dims
    ('experiment', 'voxel')
    """
    where = place(out)
    study, results, _ = collect(where)
    with warnings.catch_warnings():
        # Stores of earlier versions have no metadata for the folders of their nulls.
        warnings.filterwarnings("ignore", message="Object at")
        store = xr.open_datatree(zarr_store(where / "store.zarr"), engine="zarr", consolidated=False)
    tree = xr.DataTree(name=study.title)
    for name, result in results.items():
        tree[f"results/{name}"] = xr.DataTree(result)
    tree["store"] = store
    return tree
