"""Message bodies inside table rows: compressed, in chunks that each fit one property (64 KiB)."""

from __future__ import annotations

import zlib

from shared.stores.table import Row

_CHUNK = 60_000


def pack(body: bytes) -> dict[str, bytes]:
    """A body as table properties: compressed, in chunks that each fit one property."""
    packed = zlib.compress(body, 6)
    return {f"body{index}": packed[start : start + _CHUNK] for index, start in enumerate(range(0, len(packed), _CHUNK))}


def unpack(row: Row) -> bytes:
    chunks: list[bytes] = []
    while isinstance(chunk := row.values.get(f"body{len(chunks)}"), bytes):
        chunks.append(chunk)
    return zlib.decompress(b"".join(chunks))
