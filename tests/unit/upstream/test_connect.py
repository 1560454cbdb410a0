"""From settings to a connection: what may go wrong before MAIL, and that no password is given away meanwhile."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay.model import DeliveryOutcome, Fault, Phase, Provider, Timeouts, Tls, Verdict
from relay.testing.mail import body_of, shipment_to
from relay.testing.upstream import Close, Raw, Say, ScriptedUpstream, Stall
from relay.upstream.causes import insecure
from relay.upstream.connect import choose_mechanism, may_say_password
from relay.upstream.dial import interleave
from relay.upstream.smtp import SmtpTransport

Authority = Any  # conftest.Authority
ProviderFor = Callable[..., Provider]
LOGIN = {"username": "me", "password": "s3cret-password"}
QUICK = Timeouts(connect=0.2, command=0.2, data=0.2)


async def sent(transport: SmtpTransport, provider: Provider) -> DeliveryOutcome:
    [outcome] = await transport.send(shipment_to(provider), body_of())
    return outcome


def assert_deferred(outcome: DeliveryOutcome, phase: Phase, words: str) -> None:
    assert (outcome.verdict, outcome.fault) == (Verdict.DEFERRED, Fault.PROVIDER), outcome
    assert outcome.phase is phase, outcome
    assert words in outcome.reply.text, outcome


def assert_nothing_given_away(upstream: ScriptedUpstream) -> None:
    assert upstream.secrets == []
    assert not [line for line in upstream.commands if line[:4] in (b"AUTH", b"MAIL")]


# CONNECT


async def test_F7_a_name_that_does_not_resolve_is_deferred(transport: SmtpTransport) -> None:
    for host in ("no-such-host.invalid", "x" * 64 + ".example"):
        outcome = await sent(transport, Provider(name=host, host=host, port=25, tls=Tls.NONE))
        assert_deferred(outcome, Phase.CONNECT, host)
        assert outcome.reply.enhanced == "4.4.3"


async def test_refused_connection_names_the_cause(transport: SmtpTransport) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        outcome = await sent(transport, Provider(name="p", host="127.0.0.1", port=port, tls=Tls.NONE))
    assert_deferred(outcome, Phase.CONNECT, "connection refused")


async def test_the_address_that_answers_wins(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    """localhost is ::1 and 127.0.0.1 where both exist; only one of them listens."""
    async with ScriptedUpstream() as upstream:
        assert (await sent(transport, provider_for(upstream, host="localhost"))).verdict is Verdict.ACCEPTED


def test_families_take_turns() -> None:
    v6, v4 = socket.AF_INET6, socket.AF_INET
    given = [(v6, ("a", 1)), (v6, ("b", 1)), (v6, ("c", 1)), (v4, ("d", 1))]
    assert [address[0] for _, address in interleave(given)] == ["a", "d", "b", "c"]


# BANNER and EHLO


@pytest.mark.parametrize(
    ("script", "phase", "words"),
    [
        ({"banner": Say(554, "5.7.1 go away")}, Phase.BANNER, "go away"),
        ({"banner": Say(421, "4.3.2 busy")}, Phase.BANNER, "busy"),
        ({"banner": Close()}, Phase.BANNER, "closed the connection"),
        ({"banner": Raw(b"SSH-2.0-OpenSSH\r\n")}, Phase.BANNER, "SSH"),
        ({"connect": Stall()}, Phase.BANNER, "tls: implicit"),
        ({"banner": Raw(b"220 ready\r\n250 again\r\n")}, Phase.BANNER, "more than one reply"),
        ({"ehlo": Say(421, "4.3.2 busy")}, Phase.EHLO, "busy"),
        ({"ehlo": Say(550, "5.7.1 bad name")}, Phase.EHLO, "bad name"),
        ({"ehlo": Close()}, Phase.EHLO, "closed the connection"),
        ({"ehlo": Stall()}, Phase.EHLO, "did not answer in time"),
        ({"ehlo": Raw(b"250-x\r\n" * 9000)}, Phase.EHLO, "too long"),
        ({"ehlo": Raw(b"250-scripted\r\n250 DSN\r\n250 more\r\n")}, Phase.EHLO, "more than one reply"),
    ],
)
async def test_banner_and_ehlo_faults(
    transport: SmtpTransport, provider_for: ProviderFor, script: dict[str, Say], phase: Phase, words: str
) -> None:
    async with ScriptedUpstream(script) as upstream:
        outcome = await sent(transport, provider_for(upstream, timeouts=QUICK, **LOGIN))
        assert_nothing_given_away(upstream)
    assert outcome.verdict is Verdict.DEFERRED and outcome.fault is Fault.PROVIDER
    assert (outcome.phase, words in outcome.reply.text) == (phase, True), outcome


async def test_who_knows_no_ehlo_is_greeted_with_helo(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream({"ehlo": [Say(502, "5.5.1 what")]}, offers=()) as upstream:
        assert (await sent(transport, provider_for(upstream))).verdict is Verdict.ACCEPTED
        assert upstream.commands[:2] == [b"EHLO relay.example", b"HELO relay.example"]


# TLS


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (Raw(b"220 garbage\r\n\x16\x03nonsense nonsense nonsense\r\n"), ""),
        (Say(354, "go on"), "354"),
        (Say(421, "4.3.2 busy"), "busy"),
        (Say(454, "4.7.0 TLS not available"), "not available"),
        (Say(502, "5.5.1 no"), "no"),
        (Close(), "closed the connection"),
        (Stall(), "did not answer in time"),
    ],
)
async def test_C4_required_starttls_refused_sends_nothing_in_clear(
    transport: SmtpTransport, provider_for: ProviderFor, action: Say, words: str
) -> None:
    async with ScriptedUpstream({"starttls": action}, tls="starttls", auth=("PLAIN",)) as upstream:
        outcome = await sent(transport, provider_for(upstream, timeouts=QUICK, **LOGIN))
        assert_nothing_given_away(upstream)
    assert outcome.phase in (Phase.STARTTLS, Phase.TLS)
    assert_deferred(outcome, outcome.phase, words)


async def test_C4_required_starttls_not_offered(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream(auth=("PLAIN",)) as upstream:
        outcome = await sent(transport, provider_for(upstream, tls=Tls.STARTTLS, **LOGIN))
        assert_nothing_given_away(upstream)
    assert_deferred(outcome, Phase.STARTTLS, "does not offer STARTTLS")
    assert not outcome.suspend


async def test_C5_what_was_said_before_tls_is_forgotten(
    transport: SmtpTransport, provider_for: ProviderFor, authority: Authority
) -> None:
    """A man in the middle adds an offer behind the 220; only the EHLO inside TLS counts."""

    class Injecting(ScriptedUpstream):
        """Sends more than its 220 and goes on with the handshake as if it had not."""

        def action(self, phase: str) -> object:  # type: ignore[override]
            return Say(220, "go\r\n250-scripted\r\n250 AUTH PLAIN") if phase == "starttls" else super().action(phase)

    async with Injecting(tls="starttls", context=authority.context()) as upstream:
        outcome = await sent(transport, provider_for(upstream, ca_file=authority.ca_file, **LOGIN))
        assert_deferred(outcome, Phase.AUTH, "offered: none")
        assert [line[:4] for line in upstream.commands] == [b"EHLO", b"STAR", b"EHLO"]
        assert_nothing_given_away(upstream)


def self_signed(tmp_path: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "self.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def bad_context(kind: str, authority: Authority, tmp_path: Path) -> ssl.SSLContext:
    if kind == "self-signed":
        return self_signed(tmp_path)
    if kind == "expired":
        return authority.context(not_after=datetime.datetime(2020, 1, 2), not_before=datetime.datetime(2020, 1, 1))
    if kind == "TLS 1.1":
        context = authority.context()
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        return context
    return authority.context("other.example") if kind == "wrong host" else authority.context()


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("expired", "the certificate has expired"),
        ("wrong host", "the certificate is for another"),
        ("self-signed", "the certificate is self-signed"),
        ("unknown CA", "the certificate is from an unknown issuer"),
        ("TLS 1.1", "the TLS handshake failed"),
    ],
)
async def test_C6_bad_certificates_get_no_password(
    transport: SmtpTransport,
    provider_for: ProviderFor,
    authority: Authority,
    tmp_path: Path,
    tls: str,
    kind: str,
    words: str,
) -> None:
    context = bad_context(kind, authority, tmp_path)
    trusted = "" if kind in ("unknown CA", "self-signed") else authority.ca_file
    async with ScriptedUpstream(tls=tls, context=context, auth=("PLAIN", "LOGIN")) as upstream:
        outcome = await sent(transport, provider_for(upstream, ca_file=trusted, **LOGIN))
        assert_nothing_given_away(upstream)
    assert_deferred(outcome, Phase.TLS, words)
    assert outcome.reply.enhanced.startswith("4.7.")


async def test_C6_opportunistic_takes_any_certificate(
    transport: SmtpTransport, provider_for: ProviderFor, tmp_path: Path
) -> None:
    async with ScriptedUpstream(tls="starttls", context=self_signed(tmp_path)) as upstream:
        outcome = await sent(transport, provider_for(upstream, tls=Tls.OPPORTUNISTIC))
        assert outcome.verdict is Verdict.ACCEPTED
        assert b"STARTTLS" in upstream.commands


@pytest.mark.parametrize("script", [{"starttls": Say(454, "4.7.0 no")}, {"handshake": [Close()]}])
async def test_opportunistic_goes_on_without_tls(
    transport: SmtpTransport, provider_for: ProviderFor, authority: Authority, script: dict[str, Say]
) -> None:
    async with ScriptedUpstream(script, tls="starttls", context=authority.context()) as upstream:
        outcome = await sent(transport, provider_for(upstream, tls=Tls.OPPORTUNISTIC))
        assert outcome.verdict is Verdict.ACCEPTED, outcome


async def test_L15_tls_is_verified_against_the_name_not_the_address(
    transport: SmtpTransport, provider_for: ProviderFor, authority: Authority
) -> None:
    async with ScriptedUpstream(tls="implicit", context=authority.context("localhost")) as upstream:
        named = provider_for(upstream, name="named", host="localhost", ca_file=authority.ca_file)
        assert (await sent(transport, named)).verdict is Verdict.ACCEPTED
        by_address = provider_for(upstream, name="address", ca_file=authority.ca_file)
        assert_deferred(await sent(transport, by_address), Phase.TLS, "for another")


async def test_tls_on_a_plain_port_and_the_reverse(
    transport: SmtpTransport, provider_for: ProviderFor, authority: Authority
) -> None:
    async with ScriptedUpstream() as upstream:
        outcome = await sent(transport, provider_for(upstream, tls=Tls.IMPLICIT))
        assert_deferred(outcome, Phase.TLS, "use tls: starttls")
    async with ScriptedUpstream(tls="implicit", context=authority.context()) as upstream:
        outcome = await sent(transport, provider_for(upstream, name="q", tls=Tls.STARTTLS, timeouts=QUICK))
        assert_deferred(outcome, Phase.BANNER, "use tls: implicit")


async def test_silence_inside_tls_is_no_wrong_port(
    transport: SmtpTransport, provider_for: ProviderFor, authority: Authority
) -> None:
    async with ScriptedUpstream({"banner": Stall()}, tls="implicit", context=authority.context()) as upstream:
        outcome = await sent(transport, provider_for(upstream, ca_file=authority.ca_file, timeouts=QUICK))
    assert_deferred(outcome, Phase.BANNER, "did not answer in time")
    assert "implicit" not in outcome.reply.text


async def test_a_ca_file_that_is_none_is_named(
    transport: SmtpTransport, provider_for: ProviderFor, tmp_path: Path
) -> None:
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("no PEM")
    for name, path in (("a", rubbish), ("b", tmp_path / "missing.pem")):
        async with ScriptedUpstream() as upstream:
            outcome = await sent(transport, provider_for(upstream, name=name, tls=Tls.IMPLICIT, ca_file=str(path)))
        assert_deferred(outcome, Phase.TLS, str(path))


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("drip", [False, True])
async def test_C8_a_handshake_that_stalls_or_drips_is_cut(
    transport: SmtpTransport, provider_for: ProviderFor, tls: str, drip: bool
) -> None:
    action = Raw(b"\x16\x03\x03\x40\x00" + b"\x02" * 500, pause=0.05) if drip else Stall()
    script = {"handshake": action} if tls == "starttls" else {"connect": action, "banner": Stall()}
    server = ScriptedUpstream(script, tls="starttls", context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    async with server as upstream, asyncio.timeout(3):
        outcome = await sent(transport, provider_for(upstream, tls=Tls(tls), timeouts=QUICK))
    assert outcome.phase is Phase.TLS
    assert outcome.verdict is Verdict.DEFERRED


# AUTH


@pytest.mark.parametrize(
    ("mechanism", "reveals"),
    [
        ("PLAIN", [b"\0me\0s3cret-password"]),
        ("LOGIN", [b"me", b"s3cret-password"]),
        ("CRAM-MD5", [b"me 4d08baf9f23ef57b7ba30ee0a8a3b7e0"]),
    ],
)
async def test_auth_by_what_is_offered(
    transport: SmtpTransport, provider_for: ProviderFor, mechanism: str, reveals: list[bytes]
) -> None:
    async with ScriptedUpstream(auth=(mechanism,)) as upstream:
        assert (await sent(transport, provider_for(upstream, **LOGIN))).verdict is Verdict.ACCEPTED
    if mechanism == "CRAM-MD5":
        assert len(upstream.secrets) == 1 and upstream.secrets[0].startswith(b"me ")
    else:
        assert upstream.secrets == reveals


def test_mechanism_is_chosen_once() -> None:
    offered = ["login", "xoauth2", "plain", "cram-md5"]
    assert choose_mechanism("auto", offered, secure=True) == "plain"
    assert choose_mechanism("auto", offered, secure=False) == "cram-md5"
    assert choose_mechanism("login", offered, secure=True) == "login"
    assert choose_mechanism("login", ["plain"], secure=True) is None
    assert choose_mechanism("auto", ["xoauth2"], secure=True) is None


@pytest.mark.parametrize(
    ("action", "suspends", "words"),
    [
        (Say(535, "5.7.8 bad credentials"), True, "bad credentials"),
        (Say(454, "4.7.0 temporary failure"), False, "temporary"),
        (Say(334, ""), False, "334"),
        (Say(421, "4.3.2 busy"), False, "busy"),
        (Close(), False, "closed the connection"),
        (Stall(), False, "did not answer"),
    ],
)
async def test_C7_L13_auth_is_tried_once_whatever_comes(
    transport: SmtpTransport, provider_for: ProviderFor, action: Say, suspends: bool, words: str
) -> None:
    async with ScriptedUpstream({"auth": action}, auth=("PLAIN", "LOGIN", "CRAM-MD5")) as upstream:
        outcome = await sent(transport, provider_for(upstream, auth="plain", timeouts=QUICK, **LOGIN))
        assert_deferred(outcome, Phase.AUTH, words)
        assert outcome.suspend is suspends
        assert upstream.counts.phases["auth"] == 1
        assert upstream.counts.connections == 1
        assert upstream.received == []


@pytest.mark.parametrize("auth", ["login", "cram-md5"])
async def test_C7_235_without_a_challenge_is_no_login(
    transport: SmtpTransport, provider_for: ProviderFor, auth: str
) -> None:
    async with ScriptedUpstream({"auth": Raw(b"235 2.7.0 welcome\r\n")}, auth=(auth.upper(),)) as upstream:
        outcome = await sent(transport, provider_for(upstream, auth=auth, **LOGIN))
    assert_deferred(outcome, Phase.AUTH, "235")


async def test_C7_endless_334_is_capped(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream({"auth": Raw(b"334 \r\n" * 100)}, auth=("LOGIN",)) as upstream:
        outcome = await sent(transport, provider_for(upstream, **LOGIN))
        assert outcome.phase in (Phase.AUTH, Phase.EHLO) and outcome.verdict is Verdict.DEFERRED
        assert upstream.counts.phases["auth"] == 1


async def test_a_quoted_password_is_not_repeated(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    echo = Raw(b"500 5.5.2 unknown: AUTH PLAIN AG1lAHMzY3JldC1wYXNzd29yZA== s3cret-password\r\n")
    async with ScriptedUpstream({"auth": echo}, auth=("PLAIN",)) as upstream:
        outcome = await sent(transport, provider_for(upstream, **LOGIN))
    assert "unknown: AUTH PLAIN" in outcome.reply.text
    assert "s3cret" not in str(outcome) and "AG1lAHMz" not in str(outcome)


async def test_other_words_of_a_refusal_are_kept(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    words = "Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant"
    async with ScriptedUpstream({"auth": Say(535, f"5.7.139 {words}")}, auth=("PLAIN",)) as upstream:
        assert (await sent(transport, provider_for(upstream, **LOGIN))).reply.text == words


def test_no_password_in_clear_beyond_loopback() -> None:
    careful = Provider(name="p", host="mx.example", port=25, **LOGIN)
    assert not may_say_password(careful, secure=False, loopback=False)
    assert may_say_password(careful, secure=True, loopback=False)
    assert may_say_password(careful, secure=False, loopback=True)
    assert may_say_password(dataclasses.replace(careful, allow_plaintext_auth=True), secure=False, loopback=False)


def test_old_tls_is_named() -> None:
    error = ssl.SSLError(1, "unsupported protocol")
    error.reason = "UNSUPPORTED_PROTOCOL"
    failure = insecure(Provider(name="p", host="mx.example", port=25), error)
    assert "no TLS newer than 1.1" in failure.reply.text


async def test_no_user_name_or_none_means_no_auth(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream(auth=("PLAIN",)) as upstream:
        assert (await sent(transport, provider_for(upstream))).verdict is Verdict.ACCEPTED
        off = provider_for(upstream, name="off", auth="none", **LOGIN)
        assert (await sent(transport, off)).verdict is Verdict.ACCEPTED
        assert upstream.secrets == []


async def test_auth_not_offered_names_what_is(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream(auth=("XOAUTH2",)) as upstream:
        assert_deferred(await sent(transport, provider_for(upstream, **LOGIN)), Phase.AUTH, "offered: XOAUTH2")


async def test_L16_bytes_behind_the_235_close_the_connection(
    transport: SmtpTransport, provider_for: ProviderFor
) -> None:
    class Talkative(ScriptedUpstream):
        def action(self, phase: str) -> object:  # type: ignore[override]
            welcome = Raw(b"235 2.7.0 welcome\r\n250 2.1.0 for the MAIL to come\r\n", granted=True)
            return welcome if phase == "auth" else None

    async with Talkative(auth=("PLAIN",)) as upstream:
        outcome = await sent(transport, provider_for(upstream, **LOGIN))
        assert outcome.verdict is Verdict.DEFERRED
        assert b"MAIL" not in [line[:4] for line in upstream.commands]


# PROBE


async def test_probe_says_nothing_or_what_is_wrong(transport: SmtpTransport, provider_for: ProviderFor) -> None:
    async with ScriptedUpstream(auth=("PLAIN",)) as upstream:
        assert await transport.probe(provider_for(upstream, **LOGIN)) is None
        assert [line[:4] for line in upstream.commands] == [b"EHLO", b"AUTH", b"QUIT"]
        await upstream.until_closed()
    async with ScriptedUpstream({"auth": Say(535, "5.7.8 no")}, auth=("PLAIN",)) as upstream:
        outcome = await transport.probe(provider_for(upstream, **LOGIN))
        assert outcome is not None and outcome.suspend and outcome.recipient.address == ""
    assert transport.connections() == {}
