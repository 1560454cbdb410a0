"""Checksums over what lies in the spool, so that a flipped bit is never delivered as if it were whole (hazard G6).

Used by `rows` in writing and `claims` in reading. It finds damage of a disk, not the work of an enemy; CRC-32 costs a
microsecond a message.
"""

from __future__ import annotations

import zlib

_SUM = ',"sum":'


def seal(meta: str, prefix: bytes, body: int) -> int:
    """One column for two: in its low 32 bits the CRC of the body, above it that of envelope and prefix, never 0."""
    return (zlib.crc32(prefix, zlib.crc32(meta.encode())) & 0x7FFFFFFF or 1) << 32 | body


def check(sealed: int, meta: str, prefix: bytes) -> None:
    """ValueError when envelope or prefix are not as they were written. Rows of before there were seals are believed."""
    if sealed >> 32 and seal(meta, prefix, body_crc(sealed)) != sealed:
        raise ValueError("not as it was written")


def body_crc(sealed: int) -> int:
    return sealed & 0xFFFFFFFF


def with_sum(text: str) -> str:
    """A JSON object that is not empty, with its own checksum as the last member."""
    return f"{text[:-1]}{_SUM}{zlib.crc32(text.encode())}}}"


def without_sum(text: str) -> str:
    """The object as it was before `with_sum`; ValueError when it is another. One without a checksum is believed."""
    before, found, crc = text.rpartition(_SUM)
    if not found:
        return text
    before += "}"
    if f"{zlib.crc32(before.encode())}}}" != crc:
        raise ValueError("not as it was written")
    return before
