"""How the driver speaks with the child process of each program: a JSON line asks, a JSON line answers.

A child is imported, compiled and warm before the first question that is timed, and lives until its program's turns are
over, so that programs can take turns on the same work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# One thread each: NiMARE and JALE are run with one process, and ours divides its own work.
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMBA")}


def serve(functions: Iterable[Callable[..., Any]]) -> None:
    """Answer [name, arguments] from standard input until it ends; what libraries print goes to standard error."""
    known = {function.__name__: function for function in functions}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            answer = {"answer": known[name](**arguments)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def megabytes(line: str = "VmHWM") -> float:
    """Return what this process holds ("VmRSS") or held at most ("VmHWM"), in MB of 10^6 bytes."""
    for entry in Path("/proc/self/status").read_text().splitlines():
        if entry.startswith(line):
            return int(entry.split()[1]) * 1024 / 1e6
    raise LookupError(line)


def forget_peak() -> None:
    """Let the peak of this process's memory begin again at what it holds now."""
    Path("/proc/self/clear_refs").write_text("5")


class Child:
    """The process of one program, pinned to one CPU."""

    def __init__(self, python: str | Path, module: str, *, cpu: int, log: Path) -> None:
        self.name = module
        self._log = log
        with log.open("a") as sink:
            self._process = subprocess.Popen(
                [str(python), "-m", f"benchmarks.{module}"],
                cwd=HERE.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
                env={**os.environ, **ONE_THREAD},
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        os.sched_setaffinity(self._process.pid, {cpu})

    def ask(self, function: str, /, **arguments: Any) -> Any:
        """Return the answer of one of the child's functions.

        Raises
        ------
        RuntimeError
            with the child's own traceback, or the end of its log when it died.
        """
        try:
            self._requests.write(json.dumps([function, arguments]) + "\n")
            self._requests.flush()
            line = self._answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{self.name} ended: {self._log.read_text()[-2000:]}")
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError(f"{self.name}.{function}: {reply['error']}")
        return reply["answer"]

    def close(self) -> None:
        """End the child."""
        self._requests.close()
        self._process.wait()
        self._answers.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
