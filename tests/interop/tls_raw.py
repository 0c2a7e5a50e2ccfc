"""TLS 1.3 with raw public keys for aioquic (PROTOCOL.md, section 4; RFC 7250, RFC 8446 section 4.4.2).

aioquic speaks X.509 only. What differs: two extensions in ClientHello and EncryptedExtensions, and a SubjectPublicKeyInfo
where a certificate would be. The signatures are the same.
"""

import ssl
from typing import Any

from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicProtocolVersion
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keys import SPKI_PREFIX, public_bytes

CLIENT_CERTIFICATE_TYPE = 19
SERVER_CERTIFICATE_TYPE = 20
RAW_PUBLIC_KEY = 2


class RawPublicKey:
    """Stands where aioquic expects an `x509.Certificate`; it asks for these two methods only."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    def public_bytes(self, _encoding: Any = None) -> bytes:
        """The SubjectPublicKeyInfo."""
        return SPKI_PREFIX + self.key

    def public_key(self) -> Ed25519PublicKey:
        """What checks signatures."""
        return Ed25519PublicKey.from_public_bytes(self.key)


class RawKeyContext(tls.Context):
    """The client's side of a handshake in which both sides show an Ed25519 key. It knows that of the server."""

    def __init__(self, alpn: str, server_key: bytes) -> None:
        # aioquic would check a certificate's chain and names; the key is checked below instead.
        super().__init__(is_client=True, alpn_protocols=[alpn], verify_mode=ssl.CERT_NONE)
        self._server_key = server_key
        self._supported_groups = [tls.Group.X25519]
        self._signature_algorithms = [tls.SignatureAlgorithm.ED25519]

    def offer_raw_public_keys(self) -> None:
        """Adds the extensions: a list of one type each."""
        types = bytes([1, RAW_PUBLIC_KEY])
        self.handshake_extensions += [(CLIENT_CERTIFICATE_TYPE, types), (SERVER_CERTIFICATE_TYPE, types)]

    def _client_handle_encrypted_extensions(self, input_buf: Buffer) -> None:
        super()._client_handle_encrypted_extensions(input_buf)
        chosen = dict(self.received_extensions or [])
        for extension in (CLIENT_CERTIFICATE_TYPE, SERVER_CERTIFICATE_TYPE):
            if chosen.get(extension) != bytes([RAW_PUBLIC_KEY]):
                raise tls.AlertUnsupportedCertificate(f"extension {extension}: no raw public key was chosen")

    def _client_handle_certificate_request(self, input_buf: Buffer) -> None:
        super()._client_handle_certificate_request(input_buf)
        request = self._certificate_request
        if request is None or tls.SignatureAlgorithm.ED25519 not in (request.signature_algorithms or []):
            raise tls.AlertHandshakeFailure("the server wants no Ed25519 key")

    def _set_peer_certificate(self, certificate: tls.Certificate) -> None:
        if len(certificate.certificates) != 1:
            raise tls.AlertBadCertificate("there must be one raw public key")
        if certificate.certificates[0][0] != SPKI_PREFIX + self._server_key:
            raise tls.AlertBadCertificate("this is not the key of the xp2pInfo")
        self._peer_certificate = RawPublicKey(self._server_key)  # type: ignore[assignment]

    def _client_handle_finished(self, input_buf: Buffer, output_buf: Buffer) -> None:
        if self._certificate_request is None:
            raise tls.AlertHandshakeFailure("the server did not ask for our key")
        super()._client_handle_finished(input_buf, output_buf)


class RawKeyConnection(QuicConnection):
    """A QUIC client whose TLS has raw public keys on both sides."""

    def __init__(self, alpn: str, secret: Ed25519PrivateKey, server_key: bytes) -> None:
        super().__init__(
            configuration=QuicConfiguration(
                alpn_protocols=[alpn],
                supported_versions=[QuicProtocolVersion.VERSION_1],
                certificate=RawPublicKey(public_bytes(secret)),
                private_key=secret,
                idle_timeout=30,
            )
        )
        self._alpn = alpn
        self._server_key = server_key

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        context = RawKeyContext(self._alpn, self._server_key)
        context.certificate = self._configuration.certificate
        context.certificate_private_key = self._configuration.private_key
        context.handshake_extensions = self.tls.handshake_extensions
        context.alpn_cb = self.tls.alpn_cb
        context.update_traffic_key_cb = self.tls.update_traffic_key_cb
        context.offer_raw_public_keys()
        self.tls = context
