"""TFRecord files without TensorFlow: a length and data, each with a masked CRC-32C."""

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from jaxnas.errors import UserError

POLYNOMIAL = 0x82F63B78  # of CRC-32C (Castagnoli), bits reversed
MASK = 0xA282EAD8
AT_ONCE = 4096  # records whose checksums are computed together
LONGEST = 1 << 16  # bytes of a record; NAS-Bench-101 has about a thousand


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file.

    Raises:
      UserError: it ends within a record, or a checksum is wrong.
    """
    with path.open("rb") as file:
        pieces = _framed(file, path)
        while batch := list(islice(pieces, AT_ONCE)):
            for part, name in enumerate(("length", "data")):
                wanted = np.array([known[part] for _, known in batch], np.uint32)
                found = masked_crc32c([framed[part] for framed, _ in batch])
                if (found != wanted).any():
                    raise UserError(
                        f"{path}: the checksum of a record's {name} is wrong: the file is damaged; get it anew"
                    )
            yield from (data for (_, data), _ in batch)


def masked_crc32c(texts: Sequence[bytes]) -> np.ndarray:
    """The masked CRC-32C `[n]` of each text: all of them at once, byte after byte."""
    lengths = np.array([len(text) for text in texts])
    order = np.argsort(-lengths, kind="stable")
    padded = np.zeros((int(lengths.max()), len(texts)), np.uint8)  # a row for each position
    for column, row in enumerate(order):
        padded[: lengths[row], column] = np.frombuffer(texts[row], np.uint8)
    present = np.searchsorted(-lengths[order], -np.arange(len(padded)), side="left")  # longer than the position
    crc = np.full(len(texts), 0xFFFFFFFF, np.uint32)
    for position, count in enumerate(present):
        crc[:count] = _TABLE[(crc[:count] ^ padded[position, :count]) & 0xFF] ^ (crc[:count] >> 8)
    crc ^= np.uint32(0xFFFFFFFF)
    masked = ((crc >> 15) | (crc << 17)) + np.uint32(MASK)
    out = np.empty_like(masked)
    out[order] = masked
    return out


def _framed(file: IO[bytes], path: Path) -> Iterator[tuple[tuple[bytes, bytes], tuple[int, int]]]:
    """Yield of each record the bytes of its length and its data, and the checksums that stand beside them."""
    while head := file.read(12):
        size = int.from_bytes(head[:8], "little")
        body = file.read(size + 4) if len(head) == 12 and size < LONGEST else b""
        if len(body) < size + 4 or len(head) < 12:
            raise UserError(f"{path}: it ends within a record, or is no TFRecord file; get it anew")
        yield (head[:8], body[:-4]), (*struct.unpack("<I", head[8:]), *struct.unpack("<I", body[-4:]))


def _table() -> np.ndarray:
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, (crc >> 1) ^ np.uint32(POLYNOMIAL), crc >> 1)
    return crc


_TABLE = _table()
