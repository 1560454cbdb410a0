"""Hazards C4 to C8 at the upstream side, all at once on one relay: TLS denied, false or slow, AUTH that fails.

Where TLS was asked for the password is never sent without it; the mail waits and the log says why, with the fix.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from clients import letter, smtp, submit
from relay_process import Relay, provider
from waiting import until

from relay.testing.certificates import KINDS, Zoo
from relay.testing.upstream import Raw, Script, ScriptedUpstream, Upstreams

PASSWORD = "canary-7f3a9"
QUICK = {"connect": 2, "command": 2, "data": 2}
LOGIN = {"auth": ("PLAIN", "LOGIN")}
HOST, ACCOUNT = "provider out of reach, not tried for a while", "provider suspended"
HELLO = b"\x16\x03\x03\x40\x00" + b"\x02" * 500


@dataclass(frozen=True)
class Case:
    """`reason`: what the queue says of the mail. `alarm`: the log's event. `trusted`: the password may be heard."""

    script: Script
    reason: str
    kind: str = "good"
    alarm: str = HOST
    trusted: bool = False
    tls: str = "starttls"
    login: str = "auto"


def starttls(answer: str | Raw, reason: str, alarm: str = HOST) -> Case:
    return Case(Script(phases={"starttls": answer}, tls="starttls", auth=("PLAIN",)), reason, alarm=alarm)


def auth(answer: str | Raw, reason: str, alarm: str = HOST, login: str = "plain") -> Case:
    phases = {"auth": answer}
    script = Script(phases=phases, tls="starttls", auth=(login.upper(),))
    return Case(script, reason, alarm=alarm, trusted=True, login=login)


def shown(kind: str, reason: str) -> dict[str, Case]:
    """A certificate, in both ways of TLS."""
    return {
        f"C6-{kind}-{tls}": Case(Script(tls=tls, auth=("PLAIN",)), f"454 4.7.5 .*{reason}", kind=kind, tls=tls)
        for tls in ("starttls", "implicit")
    }


INJECTED = Raw(b"220 2.0.0 go\r\n250-scripted\r\n250 AUTH PLAIN\r\n", granted=True)

CASES = {
    "C4-hidden": Case(Script(auth=("PLAIN",)), "454 4.7.4 .*does not offer STARTTLS: nothing is sent in clear"),
    "C4-garbage": starttls(Raw(b"220 go\r\nno handshake, no handshake\r\n"), "454 4.7.5|421 4.4.2"),
    "C4-354": starttls("354 go on", "421 4.5.0 .*354"),
    "C4-421": starttls("421", "421 4.3.2"),
    "C4-454": starttls("454 4.7.0 TLS not available", "454 4.7.0 TLS not available"),
    "C4-502": starttls("502 5.5.1 no TLS", "502 5.5.1 no TLS", ACCOUNT),
    "C4-554": starttls("554 5.7.3 no TLS for you", "554 5.7.3 no TLS for you", ACCOUNT),
    "C4-cut": starttls("fin", "421 4.4.2 .*closed the connection"),
    "C4-silent": starttls("silence", "421 4.4.2 .*did not answer in time"),
    "C5-injected": Case(
        Script(phases={"starttls": INJECTED}, tls="starttls"), "454 4.7.0 .*AUTH needs .* offered: none"
    ),
    **shown("expired", "has expired"),
    **shown("not-yet-valid", "not valid yet"),
    **shown("wrong-host", "is for another (name|address)"),
    **shown("self-signed", "is self-signed"),
    **shown("unknown-ca", "unknown issuer"),
    **shown("old-tls", "(no TLS newer than 1.1|connection lost)"),  # asyncio's servers say no alert when they refuse
    "C7-535": auth("535 5.7.8 bad credentials", "suspended, it refuses our account: 535 5.7.8 bad", ACCOUNT),
    "C7-454": auth("454 4.7.0 try later", "454 4.7.0 try later"),
    "C7-endless-334": auth(Raw(b"334 \r\n" * 1000), "421 4.5.0", login="login"),
    "C7-235-unasked": auth(Raw(b"235 2.7.0 welcome\r\n"), "421 4.5.0 .*235", login="login"),
    "C8-stalls": Case(
        Script(phases={"handshake": "silence"}, tls="starttls", auth=("PLAIN",)), "454 4.7.5 .*did not end within 2 s"
    ),
    "C8-drips": Case(
        Script(phases={"handshake": Raw(HELLO, pause=0.1)}, tls="starttls", auth=("PLAIN",)),
        "454 4.7.5 .*did not end within 2 s",
    ),
    "C8-stalls-implicit": Case(
        Script(phases={"connect": "silence"}, tls="implicit", auth=("PLAIN",)),
        "454 4.7.5 .*did not end within 2 s",
        tls="implicit",
    ),
}


def test_C6_the_whole_zoo_is_visited() -> None:
    assert {case.kind for case in CASES.values()} == set(KINDS)


def configured(relay: Callable[..., Relay], ups: dict[str, ScriptedUpstream], ca_file: str) -> Relay:
    account = {"username": "me", "password": PASSWORD, "ca_file": ca_file, "timeouts": QUICK}
    return relay(
        providers=[
            provider(name, ups[name].port, tls=case.tls, auth=case.login, **account) for name, case in CASES.items()
        ],
        routes=[{"match": {"recipient": f"*@{name.lower()}.test"}, "providers": [name]} for name in CASES],
        circuit={"failures": 1, "open": "1h", "max_open": "1h"},
        log={"level": "debug", "format": "json"},
    )


def messages(one: Relay) -> dict[str, dict[str, str]]:
    """Case to its message in the queue."""
    return {message["from"].partition("@")[0]: message for message in one.queue()}


@pytest.mark.slow
def test_C4_to_C8_tls_and_auth_that_fail(
    relay: Callable[..., Relay], upstreams: Callable[..., Upstreams], tmp_path: Path
) -> None:
    """Slow: those who stall are waited for until their deadline."""
    zoo, every = Zoo(tmp_path), upstreams([])
    contexts = {kind: zoo.make(kind).context for kind in KINDS}
    ups = {name: every.add(case.script, context=contexts[case.kind]) for name, case in CASES.items()}
    one = configured(relay, ups, zoo.ca_file).start()
    with smtp(one.door) as client:
        for name in CASES:
            submit(client, [f"you@{name.lower()}.test"], letter(), sender=f"{name}@client.test")
    until(lambda: alarmed(one) >= set(CASES), 20, f"alarms; missing: {set(CASES) - alarmed(one)}", every=0.2)
    until(lambda: not any(up.counts.open for up in every), 10, "who stalls is cut off at the deadline")
    waiting = messages(one)
    wrong = [line for name, case in CASES.items() for line in judge(name, case, ups[name], one, waiting)]
    assert not wrong, "\n".join(wrong)
    assert one.metric("relay_bounces_total") == 0
    for text in (one.log_text(), one.metrics(), str(waiting)):
        assert PASSWORD not in text


def alarmed(one: Relay) -> set[str]:
    return {line["provider"] for word in (HOST, ACCOUNT) for line in one.events(word)}


def judge(name: str, case: Case, up: ScriptedUpstream, one: Relay, waiting: dict[str, dict[str, str]]) -> list[str]:
    """What is wrong with a case."""
    wrong = []
    message = waiting.get(name, {"state": "not in the queue", "reason": ""})
    if message["state"] != "deferred" or not re.search(case.reason, message["reason"]):
        wrong.append(f"must wait for {case.reason!r}, is {message['state']}: {message['reason']}")
    if not one.events(case.alarm, provider=name):
        wrong.append(f"no alarm: {case.alarm}")
    heard = b"\n".join([*up.commands, *up.secrets])
    if not case.trusted and (b"AUTH" in heard or PASSWORD.encode() in heard or b"MAIL" in heard or up.secrets):
        wrong.append(f"it must not hear the password, nor MAIL; it heard {heard!r}")
    if case.trusted and sum(line.startswith(b"AUTH") for line in up.commands) != 1:
        wrong.append(f"AUTH must be tried once: {up.commands}")
    if up.received:
        wrong.append(f"it got the mail: {up.received}")
    return [f"{name}: {line}" for line in wrong]
