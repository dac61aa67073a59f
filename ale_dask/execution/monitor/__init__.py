"""The live view of a run on a Dask scheduler's dashboard."""
