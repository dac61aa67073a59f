"""Result images of GingerALE: a NIfTI header extension holds the foci of the analysis as Sleuth text.

<mask>
Reference=MNI
</mask>
<foci>// Smith 2010; faces > houses
// Subjects=12
-24	-4	-18
</foci>

Only the header and its extensions are read, which nibabel would not do of a gzipped file without unpacking it whole.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

from ale_dask.coordinates.foci import Experiment
from ale_dask.coordinates.readers import sleuth
from ale_dask.coordinates.readers.text import as_space, clean, decode, shown
from ale_dask.errors import InputError

_GZIP = b"\x1f\x8b"
# sizeof_hdr: where the magic stands and what it is in one file or two; where the volume begins and how it is written.
_LAYOUTS = {348: (344, (b"n+1\0", b"ni1\0"), 108, "f"), 540: (4, (b"n+2\0", b"ni2\0"), 168, "q")}
_HEADER = 544
# The 50 experiments of a contrast take 9 KB.
_FREE_BYTES = 1 << 19
_MOST_TIMES = 4
_NO_FOCI = (
    "a NIfTI image without foci in its header; give a result image as GingerALE wrote it, or the file of its foci"
)


def is_image(data: bytes) -> bool:
    """Return whether a file's bytes begin as a NIfTI image does, gzipped or not."""
    try:
        return _order(_unpacked(data, _HEADER)) is not None
    except zlib.error:
        return False


def parse_image(data: bytes, *, name: str, space: str | None = None) -> tuple[Experiment, ...]:
    """Return the experiments whose foci a result image of GingerALE keeps in its header.

    Of an image of two samples (contrast, conjunction), all experiments of both: the column foci_set is 1 and 2.
    Lines in messages and sources are those of the extension's text.

    Raises
    ------
    InputError
        for a damaged file, an image without foci in its header, and with the line for what cannot be read of them.
    """
    text = _extension(data, name=name)
    file = f"{name}:extension"
    stated = _reference(text, file=file)
    found = [
        sleuth.parse_lines(decode(section, name=file), name=file, space=stated or space, first=line)
        for line, section in _sections(text, file=file)
    ]
    if len(found) == 1:
        return found[0]
    return tuple(replace(e, columns={"foci_set": str(i)}) for i, part in enumerate(found, 1) for e in part)


def foci_texts(data: bytes, *, name: str) -> list[bytes]:
    """Return the text of each part between <foci> and </foci> in the header of a result image of GingerALE.

    Raises
    ------
    InputError
        for a damaged file, or an image without foci in its header.
    """
    return [section for _, section in _sections(_extension(data, name=name), file=f"{name}:extension")]


def _unpacked(data: bytes, most: int) -> bytes:
    if not data.startswith(_GZIP):
        return data[:most]
    return zlib.decompressobj(wbits=31).decompress(data, most)


def _order(header: bytes) -> tuple[str, int] | None:
    """Return the byte order and the size of a NIfTI header, None for other bytes."""
    for order in "<>":
        size = struct.unpack(f"{order}i", header[:4])[0] if len(header) >= 4 else 0
        if size in _LAYOUTS and len(header) >= size + 4:
            at, magics, *_ = _LAYOUTS[size]
            if header[at : at + 4] in magics:
                return order, size
    return None


def _extension(data: bytes, *, name: str) -> bytes:
    """Return the text of the header extension that has foci."""
    most = _FREE_BYTES + _MOST_TIMES * len(data)
    try:
        # One byte more than allowed tells a header that is too long from one that fits.
        head = _unpacked(data, most + 1)
    except zlib.error as error:
        raise InputError(f"{name}: the gzip file is damaged ({error}); copy it again") from error
    found = _order(head)
    if found is None:
        raise InputError(f"{name}: not a NIfTI image; give .nii or .nii.gz")
    order, size = found
    at, magics, offset, kind = _LAYOUTS[size]
    begin = struct.unpack_from(f"{order}{kind}", head, offset)[0]
    if not 0 <= begin < 2**62:
        raise InputError(f"{name}: the header says that its volume begins at byte {begin}; copy it again")
    # Of a pair of files the header has the one to itself.
    end = int(begin) if head[at : at + 4] == magics[0] else len(head)
    if end > most:
        raise InputError(f"{name}: {end:,} bytes of header, more than {most:,}; this is no result image of GingerALE")
    if end > len(head):
        raise InputError(f"{name}: the file is cut off inside its header; copy it again")
    position = size + 4
    while head[size] and position + 8 <= end:
        length = struct.unpack_from(f"{order}i", head, position)[0]
        if not 8 <= length <= end - position:
            raise InputError(f"{name}: a header extension of {length} bytes at byte {position}; copy the file again")
        # GingerALE takes the code of AFNI, 4, whose own extensions are XML without foci: the content decides.
        text = head[position + 8 : position + length].rstrip(b"\0")
        if b"<foci>" in text:
            return text
        position += length
    raise InputError(f"{name}: {_NO_FOCI}")


def _reference(text: bytes, *, file: str) -> str | None:
    before = text.partition(b"<foci>")[0]
    for number, line in enumerate(decode(before, name=file), 1):
        stated = re.fullmatch(r"reference\s*=(.*)", clean(line), re.IGNORECASE)
        if stated:
            known = as_space(stated[1])
            if known is None:
                raise InputError(f"{file}:{number}: unknown space {shown(stated[1])}; it must be MNI or Talairach")
            return known
    return None


def _sections(text: bytes, *, file: str) -> Iterator[tuple[int, bytes]]:
    """Yield each part between <foci> and </foci> with the number of its first line."""
    at = text.find(b"<foci>")
    line, counted = 1, 0
    while at >= 0:
        begin = at + len(b"<foci>")
        end = text.find(b"</foci>", begin)
        line += text.count(b"\n", counted, begin)
        counted = begin
        if end < 0:
            raise InputError(f"{file}:{line}: <foci> without its end </foci>; copy the file again")
        yield line, text[begin:end]
        at = text.find(b"<foci>", end)
