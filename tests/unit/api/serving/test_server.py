"""Sockets, starting and stopping."""

from __future__ import annotations

import asyncio
import signal
import socket
import stat
import subprocess
import sys

import pytest
import uvloop

from relay.api.serving.server import HttpServer
from relay.api.serving.sockets import CannotListen, control_socket, tcp_socket
from tests.support import lack
from tests.web import request


async def hello(scope, receive, send):
    body = scope["path"].encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def closed(scope, receive, send):
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def test_stop_frees_port_and_control_socket_and_takes_no_signal(tmp_path):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    tcp = tcp_socket("127.0.0.1", 0)
    port = tcp.getsockname()[1]
    server = HttpServer(hello, hello, tcp=tcp, control=control_socket(tmp_path / "s"))
    await server.start()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert (await request(tmp_path / "s", "/x")).body == b"/x"
    await server.stop()
    await server.stop()
    assert not (tmp_path / "s").exists()
    tcp_socket("127.0.0.1", port).close()


async def test_without_tcp_the_control_socket_serves(tmp_path):
    server = HttpServer(hello, hello, tcp=None, control=control_socket(tmp_path / "s"))
    await server.start()
    assert (await request(tmp_path / "s", "/v1/x")).body == b"/v1/x"
    await server.stop()


async def test_a_request_under_way_is_finished(tmp_path):
    entered, go = asyncio.Event(), asyncio.Event()

    async def slow(scope, receive, send):
        entered.set()
        await go.wait()
        await hello(scope, receive, send)

    server = HttpServer(slow, slow, tcp=None, control=control_socket(tmp_path / "s"))
    await server.start()
    asking = asyncio.create_task(request(tmp_path / "s", "/late"))
    await entered.wait()
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0)
    go.set()
    assert (await asking).body == b"/late"
    await stopping


async def test_stop_before_start_does_nothing(tmp_path):
    control = control_socket(tmp_path / "s")
    await HttpServer(hello, hello, tcp=None, control=control).stop()
    control.close()


def test_the_control_socket_is_nobodys_but_ours(tmp_path):
    listening = control_socket(tmp_path / "s")
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
    listening.close()


def test_what_a_dead_relay_left_is_replaced(tmp_path):
    control_socket(tmp_path / "s").close()
    assert (tmp_path / "s").is_socket()
    control_socket(tmp_path / "s").close()


def test_a_living_relay_is_not_pushed_out(tmp_path):
    living = control_socket(tmp_path / "s")
    with pytest.raises(CannotListen, match=r"another relay answers on .*: stop it first"):
        control_socket(tmp_path / "s")
    living.close()


def test_another_file_in_its_place_is_left_alone(tmp_path):
    (tmp_path / "s").write_text("precious")
    with pytest.raises(CannotListen, match="another file is in its place"):
        control_socket(tmp_path / "s")
    assert (tmp_path / "s").read_text() == "precious"


def test_a_port_in_use_is_one_sentence_with_the_fix():
    with tcp_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"127.0.0.1:{port}: another program is using it; .* http.listen"):
            tcp_socket("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_that_is_not_ours(host):
    with pytest.raises(CannotListen, match=host):
        tcp_socket(host, 0)


def test_a_path_too_long_for_a_socket_is_a_sentence(tmp_path):
    with pytest.raises(CannotListen, match="set control to another path"):
        control_socket(tmp_path / ("x" * 120))


def test_ipv6():
    if not socket.has_ipv6:
        lack("this machine has no IPv6")
    with tcp_socket("::1", 0) as listening:
        assert listening.family == socket.AF_INET6


def test_operations_start_without_fastapi_uvicorn_or_rich():
    heavy = "{'fastapi', 'uvicorn', 'starlette', 'rich'}"
    program = f"import relay.api.operations, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_under_uvloop_the_doors_are_told_apart_as_well(tmp_path):
    tcp, control = tcp_socket("127.0.0.1", 0), control_socket(tmp_path / "s")
    port = tcp.getsockname()[1]

    async def both() -> tuple[int, ...]:
        server = HttpServer(closed, hello, tcp=tcp, control=control)
        await server.start()
        answers = [await request(port, "/x"), await request(tmp_path / "s", "/x")]
        await server.stop()
        return tuple(answer.status for answer in answers)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(both()) == (403, 200)
    assert not (tmp_path / "s").exists()
