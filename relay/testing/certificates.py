"""A zoo of certificates for scripted upstreams: one that is good, and all the ways one may not be.

Tests and `python -m relay.testing.upstream` take them. They are made afresh, by a CA nobody else trusts; trustme makes
them and belongs to the extra "test", so nothing of the running relay may import this.
"""

from __future__ import annotations

import ssl
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trustme import CA

NAMES = ("localhost", "127.0.0.1", "::1")
_DAY = timedelta(days=1)


class NoTrustme(RuntimeError):
    """What makes the certificates is not installed."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """`ca_file`: what a client is to trust (PEM). `context`: a server's, TLS 1.2 and newer unless `kind` is old."""

    kind: str
    ca_file: str
    context: ssl.SSLContext


def _authority() -> CA:
    try:
        import trustme
    except ImportError:
        raise NoTrustme("certificates for tests need trustme: pip install 'smtp-relay[test]'") from None
    return trustme.CA()


class Zoo:
    """Makes certificates of one CA. `folder`: where `ca_file` is written, and nothing else stays."""

    def __init__(self, folder: Path | str) -> None:
        self._authority = _authority()
        self.ca_file = str(Path(folder) / "ca.pem")
        self._authority.cert_pem.write_to_path(self.ca_file)

    def make(self, kind: str = "good", *names: str) -> Certificate:
        """One of KINDS, for `names`, else for localhost and its addresses. KeyError: no such kind."""
        return Certificate(kind, self.ca_file, KINDS[kind](self._authority, names or NAMES))


def _good(authority: CA, names: tuple[str, ...]) -> ssl.SSLContext:
    return _valid(authority, names)


def _valid(
    authority: CA, names: tuple[str, ...], begins: datetime | None = None, ends: datetime | None = None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, not_before=begins, not_after=ends).configure_cert(context)
    return context


def _expired(authority: CA, names: tuple[str, ...]) -> ssl.SSLContext:
    now = datetime.now(UTC)
    return _valid(authority, names, now - 3 * _DAY, now - _DAY)


def _not_yet(authority: CA, names: tuple[str, ...]) -> ssl.SSLContext:
    now = datetime.now(UTC)
    return _valid(authority, names, now + _DAY, now + 3 * _DAY)


def _wrong_host(authority: CA, names: tuple[str, ...]) -> ssl.SSLContext:
    return _valid(authority, ("other.example",))


def _unknown(authority: CA, names: tuple[str, ...]) -> ssl.SSLContext:
    return _valid(_authority(), names)


def _old(authority: CA, names: tuple[str, ...]) -> ssl.SSLContext:
    """Talks TLS 1.0 and 1.1 only (RFC 8996 forbids both)."""
    context = _valid(authority, names)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def _self_signed(authority: CA, names: tuple[str, ...]) -> ssl.SSLContext:
    """trustme makes none; what it stands on (cryptography) does."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, names[0])])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - _DAY, now + _DAY)
    others = x509.SubjectAlternativeName([x509.DNSName(each) for each in names if ":" not in each])
    certificate = builder.add_extension(others, critical=False).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # load_cert_chain takes files only
        file.write(private + certificate.public_bytes(serialization.Encoding.PEM))
        file.flush()
        context.load_cert_chain(file.name)
    return context


KINDS: Mapping[str, Callable[[CA, tuple[str, ...]], ssl.SSLContext]] = {
    "good": _good,
    "expired": _expired,
    "not-yet-valid": _not_yet,
    "wrong-host": _wrong_host,
    "self-signed": _self_signed,
    "unknown-ca": _unknown,
    "old-tls": _old,
}
