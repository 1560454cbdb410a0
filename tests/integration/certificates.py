"""Certificates for servers on 127.0.0.1, made for one test run by a CA of its own.

Used by the `certificate` fixture. Nothing here is trusted by anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """For localhost and 127.0.0.1. `ca`, `cert` (the chain) and `key` are files; `pem`: key and chain together."""

    ca: Path
    cert: Path
    key: Path
    pem: bytes


def issue(folder: Path) -> Certificate:
    """Make a CA and a certificate by it, as files in `folder`."""
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost", "127.0.0.1")
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    made = Certificate(folder / "ca.pem", folder / "cert.pem", folder / "key.pem", leaf.private_key_pem.bytes() + chain)
    authority.cert_pem.write_to_path(str(made.ca))
    made.cert.write_bytes(chain)
    leaf.private_key_pem.write_to_path(str(made.key))
    return made
