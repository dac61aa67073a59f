"""Gzipped files, unpacked up to a limit that depends on their size."""

from __future__ import annotations

import zlib

from ale_dask.errors import InputError

GZIP = b"\x1f\x8b"
FREE_BYTES = 16 * 2**20
"""Number of bytes that any file may unpack to."""
MAX_RATIO = 20
"""A file may unpack to `FREE_BYTES` and this many times its size.

Tables of coordinates shrink 5 to 8 times, the XML of sheets 7 to 15 times. Deflate reaches 1032 times: a file of 1 MB
could fill a gigabyte of memory.
"""


def limit(size: int) -> int:
    """Return the number of bytes that a file of `size` bytes may unpack to."""
    return FREE_BYTES + MAX_RATIO * size


def unpacked(data: bytes, *, name: str) -> bytes:
    """Return the content of a gzip file, and the bytes of any other file unchanged.

    Raises
    ------
    InputError
        for a damaged file, or one that unpacks to more than 16 MB and 20 times its size.
    """
    if not data.startswith(GZIP):
        return data
    parts: list[bytes] = []
    # One byte more than the limit tells a file that exceeds it.
    room = limit(len(data)) + 1
    rest = data
    try:
        # A gzip file may be several streams, one after the other; padding may follow the last.
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
            f"{name}: unpacks to more than {limit(len(data)):,} bytes, {MAX_RATIO} times its size and "
            f"{FREE_BYTES >> 20} MB; unpack it yourself if you trust it"
        )
    return b"".join(parts)
