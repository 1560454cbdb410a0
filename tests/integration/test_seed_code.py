"""Seed d's commands and code, run as they stand: curl in bash, the JavaScript in node.

Replaced are the port of the relay, the token, and what names the outside (`seed_world`); nothing is added to them. How
curl shows the status is told it by its own configuration file.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from certificates import Certificate
from http_door import Http, http_of
from postfix import Postfix
from relay_process import Relay
from seed_files import code, like, provider_api
from seed_world import SETTINGS, USER, adapted, trusting
from waiting import program

MAKE = Callable[..., Relay]
GROUPS = provider_api()
CURLRC = 'silent\nshow-error\nwrite-out = "\\n%{http_code}"\n'

# What a page of the same site has around it: its address, which relative ones are of, and its user's token.
PAGE = """\
const token = process.env.TOKEN;
const address = process.env.ADDRESS;
const plainFetch = globalThis.fetch;
globalThis.fetch = (where, how) => plainFetch(new URL(where, address), how);
"""
CALLS = """
const results = [];
results.push(await createSMTPProvider({}));
results.push(await testSMTPProvider(results[0].id, "test@example.com"));
results.push(await healthCheck(results[0].id));
require("node:fs").writeFileSync(process.env.RESULTS, JSON.stringify(results));
"""


def prepared(relay: MAKE, postfix: Callable[..., Postfix], certificate: Certificate) -> tuple[Relay, Postfix, Http]:
    upstream = postfix(auth=True)
    one = trusting(relay(**SETTINGS), certificate).start()
    return one, upstream, http_of(one).as_user(*USER)


def run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def check(results: list[Any], upstream: Postfix) -> None:
    created, tested, checked = results
    like(GROUPS[1].answer(201), created)
    assert (created["id"], created["smtp_password"]) == (1, "encrypted_password")
    like(GROUPS[6].answer(200), tested)
    assert tested["success"] is True
    like(GROUPS[7].answer(200), checked)
    assert checked["health_status"] == "healthy"
    assert upstream.wait_for("test@example.com")[0].sender == created["from_email"]


def test_the_curl_commands(
    relay: MAKE, postfix: Callable[..., Postfix], certificate: Certificate, tmp_path: Path
) -> None:
    program("curl")
    one, upstream, http = prepared(relay, postfix, certificate)
    (tmp_path / ".curlrc").write_text(CURLRC)
    printed = []
    for command in code("d", "bash"):
        text = adapted(upstream.port, command).replace("localhost:8000", f"localhost:{one.http_port}")
        text = text.replace("YOUR_TOKEN", http.token)
        printed.append(run(["bash", "-c", text], tmp_path, CURL_HOME=str(tmp_path)).rpartition("\n"))
    assert [status for _, _, status in printed] == ["201", "200", "200"], printed
    check([json.loads(body) for body, _, _ in printed], upstream)


def test_the_javascript(relay: MAKE, postfix: Callable[..., Postfix], certificate: Certificate, tmp_path: Path) -> None:
    one, upstream, http = prepared(relay, postfix, certificate)
    functions = adapted(upstream.port, "".join(code("d", "javascript")))
    (tmp_path / "page.cjs").write_text(f"{PAGE}(async () => {{\n{functions}\n{CALLS}\n}})();\n")
    results = tmp_path / "results.json"
    run(
        [program("node"), "page.cjs"],
        tmp_path,
        ADDRESS=f"http://127.0.0.1:{one.http_port}",
        TOKEN=http.token,
        RESULTS=str(results),
    )
    check(json.loads(results.read_text()), upstream)
