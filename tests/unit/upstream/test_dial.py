"""H2: a provider made over HTTP is dialled at public addresses only, whatever its name resolves to."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from relay.model import DeliveryOutcome, Fault, Phase, Provider, Tls, Verdict
from relay.testing.mail import body_of, shipment_to
from relay.testing.upstream import ScriptedUpstream
from relay.upstream.causes import Failure
from relay.upstream.dial import Address, dial, resolve
from relay.upstream.smtp import SmtpTransport

Authority = Any  # conftest.Authority
ProviderFor = Callable[..., Provider]
MADE_OVER_HTTP = Provider(name="p", host="mx.example", port=587, public_only=True)
PUBLIC = ["93.184.215.14", "2606:4700::1111"]


class Names:
    """A resolver that answers each question with the next of its answers, the last one again and again."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[Address]:
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [self._address(text, port) for text in found]

    @staticmethod
    def _address(text: str, port: int) -> Address:
        if ":" in text:
            return socket.AF_INET6, (text, port, 0, 0)
        return socket.AF_INET, (text, port)


async def sent(provider: Provider, names: Names) -> DeliveryOutcome:
    transport = SmtpTransport("relay.example", resolver=names)
    try:
        [outcome] = await transport.send(shipment_to(provider), body_of())
        return outcome
    finally:
        await transport.close()


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("127.0.0.1", "a loopback address"),
        ("::1", "a loopback address"),
        ("10.0.0.5", "a private address"),
        ("192.168.1.1", "a private address"),
        ("172.31.255.255", "a private address"),
        ("100.64.0.1", "a private address"),
        ("169.254.169.254", "a link-local address"),
        ("0.0.0.0", "an address of this machine"),
        ("224.0.0.1", "a multicast address"),
        ("::ffff:127.0.0.1", "a loopback address inside an IPv6 address"),
        ("::ffff:10.0.0.5", "a private address inside an IPv6 address"),
        ("64:ff9b::a00:5", "a private address inside an IPv6 address"),
        ("2002:a00:5::1", "a private address inside an IPv6 address"),
        ("fe80::1%eth0", "a link-local address"),
        ("fc00::1", "a private address"),
        ("fd00:ec2::254", "a private address"),
        ("nonsense", "not an IP address"),
    ],
)
async def test_H2_no_address_around_us_is_dialled(address: str, word: str) -> None:
    outcome = await sent(MADE_OVER_HTTP, Names([address]))
    assert (outcome.verdict, outcome.fault, outcome.phase) == (Verdict.DEFERRED, Fault.PROVIDER, Phase.CONNECT)
    text = outcome.reply.text
    assert f"mx.example resolves to {address}, {word}" in text
    assert "set http.allow_private_providers" in text
    assert outcome.conversation == ("-- connect mx.example port 587", f"-- {text}")


async def test_H2_of_several_addresses_only_the_public_ones_are_left() -> None:
    names = Names(["10.0.0.5", PUBLIC[1], "::1", PUBLIC[0], "169.254.169.254"])
    found = await resolve(MADE_OVER_HTTP, names)
    assert not isinstance(found, Failure)
    assert [address[0] for _, address in found] == [PUBLIC[1], PUBLIC[0]]


async def test_H2_many_addresses_make_no_endless_answer() -> None:
    failure = await resolve(MADE_OVER_HTTP, Names([f"10.0.{n}.1" for n in range(200)]))
    assert isinstance(failure, Failure)
    assert len(failure.reply.text) < 700 and failure.reply.text.endswith("set http.allow_private_providers")
    assert isinstance(await resolve(MADE_OVER_HTTP, Names([])), Failure)


async def test_H2_what_was_judged_is_what_is_dialled(provider_for: ProviderFor) -> None:
    """Rebinding: public at first, then ours. A name is asked once for each connection, and each answer is judged."""
    async with ScriptedUpstream() as upstream:
        provider = provider_for(upstream, host="mx.example", public_only=True)
        names = Names(PUBLIC, ["127.0.0.1"])
        found = await resolve(provider, names)
        assert not isinstance(found, Failure) and [address[0] for _, address in found] == PUBLIC
        assert names.asked == ["mx.example"]
        assert (await sent(provider, names)).phase is Phase.CONNECT
        assert names.asked == ["mx.example"] * 2
        assert upstream.counts.connections == 0


async def test_H2_an_address_in_the_settings_is_judged_as_well(provider_for: ProviderFor) -> None:
    async with ScriptedUpstream() as upstream:
        made = await dial(provider_for(upstream, public_only=True))
        assert isinstance(made, Failure)
        assert "127.0.0.1 resolves to 127.0.0.1, a loopback address" in made.reply.text
        assert upstream.counts.connections == 0


async def test_H2_probes_are_judged_as_well(provider_for: ProviderFor) -> None:
    async with ScriptedUpstream() as upstream:
        transport = SmtpTransport("relay.example")
        found = await transport.probe(provider_for(upstream, host="localhost", public_only=True))
        assert found is not None and "http.allow_private_providers" in found.reply.text
        assert upstream.counts.connections == 0
        await transport.close()


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_H2_tls_is_verified_by_name_though_an_address_is_dialled(
    tls: str, authority: Authority, provider_for: ProviderFor
) -> None:
    async with ScriptedUpstream(tls=tls, context=authority.context("mx.example")) as upstream:
        names = Names(["127.0.0.1"])
        trusted = {"ca_file": authority.ca_file, "tls": Tls(tls)}
        assert (await sent(provider_for(upstream, host="mx.example", **trusted), names)).verdict is Verdict.ACCEPTED
        other = await sent(provider_for(upstream, host="other.example", **trusted), names)
    assert other.phase is Phase.TLS and "is for another name" in other.reply.text


async def test_a_provider_of_the_file_may_be_anywhere(provider_for: ProviderFor) -> None:
    async with ScriptedUpstream() as upstream:
        provider = provider_for(upstream, host="mx.internal")
        assert (await sent(provider, Names(["127.0.0.1"]))).verdict is Verdict.ACCEPTED
