"""What is kept of a conversation: enough to see what went wrong, never content, a password or an AUTH line."""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from relay.model import DeliveryOutcome, Provider, Recipient, Rewrite, Timeouts, Tls, Verdict
from relay.smtp.transcript import LINES, WIDTH, expanded, is_brief
from relay.testing.mail import PREFIX, body_of, shipment_to
from relay.testing.upstream import OFFERS, Close, Raw, Say, Script, ScriptedUpstream, Stall
from relay.upstream.smtp import SmtpTransport

Authority = Any  # conftest.Authority
ProviderFor = Callable[..., Provider]
SIZE = len(PREFIX) + body_of().size
QUICK = Timeouts(connect=1.0, command=0.2, data=0.2)
MAIL = f"C: MAIL FROM:<a@example.com> SIZE={SIZE}"
RCPT = "C: RCPT TO:<b@example.org>"
MESSAGE = f"C: <message, {SIZE} bytes>"


async def sent(
    transport: SmtpTransport, provider: Provider, *recipients: str | Recipient, **more: Any
) -> list[DeliveryOutcome]:
    return list(await transport.send(shipment_to(provider, *recipients, **more), body_of()))


async def heard(transport: SmtpTransport, provider: Provider, *recipients: str, **more: Any) -> tuple[str, ...]:
    return (await sent(transport, provider, *recipients, **more))[0].conversation


def spelled_out(outcome: DeliveryOutcome) -> tuple[str, ...]:
    assert is_brief(outcome.conversation)
    return expanded(outcome.conversation, "a@example.com", outcome.recipient.address, SIZE, str(outcome.reply))


def commands(conversation: tuple[str, ...]) -> list[str]:
    return [line for line in conversation if not line.startswith("S: 2")]


async def test_usual_mail_is_kept_short_and_spelled_out_later(
    transport: SmtpTransport, provider_for: ProviderFor
) -> None:
    async with ScriptedUpstream() as upstream:
        [outcome] = await sent(transport, provider_for(upstream))
    assert commands(spelled_out(outcome)) == [
        *(MAIL, RCPT, "C: DATA"),
        next(line for line in spelled_out(outcome) if line.startswith("S: 354")),
        MESSAGE,
    ]
    assert spelled_out(outcome)[-1] == f"S: {outcome.reply}"
    assert sum(map(len, outcome.conversation)) < 100


@pytest.mark.parametrize("number", [2, 3, 4])
async def test_so_is_mail_by_bdat(transport: SmtpTransport, provider_for: ProviderFor, number: int) -> None:
    """The first goes by DATA, the second begins with one line, the third is said at once."""
    async with ScriptedUpstream(offers=(*OFFERS, "CHUNKING")) as upstream:
        for _ in range(number):
            [outcome] = await sent(transport, provider_for(upstream))
    assert commands(spelled_out(outcome))[:2] == [MAIL, RCPT]
    assert spelled_out(outcome)[-2:] == (f"C: BDAT <message, {SIZE} bytes> LAST", f"S: {outcome.reply}")


async def test_what_is_rewritten_is_kept_as_it_was_said(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream() as upstream:
        said = await heard(transport, provider_for(upstream), rewrite=Rewrite(header_from="x@example.com"))
    assert said[0].startswith("C: MAIL FROM:<a@example.com> SIZE=") and not is_brief(said)
    assert said[-2].startswith("C: <message, ") and said[-1].startswith("S: 250 ")


async def test_dsn_parameters_are_shown(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream() as upstream:
        [outcome] = await sent(transport, provider_for(upstream), Recipient(address="b@example.org", notify="NEVER"))
    assert f"{RCPT} NOTIFY=NEVER" in outcome.conversation


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ({"mail": Say(550, "5.7.1 no")}, [MAIL, "S: 550 5.7.1 no"]),
        ({"rcpt": Say(550, "5.1.1 nobody")}, [MAIL, RCPT, "S: 550 5.1.1 nobody"]),
        ({"data": Say(451, "4.3.0 busy")}, [MAIL, RCPT, "C: DATA", "S: 451 4.3.0 busy", "C: RSET"]),
        ({"dot": Say(554, "5.7.1 spam")}, [MAIL, RCPT, "C: DATA", "S: 354 ", MESSAGE, "S: 554 5.7.1 spam"]),
        ({"dot": Close()}, [MAIL, RCPT, "C: DATA", "S: 354 ", MESSAGE, "-- closed the connection at DOT"]),
        ({"mail": Close()}, [MAIL, "-- closed the connection at MAIL"]),
        ({"data": Stall()}, [MAIL, RCPT, "C: DATA", "-- did not answer within 0.2 s at DATA"]),
        ({"mail": Raw(b"354 what\r\n")}, [MAIL, "S: 354 what", "-- answered MAIL with: 354 what"]),
        ({"rcpt": Say(421, "4.3.2 bye")}, [MAIL, RCPT, "S: 421 4.3.2 bye"]),
    ],
)
async def test_F6_where_it_ended(
    transport: SmtpTransport, provider_for: ProviderFor, script: dict[str, Any], said: list[str]
) -> None:
    async with ScriptedUpstream(script) as upstream:
        conversation = await heard(transport, provider_for(upstream, timeouts=QUICK))
    shown = [line for line in commands(conversation) if not line.startswith("S: 503")]
    assert len(shown) >= len(said), conversation
    assert all(line.startswith(begin) for line, begin in zip(shown, said, strict=False)), conversation


async def test_of_many_recipients_the_first_and_the_refused(
    transport: SmtpTransport, provider_for: ProviderFor
) -> None:
    people = [f"p{n}@{'bad' if n in (5, 40, 41, 42, 43) else 'good'}.example" for n in range(60)]
    async with ScriptedUpstream(Script(recipients={"*@bad.example": Say(550, "5.1.1 nobody")})) as upstream:
        outcomes = await sent(transport, provider_for(upstream), *people)
    assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED, Verdict.REJECTED}
    [said] = {outcome.conversation for outcome in outcomes}
    assert [line[11:14] for line in said if line.startswith("C: RCPT")] == ["<p0", "<p1", "<p2", "<p5", "<p4"]
    assert "… 55 more" in said and len(said) <= LINES
    assert said[-1].startswith("S: 250 ")


async def test_nothing_is_longer_than_it_may_be(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream({"dot": Say(554, "5.7.1 " + "spam " * 300)}) as upstream:
        said = await heard(transport, provider_for(upstream))
    assert max(map(len, said)) == WIDTH and said[-1].endswith("…")


# Before MAIL.


async def test_a_host_that_refuses_the_connection(transport: SmtpTransport) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        said = await heard(transport, Provider(name="p", host="127.0.0.1", port=port, tls=Tls.NONE))
    assert said[0] == f"-- connect 127.0.0.1 port {port}"
    assert "connection refused" in said[1]


async def test_a_certificate_that_does_not_fit(
    transport: SmtpTransport, authority: Authority, provider_for: ProviderFor
) -> None:
    async with ScriptedUpstream(tls="starttls", context=authority.context("other.example")) as upstream:
        said = await heard(transport, provider_for(upstream, ca_file=authority.ca_file))
    assert [line.partition(" 250")[0] for line in said[:1] + said[2:5]] == [
        f"-- connect 127.0.0.1 127.0.0.1 port {upstream.port}",
        "C: EHLO relay.example",
        "S:",
        "C: STARTTLS",
    ]
    assert "the certificate is for another" in said[-1] and said[-1].startswith("-- ")


@pytest.mark.parametrize("method", ["plain", "login"])
async def test_H8_L8_a_refused_login_shows_the_reply_and_no_secret(
    transport: SmtpTransport, authority: Authority, provider_for: ProviderFor, method: str
) -> None:
    secret = "cAnary-7f31-pass"
    quoted = b64encode(b"\0me\0" + secret.encode()).decode()
    script = {"auth": Say(535, f"5.7.8 no such login: {quoted} {secret} {b64encode(secret.encode()).decode()}")}
    async with ScriptedUpstream(
        script, tls="implicit", context=authority.context(), auth=(method.upper(),)
    ) as upstream:
        login = {"username": "me", "password": secret, "auth": method, "ca_file": authority.ca_file}
        [outcome] = await sent(transport, provider_for(upstream, **login))
    said = outcome.conversation
    assert "-- TLS" in said and f"-- AUTH {method.upper()}" in said
    assert said[-1].startswith("S: 535 5.7.8 no such login: ***")
    everything = "\n".join((*said, str(outcome.reply)))
    for piece in (secret, quoted, b64encode(secret.encode()).decode()):
        assert piece not in everything


async def test_H8_a_password_that_is_quoted_later_is_not_kept(
    transport: SmtpTransport, authority: Authority, provider_for: ProviderFor
) -> None:
    secret = "cAnary-7f31-pass"
    async with ScriptedUpstream(
        {"mail": Say(550, f"5.7.1 your password {secret} is weak")},
        tls="implicit",
        context=authority.context(),
        auth=("PLAIN",),
    ) as upstream:
        login = {"username": "me", "password": secret, "ca_file": authority.ca_file}
        said = await heard(transport, provider_for(upstream, **login))
    assert "S: 550 5.7.1 your password *** is weak" in said
