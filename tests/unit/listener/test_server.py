"""Start, reload and stop of a listener, and its sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import time
from dataclasses import replace
from ipaddress import ip_network

import pytest

from relay.listener import sockets
from relay.listener.server import Listener
from relay.listener.service import Ports
from relay.listener.settings import ListenerError, Settings
from relay.testing.fakes import FakeIntake
from tests.registry import FakeAccounts

SETTINGS = Settings(name="in", address="127.0.0.1:0", hostname="relay.test")


def refused(**changes) -> str:
    with pytest.raises(ListenerError) as caught:
        sockets.open_sockets(replace(SETTINGS, **changes))
    return str(caught.value)


def opened(**changes) -> socket.socket:
    (one,) = sockets.open_sockets(replace(SETTINGS, **changes))
    return one


def test_a_port_in_use_is_one_sentence_with_the_fix():
    with opened() as first:
        address = f"127.0.0.1:{first.getsockname()[1]}"
        assert refused(address=address) == (
            f"listener in cannot listen on {address}: something else listens there; stop it or choose another address"
        )


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:\u0661"])
def test_an_address_that_is_none(address):
    assert "write for example 127.0.0.1:2525" in refused(address=address)


def test_an_address_of_another_machine():
    assert "no such address" in refused(address="192.0.2.1:2525", allow=(ip_network("192.0.2.0/24"),))


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "*:0", ":0"])
def test_H11_beyond_loopback_needs_allow(address):
    assert "list the clients' networks in allow" in refused(address=address)


def test_ipv6():
    with opened(address="[::1]:0") as one:
        assert one.family == socket.AF_INET6


def test_every_interface_is_two_sockets():
    found = sockets.open_sockets(replace(SETTINGS, address="*:0", allow=(ip_network("::1"),)))
    assert {one.family for one in found} <= {socket.AF_INET, socket.AF_INET6}
    for one in found:
        one.close()


def test_a_unix_socket_is_for_everybody(tmp_path):
    path = tmp_path / "s"
    with opened(address=f"unix:{path}"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_a_stale_unix_socket_is_replaced(tmp_path):
    opened(address=f"unix:{tmp_path / 's'}").close()
    opened(address=f"unix:{tmp_path / 's'}").close()


def test_a_living_unix_socket_is_not(tmp_path):
    with opened(address=f"unix:{tmp_path / 's'}"):
        assert "something else listens there" in refused(address=f"unix:{tmp_path / 's'}")
    assert (tmp_path / "s").exists()


def test_a_file_in_the_way_stays(tmp_path):
    (tmp_path / "s").write_text("mine")
    assert "something else" in refused(address=f"unix:{tmp_path / 's'}")
    assert (tmp_path / "s").read_text() == "mine"


def test_a_folder_that_is_missing(tmp_path):
    assert "its folder does not exist; create it first" in refused(address=f"unix:{tmp_path / 'no' / 's'}")


def test_a_socket_of_systemd():
    with socket.create_server(("127.0.0.1", 0)) as handed:
        environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "smtp"}
        (taken,) = sockets.from_systemd(replace(SETTINGS, address="fd:smtp"), environ, first=handed.fileno())
        with taken:
            assert taken.getsockname() == handed.getsockname()
            assert taken.fileno() != handed.fileno()


@pytest.mark.parametrize(
    "environ",
    [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "smtp"}, {"LISTEN_PID": str(os.getpid())}],
)
def test_a_socket_systemd_did_not_hand_over(environ):
    with pytest.raises(ListenerError, match="FileDescriptorName=smtp"):
        sockets.from_systemd(replace(SETTINGS, address="fd:smtp"), environ)


async def test_smtp_over_a_unix_socket(serve, tmp_path):
    rig = await serve(address=f"unix:{tmp_path / 's'}")
    client = await rig.client()
    assert (await client.message(b"")).startswith("250 ")
    message = rig.intake.submissions[0].message
    assert message.source.client == "unix"
    assert b"Received: from client.example (unix)\r\n" in message.prefix
    await rig.listener.stop(1)
    assert not (tmp_path / "s").exists()


async def test_a_certificate_that_is_missing():
    ports = Ports(
        intake=FakeIntake(), accounts=FakeAccounts(), observe=print, clock=time.time, monotonic=time.monotonic
    )
    settings = replace(SETTINGS, tls="starttls", certfile="/nowhere/cert.pem", keyfile="/nowhere/key.pem")
    with pytest.raises(ListenerError, match=r"certificate /nowhere/cert\.pem with key /nowhere/key\.pem cannot"):
        await Listener(settings, ports).start()


async def test_stop_tells_idle_clients(serve):
    rig = await serve(auth="any")
    idle, authenticating = await rig.client(), await rig.client()
    await authenticating.say("AUTH PLAIN")
    host, port = rig.listener.addresses()[0]
    await rig.listener.stop(5)
    assert (await idle.rest()).startswith(b"421 4.3.2 ")
    assert (await authenticating.rest()).startswith(b"421 4.3.2 ")
    with pytest.raises(OSError):
        await asyncio.open_connection(host, port)


async def test_stop_lets_data_finish(serve):
    rig = await serve()
    client = await rig.client()
    await client.upto_data()
    client.send(b"Subject: x\r\n")
    await rig.until(lambda: rig.intake.submissions == [])
    await client.writer.drain()
    stopped = asyncio.create_task(rig.listener.stop(5))
    await asyncio.sleep(0)
    client.send(b"\r\ntext\r\n.\r\nMAIL FROM:<next@example.com>\r\n")
    said = await client.rest()
    assert said.startswith(b"250 2.0.0 Ok: queued")
    assert said.splitlines()[1].startswith(b"421 4.3.2 ")
    assert len(said.splitlines()) == 2
    await client.close()
    await stopped


async def test_stop_waits_for_the_commit(serve):
    rig = await serve()
    rig.intake.gate = asyncio.Event()
    client = await rig.client()
    await client.upto_data()
    client.send(b".\r\n")
    await rig.intake.entered.wait()
    stopped = asyncio.create_task(rig.listener.stop(5))
    await asyncio.sleep(0)
    rig.intake.gate.set()
    assert (await client.rest()).startswith(b"250 2.0.0 Ok: queued")
    await client.close()
    await stopped


async def test_stop_cuts_what_takes_too_long(serve):
    rig = await serve()
    client = await rig.client()
    await client.upto_data()
    await rig.listener.stop(0.02)
    assert await client.rest() == b""
    await rig.until(lambda: rig.listener.connections == 0)
    await rig.until(lambda: rig.intake.discarded == 1)


async def test_reload_is_for_new_connections(serve):
    rig = await serve(max_message_size=1000)
    old = await rig.client()
    rig.listener.reconfigure(replace(rig.listener.settings, max_message_size=2000))
    new = await rig.client()
    assert "SIZE 1000" in await old.say("EHLO x")
    assert "SIZE 2000" in await new.say("EHLO x")


async def test_a_bad_reload_changes_nothing(serve):
    rig = await serve()
    good = rig.listener.settings
    with pytest.raises(ListenerError):
        rig.listener.reconfigure(replace(good, tls="implicit", certfile="/nowhere"))
    with pytest.raises(ListenerError, match="a new address needs a new listener"):
        rig.listener.reconfigure(replace(good, address="127.0.0.1:1"))
    assert rig.listener.settings is good
    await rig.client()
