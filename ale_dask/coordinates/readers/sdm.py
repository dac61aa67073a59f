"""Text files of SDM: one study each, x, y, z and t of a peak per line; the file's name says study, software and space.

smith2010.spm_mni.txt
-24,-4,-18,3.52
"""

from __future__ import annotations

import re

from ale_dask.coordinates.decisions import Decision, Tell, untold
from ale_dask.coordinates.foci import Experiment
from ale_dask.coordinates.readers.faults import Faults
from ale_dask.coordinates.readers.text import as_focus, as_number, clean
from ale_dask.errors import InputError

_NAME = re.compile(r"(?P<study>.+?)\.(?:(?:(?P<software>[a-z0-9]+)_)?(?P<space>mni|tal)|no_peaks)\.txt(?:\.gz)?", re.I)
_SEPARATORS = re.compile(r"[,;\s]+")
# A decimal comma needs another separator: with commas alone "1,5,2" is three numbers.
_APART = re.compile(r"[;\s]+")


def is_sdm(name: str) -> bool:
    """Return whether a file has the name of a study of SDM, such as smith2010.spm_mni.txt or jones.no_peaks.txt."""
    return _NAME.fullmatch(name) is not None


def parse_lines(lines: list[str], *, name: str, tell: Tell = untold) -> tuple[Experiment, ...]:
    """Return the one experiment of a study's file, named as the file, n None: SDM keeps sample sizes elsewhere.

    Parameters
    ----------
    name
        Of the file: study.space.txt, with space mni, tal, spm_mni, fsl_tal … or no_peaks, whose study has no foci.
    tell
        Is called with what is decided: that t is not used, and which foci are of decreases.

    Raises
    ------
    InputError
        with file:line of up to 20 lines that are not x, y, z and t, and for a file without foci.
    """
    known = _NAME.fullmatch(name)
    if known is None:
        raise InputError(f"{name}:1: not the name of a study of SDM, such as smith2010.spm_mni.txt")
    faults = Faults()
    xyz, below = [], 0
    for number, line in enumerate(lines, 1):
        text = clean(line)
        if not text or _is_header(text):
            continue
        tokens = _tokens(text)
        try:
            xyz.append(as_focus(tokens[:3] if len(tokens) == 4 else tokens, line=text, where=f"{name}:{number}"))
        except InputError as error:
            faults.add(str(error))
        statistic = clean(tokens[3]) if len(tokens) == 4 else ""
        below += statistic.startswith(("-", "\u2212")) or statistic.lower() == "n"
    none = known["space"] is None
    if none and xyz:
        faults.add(f"{name}:1: the name says that the study has no peaks; name the file study.mni.txt or study.tal.txt")
    if not none and not xyz and not faults.count:
        faults.add(f"{name}:1: no foci in the whole file; name it {known['study']}.no_peaks.txt if the study has none")
    faults.refuse()
    space = "TAL" if (known["space"] or "").lower() == "tal" else "MNI"
    for decision in _decisions(known, name=name, foci=len(xyz), below=below):
        tell(decision)
    return (Experiment(known["study"], None, tuple(xyz), space, f"{name}:1"),)


def _decisions(known: re.Match[str], *, name: str, foci: int, below: int) -> list[Decision]:
    made = [Decision("sdm-text", name, "read as one study of SDM, named as its file; its t values are not used", 1)]
    if below:
        made.append(
            Decision(
                "negative-t",
                name,
                "foci with t below 0, which SDM takes for decreases, count as all others; move them into files of "
                "their own if increases and decreases are different questions",
                below,
            )
        )
    software = (known["software"] or "").lower()
    if software in ("fsl", "spm") and (known["space"] or "").lower() == "tal" and foci:
        message = f'the Talairach foci come from {software.upper()}: talairach = "{software}" converts them as such'
        made.append(Decision("sdm-software", name, message, foci))
    return made


def _tokens(text: str) -> list[str]:
    apart = [token.rstrip(",") for token in _APART.split(text) if token]
    if len(apart) in (3, 4) and all(as_number(token) is not None for token in apart):
        return apart
    return [token for token in _SEPARATORS.split(text) if token]


def _is_header(text: str) -> bool:
    return [token.strip("\"'").lower() for token in _SEPARATORS.split(text)][:3] == ["x", "y", "z"]
