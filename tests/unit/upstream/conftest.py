"""What the upstream tests share: certificates, a provider for a scripted upstream, a transport that is closed."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from relay.model import Limits, Provider, Timeouts, Tls
from relay.testing.upstream import ScriptedUpstream
from relay.upstream.smtp import SmtpTransport

ProviderFor = Callable[..., Provider]


@dataclass(frozen=True)
class Authority:
    """A CA of the test's own: `ca_file` for our side, contexts for the server's."""

    ca: trustme.CA
    ca_file: str

    def context(self, *names: str, **options: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*(names or ("localhost", "127.0.0.1")), **options).configure_cert(context)
        return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    ca = trustme.CA()
    path: Path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return Authority(ca, str(path))


@pytest.fixture
def provider_for() -> ProviderFor:
    def make(upstream: ScriptedUpstream, **changes: Any) -> Provider:
        defaults: dict[str, Any] = {
            "name": "p",
            "host": "127.0.0.1",
            "port": upstream.port,
            "tls": Tls(upstream.tls),
            "limits": Limits(connections=1),
            "timeouts": Timeouts(connect=5.0, command=5.0, data=5.0),
        }
        return Provider(**{**defaults, **changes})

    return make


@pytest.fixture
async def transport() -> AsyncIterator[SmtpTransport]:
    made = SmtpTransport("relay.example")
    yield made
    await made.close()
