"""Ed25519 keys and tickets (PROTOCOL.md, section 1)."""

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

import blake3
from codec import Malformed, uint

TICKET_NONCE_CONTEXT = "xp2p 2026-11 ticket nonce"
SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410; section 4)."""


def secret_key(seed: bytes) -> Ed25519PrivateKey:
    """The secret key of 32 bytes."""
    return Ed25519PrivateKey.from_private_bytes(seed)


def public_bytes(secret: Ed25519PrivateKey) -> bytes:
    """The 32 bytes of the public key that belongs to a secret one."""
    return secret.public_key().public_bytes_raw()


def ticket_nonce(secret: Ed25519PrivateKey, epoch: int) -> bytes:
    """The ticket nonce of an epoch: only the camera can make it."""
    return blake3.derive_key(TICKET_NONCE_CONTEXT, secret.private_bytes_raw() + uint(epoch, 4))[:16]


def ticket(public: bytes, nonce: bytes) -> bytes:
    """The ticket of a camera's key and a nonce."""
    return blake3.digest(public + nonce)[:16]


def is_signed(public: bytes, signature: bytes, text: bytes) -> bool:
    """Whether the holder of a key has signed a text."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except InvalidSignature:
        return False
    return True


def base64url(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """The reverse; there is exactly one text for some bytes."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise Malformed(f"not base64url: {error}") from error
    if base64url(data) != text:
        raise Malformed("base64url in another form than the only one")
    return data
