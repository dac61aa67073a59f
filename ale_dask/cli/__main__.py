"""python -m ale_dask.cli, for where no script is installed."""

from ale_dask.cli import main

main()
