"""Compressed files, unpacked as far as is reasonable."""

from __future__ import annotations

import zlib

from ale_dask.errors import InputError

GZIP = b"\x1f\x8b"
FREE = 16 * 2**20
"""Bytes that any file may unpack to."""
MOST = 20
"""Times its size that a file may unpack to beyond that.

Tables of coordinates shrink 5 to 8 times, the XML of sheets 7 to 15 times. Deflate reaches 1032: a message of 1 MB
could fill a gigabyte of memory.
"""


def limit(size: int) -> int:
    """Return the number of bytes that a file of `size` bytes may unpack to."""
    return FREE + MOST * size


def unpacked(data: bytes, *, name: str) -> bytes:
    """Return the bytes of a gzip file's content, and those of any other file as they are.

    Raises
    ------
    InputError
        for a damaged file, or one that unpacks to more than 16 MB and 20 times its size.
    """
    if not data.startswith(GZIP):
        return data
    parts: list[bytes] = []
    room = limit(len(data)) + 1
    rest = data
    try:
        # A gzip file may be several, one after the other; what follows the last is padding.
        while rest.startswith(GZIP) and room > 0:
            stream = zlib.decompressobj(wbits=31)
            parts.append(stream.decompress(rest, room))
            room -= len(parts[-1])
            if room > 0 and not stream.eof:
                raise InputError(f"{name}: the gzip file is cut off; copy it again")
            rest = stream.unused_data
    except zlib.error as error:
        raise InputError(f"{name}: the gzip file is damaged ({error}); copy it again") from error
    if room <= 0:
        raise InputError(
            f"{name}: unpacks to more than {limit(len(data)):,} bytes, {MOST} times its size and {FREE >> 20} MB; "
            "unpack it yourself if you trust it"
        )
    return b"".join(parts)
