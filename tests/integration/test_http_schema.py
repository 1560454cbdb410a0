"""Every operation of docs/openapi.json, with what schemathesis makes of it, against a relay that runs.

No answer may be a 5xx, of a status that is not documented, or of a shape that is not described, and what does not fit
the description is refused. The same cases come at every run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from http_door import http_of
from relay_process import Relay

from relay.api.document import PLACE

USER = {"name": "fuzz", "password": "the fuzzer's password", "scopes": ["send", "queue", "providers", "admin"]}
PROGRAM = Path(sys.executable).with_name("schemathesis")
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "negative_data_rejection", "unsupported_method", "ignored_auth"),
)


SETTINGS = """\
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 422, 428, 429]
"""
"""Its own, and 412 and 413: what is refused before the body is judged, or for its size."""


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_as_described(relay: Callable[..., Relay], tmp_path: Path) -> None:
    """Slow: a few thousand requests. In capture mode nothing that is made here leaves; none of the cases can remove
    the user, who is of the file."""
    one = relay(users=[USER]).start()
    token = http_of(one).as_user(USER["name"], USER["password"]).token
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    done = subprocess.run(
        [
            *(PROGRAM, "run", PLACE, "--url", f"http://127.0.0.1:{one.http_port}"),
            *("--header", f"Authorization: Bearer {token}"),
            *("--phases", "examples,coverage,fuzzing", "--checks", ",".join(CHECKS)),
            *("--max-examples", "10", "--seed", "1", "--generation-deterministic", "--workers", "1"),
            *("--no-shrink", "--request-timeout", "20", "--suppress-health-check", "all", "--warnings", "off"),
        ],
        cwd=tmp_path,
        env=os.environ | {"SCHEMATHESIS_HOOKS": "schema_hooks", "PYTHONPATH": str(Path(__file__).parent)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, "\n".join(line[:400] for line in (done.stdout + done.stderr).splitlines())
    assert one.running
    assert one.get("/readyz")[0] == 200
