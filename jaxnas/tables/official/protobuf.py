"""Messages of protocol buffers without their library: fields by number, as the wire format has them."""

import struct
from collections.abc import Iterator

Value = int | float | bytes
VARINT, DOUBLE, BYTES, SINGLE = 0, 1, 2, 5


def fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """Yield the number and the value of each field: 64 and 32 bits are floating-point, the rest ints or bytes.

    Raises:
      ValueError: it is no message.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        value: Value
        if kind == VARINT:
            value, at = _varint(message, at)
        elif kind in (DOUBLE, SINGLE):
            form = "<d" if kind == DOUBLE else "<f"
            content, at = _bytes(message, at, struct.calcsize(form))
            (value,) = struct.unpack(form, content)
        elif kind == BYTES:
            size, at = _varint(message, at)
            value, at = _bytes(message, at, size)
        else:
            raise ValueError(f"a field of kind {kind}")
        yield number, value


def _bytes(message: bytes, at: int, size: int) -> tuple[bytes, int]:
    if at + size > len(message):
        raise ValueError("it ends within a field")
    return message[at : at + size], at + size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("it ends within a number")
