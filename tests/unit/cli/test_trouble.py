"""What goes wrong around a command: tokens, octets that are no text, full disks, Ctrl-C, answers from elsewhere."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from relay.model import Scope
from tests.desk import NOW

FULL = Path("/dev/full")
COMMAND = [sys.executable, "-m", "relay.cli.main"]


def as_in_c(text: str) -> str:
    """As an argument is where the locale knows ASCII only (PEP 383)."""
    return text.encode().decode("ascii", "surrogateescape")


def test_a_token_as_files_have_it_and_one_that_is_none(relay, run, monkeypatch):
    relay.accounts.__init__()
    made = run("token", "create", "--scope", "admin", "-c", relay.config)
    monkeypatch.setenv("RELAY_TOKEN", f" {made.out}\r\n")
    assert run("token", "list", "--url", f"http://127.0.0.1:{relay.port}").code == 0
    for wrong in ("two\nlines", "t\u00f6ken", "a\x7fb"):
        monkeypatch.setenv("RELAY_TOKEN", wrong)
        told = run("token", "list", "--url", f"http://127.0.0.1:{relay.port}")
        assert (told.code, "$RELAY_TOKEN is no token" in told.err, wrong in told.err) == (2, True, False)
        assert run("token", "list", "-c", relay.config).code == 0
    relay.accounts.__init__()


@pytest.mark.parametrize("command", [["queue", "show"], ["user", "remove"], ["token", "revoke"]])
def test_octets_that_are_no_text_name_nothing(relay, run, command):
    found = run(*command, "j\udcff", "-c", relay.config)
    assert (found.code, found.out) == (1, "")
    assert found.err.startswith("relay: there is no ")


def test_names_mean_the_same_in_every_locale(relay, run):
    asyncio.run(relay.accounts.add_user("j\u00fcrgen", b"open sesame", [Scope.SEND], NOW))
    assert run("user", "remove", as_in_c("j\u00fcrgen"), "-c", relay.config).code == 0
    assert run("queue", "list", "--from", as_in_c("*@\u00e9.example"), "-c", relay.config).code == 0
    assert run("explain", "--from", as_in_c("\u00e9@x.example"), "--to", "a@b.c", "-c", relay.config).code == 0


def silent() -> socket.socket:
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(10)
    return listening


def url_of(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


def moved(listening: socket.socket) -> bytes:
    connection, _ = listening.accept()
    with connection:
        asked = connection.recv(4096)
        connection.sendall(b"HTTP/1.1 301 Moved Permanently\r\nLocation: https://x/\r\nContent-Length: 0\r\n\r\n")
        return asked


def test_where_a_relay_would_be_elsewhere_is_no_answer(run, monkeypatch):
    monkeypatch.setenv("RELAY_TOKEN", "relay_canary")
    with silent() as stranger, ThreadPoolExecutor(1) as aside:
        asked = aside.submit(moved, stranger)
        told = run("queue", "show", "0a", "--url", url_of(stranger))
        assert asked.result().startswith(b"GET /v1/messages/0a ")
    assert (told.code, told.out, told.err) == (1, "", "relay: the relay answered 301\n")


@pytest.mark.skipif(not FULL.exists(), reason="Linux has it")
@pytest.mark.parametrize("command", [["queue", "stats"], ["queue", "--help"]])
def test_output_that_finds_no_room_is_a_sentence(relay, command):
    with FULL.open("w") as full:
        given = [*COMMAND, *command, "-c", str(relay.config)]
        done = subprocess.run(given, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    told = "relay: there is no room for what this writes: no space left on device; make some\n"
    assert (done.returncode, done.stderr) == (1, told)


def heed_sigint() -> None:
    """Whatever started the tests in the background may have had it ignored, which is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def until_asleep(pid: int) -> None:
    """It waits for the answer: a signal that comes just before would be seen only when that wait ends."""
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
        time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux tells what a process does")
def test_ctrl_c_is_1_without_a_word():
    with silent() as stranger:
        command = [*COMMAND, "queue", "stats", "--url", url_of(stranger)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=heed_sigint
        ) as asking:
            connection, _ = stranger.accept()
            with connection:
                connection.recv(4096)
                until_asleep(asking.pid)
                asking.send_signal(signal.SIGINT)
                said, _ = asking.communicate(timeout=10)
    assert (asking.returncode, said) == (1, b"")
