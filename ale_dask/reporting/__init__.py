"""Write what people read of results: maps, tables, figures, texts and one page.

nilearn, matplotlib and jinja2 are the extra [report] and imported inside functions only.

Each sentence is written once. Methods text: the modules of text/ that the sections in text/methods.py name; references:
text/references.toml. What is said of one kind of analysis, its maps, the error that each controls, its facts and the
notes below the table for a paper: the module of the kind in kinds/, and on the base rate common/base_rate.py and
common/base_rate_maps.py. Notes on the page: common/wording.py. Head of the page: text/summary.py and kinds/. Headings
and captions of the page: templates/.
"""

from ale_dask.reporting import kinds as kinds
from ale_dask.reporting.common.extra import missing_extra
from ale_dask.reporting.common.map_files import write_maps
from ale_dask.reporting.common.once import each_table_once
from ale_dask.reporting.figures.maps import write_figures
from ale_dask.reporting.html.page import write_page
from ale_dask.reporting.tables.clusters import cluster_table
from ale_dask.reporting.tables.comparisons import conjunction_table, contrast_table
from ale_dask.reporting.tables.contributions import contribution_table
from ale_dask.reporting.tables.long import long_records, long_table, long_tsv
from ale_dask.reporting.tables.study import study_table
from ale_dask.reporting.text.methods import cite
from ale_dask.reporting.write import summary_lines, write_report, write_results

__all__ = [
    "cite",
    "cluster_table",
    "conjunction_table",
    "contrast_table",
    "contribution_table",
    "each_table_once",
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
