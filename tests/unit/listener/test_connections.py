"""Connections come, stay too long, and go: hazards L3, L6, L9, B9, D1, D2, D3, D10, D11."""

from __future__ import annotations

import asyncio
import socket
import struct
from ipaddress import ip_network

import pytest

from relay.events import ConnectionClosed, ConnectionOpened
from relay.listener.admission import Admission, Room, identify
from relay.listener.replies import CLIENT_FULL, NOT_ALLOWED, SERVICE_FULL
from relay.listener.settings import Settings

WHOLE = b"EHLO nc\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
WHOLE += b"Subject: x\r\n\r\ntext\r\n.\r\nQUIT\r\n"


async def test_L3_half_closing_after_quit_loses_nothing(serve):
    rig = await serve()
    rig.intake.gate = asyncio.Event()
    client = await rig.connect()
    client.send(WHOLE)
    client.writer.write_eof()
    await rig.intake.entered.wait()
    rig.intake.gate.set()
    said = await client.rest()
    assert said.splitlines()[-2].startswith(b"250 2.0.0 Ok: queued as ")
    assert said.endswith(b"221 2.0.0 Bye\r\n")
    assert len(rig.intake.submissions) == 1


async def test_L3_half_closing_after_the_dot_loses_nothing(serve):
    rig = await serve()
    client = await rig.connect()
    client.send(WHOLE.removesuffix(b"QUIT\r\n"))
    client.writer.write_eof()
    assert b"queued as" in await client.rest()
    assert len(rig.intake.submissions) == 1


async def test_L3_a_client_that_vanishes_during_the_commit_is_served(serve):
    rig = await serve()
    rig.intake.gate = asyncio.Event()
    client = await rig.connect()
    client.send(WHOLE)
    await rig.intake.entered.wait()
    reset(client)
    await rig.until(lambda: rig.listener.connections == 0)
    rig.intake.gate.set()
    await rig.until(lambda: len(rig.intake.submissions) == 1)


def reset(client) -> None:
    """Close with RST instead of FIN."""
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()


@pytest.mark.parametrize("ending", ["fin", "rst"])
async def test_D11_a_client_that_goes_at_any_byte_leaves_nothing(serve, ending):
    rig = await serve()
    rig.intake.drain_every = 3
    before = len(asyncio.all_tasks())
    for at in range(0, len(WHOLE), 3):
        client = await rig.connect()
        client.send(WHOLE[:at])
        await client.reply()
        if ending == "fin":
            await client.close()
        else:
            reset(client)
    await rig.until(lambda: rig.listener.connections == 0)
    await rig.until(lambda: len(asyncio.all_tasks()) <= before)
    opened = sum(isinstance(event, ConnectionOpened) for event in rig.events)
    closed = sum(isinstance(event, ConnectionClosed) for event in rig.events)
    assert opened == closed == len(range(0, len(WHOLE), 3))


async def test_D1_a_command_that_drips_is_cut(serve):
    rig = await serve(patience={"command": 0.08})
    client = await rig.client()
    said = asyncio.create_task(client.rest())
    while not said.done():
        client.send(b"N")
        await asyncio.sleep(0.01)
    assert (await said) == b"421 4.4.2 Timed out waiting for you\r\n"
    assert rig.reasons() == ["timeout"]


async def test_D1_silence_in_data_is_cut_and_the_rest_forgotten(serve):
    rig = await serve(patience={"data": 0.08})
    client = await rig.client()
    await client.upto_data()
    client.send(b"Subject: x\r\n")
    assert (await client.rest()).startswith(b"421 4.4.2 ")
    await rig.until(lambda: rig.intake.discarded == 1)


async def test_D1_data_that_drips_is_cut(serve):
    rig = await serve(patience={"window": 0.08, "rate": 1000.0})
    client = await rig.client()
    await client.upto_data()
    said = asyncio.create_task(client.rest())
    while not said.done():
        client.send(b"N")
        await asyncio.sleep(0.01)
    assert (await said).startswith(b"421 4.4.2 Data arrives too slowly")


async def test_D2_L6_an_honest_slow_sender_is_served(serve):
    rig = await serve(patience={"window": 0.04, "rate": 1000.0, "data": 0.08, "command": 0.08})
    client = await rig.client()
    await client.upto_data()
    for _ in range(30):
        client.send(b"l" * 98 + b"\r\n")
        await asyncio.sleep(0.01)
    client.send(b".\r\n")
    assert (await client.reply()).startswith("250 ")


async def test_D1_L6_noop_does_not_keep_a_session_for_ever(serve):
    rig = await serve(patience={"junk": 10})
    client = await rig.client()
    client.send(b"NOOP\r\n" * 20)
    said = (await client.rest()).splitlines()
    assert said[:-1] == [b"250 2.0.0 Ok"] * 9  # EHLO was the first
    assert said[-1].startswith(b"421 4.7.0 ")


async def test_L6_no_cap_by_message_count(serve):
    rig = await serve(patience={"junk": 3})
    client = await rig.client()
    for _ in range(20):
        assert await client.say("RSET") == "250 2.0.0 Ok"
        assert (await client.message(b"")).startswith("250 ")


async def test_D10_junk_is_slowed_then_ended(serve):
    rig = await serve(patience={"soft": 2, "junk": 5, "slow": 0.02})
    client = await rig.client()
    started = asyncio.get_running_loop().time()
    client.send(b"JUNK\r\n" * 10)
    said = (await client.rest()).splitlines()
    assert [line[:3] for line in said] == [b"500"] * 5 + [b"421"]
    assert asyncio.get_running_loop().time() - started >= 0.04
    assert rig.reasons() == ["unknown"] * 5 + ["junk"]


async def test_D3_one_connection_too_many_per_client(serve):
    rig = await serve(max_connections_per_client=2)
    first, second = await rig.client(), await rig.client()
    third = await rig.connect()
    assert (await third.rest()).startswith(b"421 4.7.0 ")
    assert await first.say("NOOP") == await second.say("NOOP") == "250 2.0.0 Ok"
    await first.close()
    await rig.until(lambda: rig.listener.connections == 1)
    await rig.client()


async def test_D3_one_connection_too_many_in_all(serve):
    rig = await serve(max_connections=1)
    await rig.client()
    second = await rig.connect()
    assert (await second.rest()).startswith(b"421 4.3.2 ")
    assert rig.reasons() == ["connections"]


async def test_D8_the_process_limit_counts_too():
    admission = Admission(Settings(name="n", address="", hostname="h", max_connections=100), Room(1))
    assert admission.enter("127.0.0.1") is None
    assert admission.enter("127.0.0.1") is SERVICE_FULL
    admission.leave("127.0.0.1")
    assert admission.enter("127.0.0.1") is None


def test_D8_listeners_share_the_limit_of_the_process():
    room, settings = Room(2), Settings(name="n", address="", hostname="h")
    first, second = Admission(settings, room), Admission(settings, room)
    assert [first.enter("::1"), second.enter("::1"), second.enter("unix")] == [None, None, SERVICE_FULL]
    first.leave("::1")
    assert second.enter("::1") is None


async def test_D8_a_client_refused_at_the_door_holds_no_descriptor(serve):
    rig = await serve(max_connections=1, patience={"linger": 60})
    await rig.client()
    refused = await rig.connect()
    assert (await refused.rest()).startswith(b"421 4.3.2 ")
    await rig.until(lambda: rig.listener.connections == 1)  # though this client never closes its side


async def test_B9_clients_outside_allow_are_refused(serve):
    rig = await serve(allow=(ip_network("192.0.2.0/24"),))
    client = await rig.connect()
    assert (await client.rest()).startswith(b"554 5.7.1 ")
    assert rig.reasons() == ["client"]
    assert not any(isinstance(event, ConnectionOpened) for event in rig.events)


def test_B9_allow_lists():
    settings = Settings(name="n", address="", hostname="h", allow=(ip_network("10.0.0.0/8"), ip_network("fe80::/10")))
    admission = Admission(settings, Room(100))
    assert admission.enter("10.1.2.3") is None
    assert admission.enter("127.0.0.1") is NOT_ALLOWED
    assert admission.enter(identify("::ffff:10.1.2.3").name) is None
    assert admission.enter(identify("fe80::1%eth0").name) is None
    assert admission.enter(identify("").name) is None
    assert admission.total == 4


def test_caps_do_not_count_unix_clients_one_by_one():
    admission = Admission(Settings(name="n", address="", hostname="h", max_connections_per_client=1), Room(3))
    assert [admission.enter("unix") for _ in range(4)] == [None, None, None, SERVICE_FULL]
    assert admission.enter("::1") is SERVICE_FULL
    admission.leave("unix")
    assert [admission.enter("::1"), admission.enter("::1")] == [None, SERVICE_FULL]


def test_caps_per_client_are_kept_apart():
    admission = Admission(Settings(name="n", address="", hostname="h", max_connections_per_client=1), Room(9))
    assert [admission.enter("::1"), admission.enter("::1"), admission.enter("127.0.0.1")] == [None, CLIENT_FULL, None]


@pytest.mark.parametrize(
    ("peer", "name", "local"),
    [
        ("", "unix", True),
        ("::1", "::1", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("192.0.2.1", "192.0.2.1", False),
    ],
)
def test_who_is_on_this_machine(peer, name, local):
    assert identify(peer) == (name, local)


async def test_L9_L12_sessions_do_not_share_state(serve):
    rig = await serve()
    first, second = await rig.client(), await rig.client()
    first.send(b"MAIL FROM:<a@example.com>\r\n")
    await first.reply()
    assert (await second.say("RCPT TO:<b@example.com>")).startswith("503 ")
    first.send(b"RCPT TO:<b@exa")
    assert (await second.say("NOOP")) == "250 2.0.0 Ok"
    assert (await first.say("mple.com>")) == "250 2.1.5 Ok"


async def test_a_client_that_does_not_read_is_not_read_from(serve):
    rig = await serve(max_recipients=200_000, patience={"command": 0.3})
    client = await rig.client()
    await client.say("MAIL FROM:<a@example.com>")
    client.writer.transport.pause_reading()
    client.send(b"".join(b"RCPT TO:<r%d@example.com>\r\n" % n for n in range(40_000)))
    await rig.until(lambda: rig.listener.connections == 0)
    assert rig.reasons() == ["timeout"]
