"""`python -m relay.testing.upstream` and the helper that runs many upstreams in a thread."""

from __future__ import annotations

import contextlib
import gc
import json
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import relay
from relay.testing.upstream import Record, Script, ScriptedUpstream, Upstreams

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    made: list[subprocess.Popen[str]] = []

    def program(*options: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "relay.testing.upstream", *map(str, options)]
        made.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return made[-1]

    yield program
    for one in made:
        one.kill()
        one.communicate()


def port_of(program: subprocess.Popen[str]) -> int:
    assert program.stdout is not None
    line = program.stdout.readline()
    assert line.startswith("listening on 127.0.0.1:"), line
    return int(line.rpartition(":")[2])


def ended(program: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = program.communicate(timeout=10)
    return program.returncode, errors


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_a_script_a_record_and_a_log_for_two_providers(start: Start, tmp_path: Path, by: signal.Signals) -> None:
    (tmp_path / "a.yaml").write_text("connections: [{mail: 450 4.2.0 later}]")
    (tmp_path / "b.yaml").write_text("recipients: {'no@*': 550 5.1.1 no}")
    program = start(
        *("--script", tmp_path / "a.yaml", "--script", tmp_path / "b.yaml"),
        *("--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"),
        *("--record", tmp_path / "record", "--log", tmp_path / "log", "--mark", "X-Mark:"),
    )
    first, second = port_of(program), port_of(program)
    with smtplib.SMTP("127.0.0.1", first) as client, pytest.raises(smtplib.SMTPSenderRefused):
        client.sendmail("a@b", ["c@d"], b"X-Mark: 1\r\n\r\nhello\r\n")
    with smtplib.SMTP("127.0.0.1", second) as client:
        assert set(client.sendmail("a@b", ["c@d", "no@d"], b"X-Mark: 1\r\n\r\nhello\r\n")) == {"no@d"}
    with socket.create_connection(("127.0.0.1", first)):  # one that stays does not keep it
        program.send_signal(by)
        assert ended(program) == (0, "")
    [line] = (tmp_path / "record").read_text().splitlines()
    entry = json.loads(line)
    assert (entry["port"], entry["rcpt"], entry["size"]) == (second, ["rcpt TO:<c@d>"], 20)
    log = (tmp_path / "log").read_text()
    assert f"{first}/1 > b'450 4.2.0 later\\r\\n'" in log and f"{second}/1 < b'" in log


def test_tls_tells_whom_to_trust(start: Start) -> None:
    program = start("--tls", "implicit", "--certificate", "wrong-host")
    assert program.stdout is not None
    line = program.stdout.readline().strip()
    assert line.startswith("certificate wrong-host: clients trust ")
    trust = ssl.create_default_context(cafile=line.rpartition(" ")[2])
    port = port_of(program)
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for 'localhost'"):
        smtplib.SMTP_SSL("localhost", port, context=trust)
    trust.check_hostname = False
    with smtplib.SMTP_SSL("localhost", port, context=trust) as client:
        assert client.noop()[0] == 500


def test_mistakes_are_one_line_and_no_traceback(start: Start, tmp_path: Path) -> None:
    script = tmp_path / "s.yaml"
    script.write_text("phases:\n  dot: vansih\n")
    code, errors = ended(start("--script", script))
    assert code == 2 and errors.startswith(f"{script}:2:8: no such action: 'vansih', did you mean 'vanish'?")
    script.write_text("{tls: starttls, certificate: rotten}")
    for options, words in [
        (("--script", script), "certificate: 'rotten' is none of: good"),
        (("--script", tmp_path / "none.yaml"), "none.yaml: the script cannot be read"),
        (("--listen", "2525x"), "'2525x' is no HOST:PORT"),
        (("--record", tmp_path / "no" / "record"), "No such file"),
    ]:
        code, errors = ended(start(*options))
        assert code == 2 and words in errors and "Traceback" not in errors


def test_help_has_an_example_that_works(start: Start, tmp_path: Path) -> None:
    helping = start("--help")
    text, _ = helping.communicate(timeout=10)
    example = text.partition("script.yaml\n")[2].partition("\n\n")[0]
    (tmp_path / "script.yaml").write_text("\n".join(line[12:] for line in example.splitlines()))
    with smtplib.SMTP("127.0.0.1", port_of(start("--script", tmp_path / "script.yaml"))) as client:
        client.ehlo()
        assert client.docmd("MAIL FROM:<a@b>")[0] == 421


def test_without_trustme_the_way_to_get_it_is_told() -> None:
    """-S: Python without what was installed beside it."""
    source = Path(relay.__file__).parent.parent
    program = "from relay.testing.certificates import Zoo; Zoo('.')"
    bare = subprocess.run(
        [sys.executable, "-S", "-c", program], env={"PYTHONPATH": str(source)}, capture_output=True, text=True
    )
    assert bare.stderr.endswith("certificates for tests need trustme: pip install 'smtp-relay[test]'\n")


def send(upstream: ScriptedUpstream) -> None:
    with smtplib.SMTP("127.0.0.1", upstream.port) as client:
        client.sendmail("a@b", ["c@d"], b"hello\r\n")


def test_many_upstreams_in_a_thread(tmp_path: Path) -> None:
    record = Record(tmp_path / "record")
    with Upstreams([{"banner": "554 5.0.0 no"}, *[None] * 100], record=record) as ups:
        picky, *others = ups
        assert len({upstream.port for upstream in ups}) == len(ups) == 101
        with pytest.raises(smtplib.SMTPConnectError):
            send(picky)
        for upstream in others[:3]:
            send(upstream)
        ups.wait(others[2], lambda seen: seen.counts.open == 0)
        assert [upstream.counts.dots for upstream in others[:4]] == [1, 1, 1, 0]
        assert others[0].received[0].recipients == ("c@d",)
        more = ups.add(Script({"dot": "5xx"}), keep=False)
        with pytest.raises(smtplib.SMTPDataError):
            send(more)
        assert (more.counts.dots, more.counts.taken, more.received) == (1, 0, [])
        with pytest.raises(TimeoutError):
            ups.wait(more, lambda seen: seen.counts.dots == 2, 0.05)
    record.close()
    assert len((tmp_path / "record").read_text().splitlines()) == 4


def test_a_stopped_upstream_cuts_its_connections_and_comes_back_on_its_port() -> None:
    with Upstreams([{}]) as ups:
        port = ups[0].port
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            assert client.recv(100).startswith(b"220")
            ups.stop(ups[0])
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(100) == b""
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
        ups.start(ups[0])
        assert ups[0].port == port
        send(ups[0])
        assert ups[0].counts.taken == 1


def test_connections_that_come_as_it_stops_leave_nothing_open() -> None:
    """What is left open is a ResourceWarning, which fails the test."""
    for _ in range(20):
        with Upstreams([None]) as ups, contextlib.ExitStack() as clients:
            for _ in range(5):
                clients.enter_context(socket.create_connection(("127.0.0.1", ups[0].port)))
            ups.stop(ups[0])
    gc.collect()


def test_a_script_that_is_wrong_leaves_no_thread() -> None:
    with pytest.raises(ValueError, match="no such phase, did you mean 'mail'"), Upstreams([{"mial": "421"}]):
        pass
