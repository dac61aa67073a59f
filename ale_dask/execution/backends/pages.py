"""Pages of a scheduler's web server that need bokeh, which is imported when the first of them is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Scheduler


def add_later(scheduler: Scheduler, add: Callable[[], None]) -> None:
    """Have `add` add its pages to a scheduler's web server at the first request for a page that is not there.

    To import all of bokeh takes more than a second of CPU, and most runs end before anybody has looked at a page.

    Raises
    ------
    ImportError
        when bokeh is not installed, or not one that distributed takes.
    """
    import bokeh
    from distributed.versions import BOKEH_REQUIREMENT
    from tornado.web import Application

    if not BOKEH_REQUIREMENT.specifier.contains(bokeh.__version__, prereleases=True):
        raise ImportError(f"Dask needs {BOKEH_REQUIREMENT} for the dashboard, not bokeh {bokeh.__version__}")

    class Later(Application):  # type: ignore[misc]
        waits = True

        def find_handler(self, request: Any, **more: Any) -> None:
            """Return no handler: the web server asks the applications that are added here next."""
            if self.waits:
                self.waits = False
                add()

    scheduler.http_application.add_application(Later())


def add_dask_pages(scheduler: Scheduler) -> None:
    """Add Dask's own dashboard to a scheduler's web server, at the first request for one of its pages.

    Raises
    ------
    ImportError
        when bokeh is not installed, or not one that distributed takes.
    """

    def add() -> None:
        from distributed.dashboard.scheduler import connect

        connect(scheduler.http_application, scheduler.http_server, scheduler, prefix="")

    add_later(scheduler, add)
