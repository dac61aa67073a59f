"""What people read: tables, maps, pictures and one page.

nilearn, matplotlib and jinja2 are the extra [report] and imported inside functions only.
"""

from ale_dask.reporting.common.extra import missing_extra
from ale_dask.reporting.common.map_files import write_maps
from ale_dask.reporting.figures.figure_workers import FigureWorkers, figure_workers
from ale_dask.reporting.figures.maps import write_figures
from ale_dask.reporting.html.page import write_page
from ale_dask.reporting.tables.clusters import cluster_table, conjunction_table, contrast_table, study_table
from ale_dask.reporting.tables.contributions import contribution_table
from ale_dask.reporting.tables.long import long_records, long_table, long_tsv
from ale_dask.reporting.text.methods import cite
from ale_dask.reporting.write import summary_lines, write_report, write_results

__all__ = [
    "FigureWorkers",
    "cite",
    "cluster_table",
    "conjunction_table",
    "contrast_table",
    "contribution_table",
    "figure_workers",
    "long_records",
    "long_table",
    "long_tsv",
    "missing_extra",
    "study_table",
    "summary_lines",
    "write_figures",
    "write_maps",
    "write_page",
    "write_report",
    "write_results",
]
