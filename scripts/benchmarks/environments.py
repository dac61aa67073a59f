"""The environments of the programs that ours is compared with, made once and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# NiMARE 0.22.1 imports names that nilearn 0.14 no longer has.
PROGRAMS = {"nimare": ["NiMARE==0.22.1", "nilearn<0.14"], "jale": ["JALE==0.2.10"]}


def cache_folder() -> Path:
    """Return where environments are kept unless told otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ale_dask" / "bench"


def python_of(program: str, folder: Path) -> Path:
    """Return the Python of a program's environment, which is made if it is not there; uv if there is, else pip."""
    home = folder / program
    python = home / "bin" / "python"
    done = home / "requirements.txt"
    wanted = "\n".join(PROGRAMS[program]) + "\n"
    if done.exists() and done.read_text() == wanted:
        return python
    print(f"making {home}: {', '.join(PROGRAMS[program])}", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    if shutil.which("uv"):
        commands = [
            ["uv", "venv", "--quiet", "--python", sys.executable, str(home)],
            ["uv", "pip", "install", "--quiet", "--python", str(python), *PROGRAMS[program]],
        ]
    else:
        commands = [
            [sys.executable, "-m", "venv", str(home)],
            [str(python), "-m", "pip", "install", "--quiet", *PROGRAMS[program]],
        ]
    for command in commands:
        subprocess.run(command, check=True)
    done.write_text(wanted)
    return python
