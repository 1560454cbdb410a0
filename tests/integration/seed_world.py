"""The world of seed d: a Postfix that wants a password and TLS, and a relay that trusts its CA and has one user.

Used by the tests that replay the seeds. What the seeds say of the outside is replaced here, and nothing else.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from certificates import Certificate
from postfix import Postfix, serving
from relay_process import Relay

USER = ("seed", "the password of the seeds")
SETTINGS: dict[str, Any] = {"users": [{"name": USER[0], "password": USER[1]}]}
OUTSIDE = {
    "smtp.gmail.com": "localhost",
    "your-email@gmail.com": "app@relay.test",
    "your-app-password": "right",
    "new-email@gmail.com": "other@relay.test",
    "new-app-password": "as right",
}


def adapted(port: int, text: str) -> str:
    """Text of a seed with our upstream for the host, the port and the credentials it names."""
    for theirs, ours in OUTSIDE.items():
        text = text.replace(theirs, ours)
    return text.replace("587", str(port))


def replacing(port: int, value: Any) -> Any:
    return json.loads(adapted(port, json.dumps(value)))


def trusting(relay: Relay, certificate: Certificate) -> Relay:
    """Before its start: providers made over HTTP may be on loopback, and their CA is one of this machine's."""
    relay.config["http"] |= {"allow_private_providers": True}
    relay.environment["SSL_CERT_FILE"] = str(certificate.ca)
    return relay


@contextlib.contextmanager
def world_of(certificate: Certificate, folder: Path) -> Iterator[tuple[Relay, Postfix]]:
    with serving(certificate.pem, auth=True) as upstream:
        upstream.set_password("other", "as right")
        relay = trusting(Relay(folder, SETTINGS), certificate)
        try:
            yield relay.start(), upstream
        finally:
            relay.stop()
        assert "Traceback" not in relay.log_text(), relay.log_text()[-4000:]
