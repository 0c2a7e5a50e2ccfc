"""Integers and fields as PROTOCOL.md has them: big-endian, and varints of RFC 9000, section 16."""


class Malformed(ValueError):
    """Bytes or text that are not what PROTOCOL.md says."""


class Reader:
    """Takes fields off the front of some bytes. Every method raises `Malformed` if there are too few."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes were not taken yet."""
        return len(self._data) - self._at

    @property
    def position(self) -> int:
        """How many bytes were taken."""
        return self._at

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        if size > self.left:
            raise Malformed(f"byte {self._at}: {size} bytes are needed, {self.left} are left")
        self._at += size
        return self._data[self._at - size : self._at]

    def rest(self) -> bytes:
        """All that was not taken yet."""
        return self.take(self.left)

    def uint(self, size: int) -> int:
        """A number of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def flag(self) -> bool:
        """A byte that is 0 or 1."""
        value = self.uint(1)
        if value > 1:
            raise Malformed(f"byte {self._at - 1}: {value} is neither 0 nor 1")
        return value == 1

    def varint(self) -> int:
        """A varint in any of its forms."""
        first = self.uint(1)
        size = 1 << (first >> 6)
        return int.from_bytes(bytes([first & 0x3F]) + self.take(size - 1), "big")

    def short_varint(self) -> int:
        """A varint that must be in its shortest form (section 15, "Between members")."""
        start = self._at
        value = self.varint()
        if varint(value) != self._data[start : self._at]:
            raise Malformed(f"byte {start}: a varint that is longer than it needs to be")
        return value

    def end(self) -> None:
        """Nothing may be left."""
        if self.left:
            raise Malformed(f"byte {self._at}: {self.left} bytes too many")


def uint(value: int, size: int) -> bytes:
    """A number in `size` bytes."""
    return value.to_bytes(size, "big")


def varint(value: int) -> bytes:
    """A varint in its shortest form."""
    for prefix, size in enumerate((1, 2, 4, 8)):
        if value < 1 << (8 * size - 2):
            return uint(value | prefix << (8 * size - 2), size)
    raise ValueError(f"{value} is too large for a varint")


def zigzag(value: int) -> int:
    """The signed number that an unsigned one stands for: 0, -1, 1, -2, 2..."""
    return value >> 1 ^ -(value & 1)
