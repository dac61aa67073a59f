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
from ale_dask.coordinates.readers.foci_file import FociFile
from ale_dask.coordinates.readers.text import as_space, clean, decode, shown
from ale_dask.errors import InputError

_GZIP = b"\x1f\x8b"
# By the size of a header of NIfTI-1 and NIfTI-2: the byte at which the magic stands; the magic of an image in one file
# and in two; the byte at which the offset of the volume stands, and its type.
_LAYOUTS = {348: (344, (b"n+1\0", b"ni1\0"), 108, "f"), 540: (4, (b"n+2\0", b"ni2\0"), 168, "q")}
_HEADER_BYTES = 544
# A header may take 512 kB and four times the size of the file. The 50 experiments of a contrast take 9 kB.
_FREE_BYTES = 1 << 19
_MAX_RATIO = 4
_NO_FOCI = (
    "a NIfTI image without foci in its header; give a result image as GingerALE wrote it, or the file of its foci"
)


def recognises(file: FociFile) -> bool:
    """Return whether a file begins as a NIfTI image does, gzipped or not."""
    try:
        return _order_and_size(_unpacked(file.data, _HEADER_BYTES)) is not None
    except zlib.error:
        return False


def read(file: FociFile) -> tuple[Experiment, ...]:
    """Return the experiments whose foci a result image of GingerALE keeps in its header.

    An image of two samples (contrast, conjunction) has the experiments of both: their column foci_set is 1 or 2.
    Lines in messages and sources are numbered within the text of the header extension.

    Raises
    ------
    InputError
        for a damaged file, an image without foci in its header, and with the line for foci that cannot be read.
    """
    text = _extension(file.data, name=file.name)
    name = f"{file.name}:extension"
    space = _reference(text, name=name) or file.space
    samples = [
        sleuth.parse_lines(decode(section, name=name), name=name, space=space, first=line)
        for line, section in _sections(text, name=name)
    ]
    if len(samples) == 1:
        return samples[0]
    return tuple(replace(e, columns={"foci_set": str(i)}) for i, sample in enumerate(samples, 1) for e in sample)


def foci_texts(data: bytes, *, name: str) -> list[bytes]:
    """Return the text of each part between <foci> and </foci> in the header of a result image of GingerALE.

    Raises
    ------
    InputError
        for a damaged file, or an image without foci in its header.
    """
    return [section for _, section in _sections(_extension(data, name=name), name=f"{name}:extension")]


def _unpacked(data: bytes, max_bytes: int) -> bytes:
    if not data.startswith(_GZIP):
        return data[:max_bytes]
    return zlib.decompressobj(wbits=31).decompress(data, max_bytes)


def _order_and_size(header: bytes) -> tuple[str, int] | None:
    """Return the byte order and the size of a NIfTI header, None for other bytes."""
    for order in "<>":
        size = struct.unpack(f"{order}i", header[:4])[0] if len(header) >= 4 else 0
        if size in _LAYOUTS and len(header) >= size + 4:
            at, magics, *_ = _LAYOUTS[size]
            if header[at : at + 4] in magics:
                return order, size
    return None


def _extension(data: bytes, *, name: str) -> bytes:
    """Return the text of the header extension that holds foci."""
    max_bytes = _FREE_BYTES + _MAX_RATIO * len(data)
    try:
        # The last byte tells a header that is too long.
        head = _unpacked(data, max_bytes + 1)
    except zlib.error as error:
        raise InputError(f"{name}: the gzip file is damaged ({error}); copy it again") from error
    known = _order_and_size(head)
    if known is None:
        raise InputError(f"{name}: not a NIfTI image; give .nii or .nii.gz")
    order, size = known
    at, magics, offset, kind = _LAYOUTS[size]
    begin = struct.unpack_from(f"{order}{kind}", head, offset)[0]
    if not 0 <= begin < 2**62:
        raise InputError(f"{name}: the header says that its volume begins at byte {begin}; copy it again")
    # The header of an image in two files fills its file.
    end = int(begin) if head[at : at + 4] == magics[0] else len(head)
    if end > max_bytes:
        raise InputError(
            f"{name}: {end:,} bytes of header, more than {max_bytes:,}; this is no result image of GingerALE"
        )
    if end > len(head):
        raise InputError(f"{name}: the file is cut off inside its header; copy it again")
    return _extension_with_foci(head, end=end, order=order, size=size, name=name)


def _extension_with_foci(head: bytes, *, end: int, order: str, size: int, name: str) -> bytes:
    position = size + 4
    while head[size] and position + 8 <= end:
        length = struct.unpack_from(f"{order}i", head, position)[0]
        if not 8 <= length <= end - position:
            raise InputError(f"{name}: a header extension of {length} bytes at byte {position}; copy the file again")
        # The code of the extension does not tell: GingerALE and AFNI both use 4.
        text = head[position + 8 : position + length].rstrip(b"\0")
        if b"<foci>" in text:
            return text
        position += length
    raise InputError(f"{name}: {_NO_FOCI}")


def _reference(text: bytes, *, name: str) -> str | None:
    before = text.partition(b"<foci>")[0]
    for number, line in enumerate(decode(before, name=name), 1):
        stated = re.fullmatch(r"reference\s*=(.*)", clean(line), re.IGNORECASE)
        if stated:
            known = as_space(stated[1])
            if known is None:
                raise InputError(f"{name}:{number}: unknown space {shown(stated[1])}; it must be MNI or Talairach")
            return known
    return None


def _sections(text: bytes, *, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield each part between <foci> and </foci> with the number of its first line."""
    at = text.find(b"<foci>")
    line, counted = 1, 0
    while at >= 0:
        begin = at + len(b"<foci>")
        end = text.find(b"</foci>", begin)
        line += text.count(b"\n", counted, begin)
        counted = begin
        if end < 0:
            raise InputError(f"{name}:{line}: <foci> without its end </foci>; copy the file again")
        yield line, text[begin:end]
        at = text.find(b"<foci>", end)
