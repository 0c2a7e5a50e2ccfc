"""BLAKE3, hash and key derivation mode, after its public specification.

Python's standard library has none, and this peer has but one package, that for QUIC. It is slow and not hardened against
side channels: good enough for a test, for nothing else.
"""

import struct
from collections.abc import Sequence

_IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
_ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_MIXED = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip
_CHUNK_START, _CHUNK_END, _PARENT, _ROOT = 1, 2, 4, 8
_DERIVE_KEY_CONTEXT, _DERIVE_KEY_MATERIAL = 32, 64
_BLOCK, _CHUNK = 64, 1024
_MASK = 0xFFFFFFFF


def _rotate(word: int, bits: int) -> int:
    return (word >> bits | word << (32 - bits)) & _MASK


def _compress(chaining: Sequence[int], block: bytes, counter: int, flags: int) -> tuple[int, ...]:
    """The first eight words of the compression function's output: all that 32 bytes of output need."""
    words = struct.unpack("<16I", block.ljust(_BLOCK, b"\0"))
    state = [*chaining, *_IV[:4], counter & _MASK, counter >> 32, len(block), flags]
    for round_ in range(7):
        for step, (a, b, c, d) in enumerate(_MIXED):
            for word, right, left in ((words[2 * step], 16, 12), (words[2 * step + 1], 8, 7)):
                state[a] = (state[a] + state[b] + word) & _MASK
                state[d] = _rotate(state[d] ^ state[a], right)
                state[c] = (state[c] + state[d]) & _MASK
                state[b] = _rotate(state[b] ^ state[c], left)
        if round_ < 6:
            words = tuple(words[i] for i in _ORDER)
    return tuple(state[i] ^ state[i + 8] for i in range(8))


def _chunk(key: Sequence[int], chunk: bytes, counter: int, flags: int, root: int) -> tuple[int, ...]:
    chaining = tuple(key)
    blocks = [chunk[i : i + _BLOCK] for i in range(0, len(chunk), _BLOCK)] or [b""]
    for i, block in enumerate(blocks):
        start = _CHUNK_START if i == 0 else 0
        end = _CHUNK_END | root if i == len(blocks) - 1 else 0
        chaining = _compress(chaining, block, counter, flags | start | end)
    return chaining


def _tree(key: Sequence[int], data: bytes, first: int, flags: int, root: int) -> tuple[int, ...]:
    if len(data) <= _CHUNK:
        return _chunk(key, data, first, flags, root)
    # The left half has the largest power of two of whole chunks that leaves something for the right one.
    chunks = 1 << ((len(data) - 1) // _CHUNK).bit_length() - 1
    left = _tree(key, data[: chunks * _CHUNK], first, flags, 0)
    right = _tree(key, data[chunks * _CHUNK :], first + chunks, flags, 0)
    return _compress(key, struct.pack("<16I", *left, *right), 0, flags | _PARENT | root)


def digest(data: bytes) -> bytes:
    """BLAKE3 of some bytes: 32 bytes."""
    return struct.pack("<8I", *_tree(_IV, data, 0, 0, _ROOT))


def derive_key(context: str, material: bytes) -> bytes:
    """BLAKE3 in key derivation mode: 32 bytes."""
    key = _tree(_IV, context.encode(), 0, _DERIVE_KEY_CONTEXT, _ROOT)
    return struct.pack("<8I", *_tree(key, material, 0, _DERIVE_KEY_MATERIAL, _ROOT))
