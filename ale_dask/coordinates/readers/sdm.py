"""Text files of SDM: one study each, x, y, z and t of a peak per line; the file's name says study, software and space.

smith2010.spm_mni.txt
-24,-4,-18,3.52
"""

from __future__ import annotations

import re

from ale_dask.coordinates.decisions import Decision
from ale_dask.coordinates.foci import Experiment
from ale_dask.coordinates.readers.faults import Faults
from ale_dask.coordinates.readers.foci_file import FociFile
from ale_dask.coordinates.readers.headings import is_heading
from ale_dask.coordinates.readers.text import as_focus, as_number, clean
from ale_dask.errors import InputError

_NAME = re.compile(r"(?P<study>.+?)\.(?:(?:(?P<software>[a-z0-9]+)_)?(?P<space>mni|tal)|no_peaks)\.txt(?:\.gz)?", re.I)
_SEPARATORS = re.compile(r"[,;\s]+")
# A decimal comma needs another separator: with commas alone "1,5,2" is three numbers.
_NO_COMMAS = re.compile(r"[;\s]+")


def recognises(file: FociFile) -> bool:
    """Return whether a text without headings of Sleuth has the name of a study of SDM."""
    return is_sdm(file.name) and not any(map(is_heading, file.lines))


def is_sdm(name: str) -> bool:
    """Return whether a file has the name of a study of SDM, such as smith2010.spm_mni.txt or jones.no_peaks.txt."""
    return _NAME.fullmatch(name) is not None


def read(file: FociFile) -> tuple[Experiment, ...]:
    """Return the one experiment of a study's file, named as the file, n None: SDM keeps sample sizes elsewhere.

    The file is called study.space.txt, with space mni, tal, spm_mni, fsl_tal …, or study.no_peaks.txt.

    Raises
    ------
    InputError
        with file:line of up to 20 lines that are not x, y, z and t, and for a file without foci.
    """
    name = file.name
    known = _NAME.fullmatch(name)
    if known is None:
        raise InputError(f"{name}:1: not the name of a study of SDM, such as smith2010.spm_mni.txt")
    faults = Faults()
    xyz, decreases = [], 0
    for number, line in enumerate(file.lines, 1):
        text = clean(line)
        if not text or _is_header(text):
            continue
        tokens = _tokens(text)
        try:
            xyz.append(as_focus(tokens[:3] if len(tokens) == 4 else tokens, line=text, where=f"{name}:{number}"))
        except InputError as error:
            faults.add(str(error))
        statistic = clean(tokens[3]) if len(tokens) == 4 else ""
        decreases += statistic.startswith(("-", "\u2212")) or statistic.lower() == "n"
    no_peaks = known["space"] is None
    if no_peaks and xyz:
        faults.add(f"{name}:1: the name says that the study has no peaks; name the file study.mni.txt or study.tal.txt")
    if not no_peaks and not xyz and not faults.count:
        faults.add(f"{name}:1: no foci in the whole file; name it {known['study']}.no_peaks.txt if the study has none")
    faults.refuse()
    space = "TAL" if (known["space"] or "").lower() == "tal" else "MNI"
    for decision in _decisions(known, name=name, foci=len(xyz), decreases=decreases):
        file.tell(decision)
    return (Experiment(known["study"], None, tuple(xyz), space, f"{name}:1"),)


def _decisions(known: re.Match[str], *, name: str, foci: int, decreases: int) -> list[Decision]:
    made = [Decision("sdm-text", name, "read as one study of SDM, named as its file; its t values are not used", 1)]
    if decreases:
        made.append(
            Decision(
                "negative-t",
                name,
                "foci with t below 0, which SDM takes for decreases, count as all others; move them into files of "
                "their own if increases and decreases are different questions",
                decreases,
            )
        )
    software = (known["software"] or "").lower()
    if software in ("fsl", "spm") and (known["space"] or "").lower() == "tal" and foci:
        message = f'the Talairach foci come from {software.upper()}: talairach = "{software}" converts them as such'
        made.append(Decision("sdm-software", name, message, foci))
    return made


def _tokens(text: str) -> list[str]:
    tokens = [token.rstrip(",") for token in _NO_COMMAS.split(text) if token]
    if len(tokens) in (3, 4) and all(as_number(token) is not None for token in tokens):
        return tokens
    return [token for token in _SEPARATORS.split(text) if token]


def _is_header(text: str) -> bool:
    return [token.strip("\"'").lower() for token in _SEPARATORS.split(text)][:3] == ["x", "y", "z"]
