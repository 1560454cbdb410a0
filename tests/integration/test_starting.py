"""Starting: what the relay needs, what it makes, and how it says no: one sentence with cause and fix, no traceback."""

from __future__ import annotations

import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from clients import letter, queued_id, send, swaks
from ledger import Ledger
from relay_process import Relay, provider
from waiting import needs_root, program, until

ROOT = Path(__file__).parents[2]
Finished = subprocess.CompletedProcess[str]


def assert_one_sentence(done: Finished, code: int, *words: str) -> None:
    """It ended with this code and said why in one line that holds these words."""
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert done.returncode == code, (done.returncode, said)
    assert len(said) == 1, said
    for word in words:
        assert word in said[0]


def test_first_minutes_with_the_example_configuration(relay: Callable[..., Relay]) -> None:
    """What `make run` and the first `swaks` of a newcomer do, on ports of the test's own."""
    one = relay()
    shutil.copy(ROOT / "config.example.yaml", one.file)
    one.environment = {
        "RELAY_LISTENERS__0__LISTEN": f"127.0.0.1:{one.smtp_port}",
        "RELAY_HTTP__LISTEN": f"127.0.0.1:{one.http_port}",
        "RELAY_LOG__FORMAT": "json",
    }
    one.control = one.folder / "var" / "relay.sock"
    one.start(write=False)
    done = swaks(one.door, ["you@example.com"])
    assert done.returncode == 0, done.stdout
    assert "capture" in done.stdout.splitlines()[2], "the banner says that mail is captured"
    [message] = one.queue()
    assert message["id"] == queued_id(done.stdout)
    assert (message["state"], message["recipients"][0]["address"]) == ("captured", "you@example.com")
    plain = one.cli("queue", "list")
    assert plain.returncode == 0
    assert [line.count("\t") > 2 for line in plain.stdout.splitlines() if message["id"] in line] == [True]


def test_readiness_on_tcp_and_control_socket(relay: Callable[..., Relay]) -> None:
    one = relay().start()
    for tcp in (True, False):
        assert one.get("/healthz", tcp=tcp)[0] == 200
        status, body = one.get("/readyz", tcp=tcp)
        assert (status, '"mode":"capture"' in body) == (200, True)
    assert one.cli("healthcheck").returncode == 0
    assert one.terminate() == 0
    assert one.cli("healthcheck").returncode == 1


TELL_MODULES = """
import sys
from relay.cli.main import main
main(sys.argv[2:])
print("loaded:", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_a_relay_without_http_keeps_nothing_of_what_only_its_start_needed(relay: Callable[..., Relay]) -> None:
    """They would be a third of its memory. What reads the configuration comes back when it is reloaded."""
    one = relay(http=None, providers=[provider("primary", 1)])
    one.wrapper = [sys.executable, "-c", TELL_MODULES]
    one.write()
    one.launch()
    until(lambda: bool(one.events("ready")), 20, "the relay is ready")
    send(one.door, ["you@example.com"], letter())
    assert one.terminate() == 0
    [told] = [line for line in one.log_text().splitlines() if line.startswith("loaded: ")]
    loaded = set(told.split())
    assert not loaded & {"typer", "click", "pydantic", "pydantic_core", "yaml", "fastapi", "starlette", "uvicorn"}
    assert {"aiosmtpd", "aiosmtplib", "structlog"} <= loaded


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams_are_no_obstacle(
    relay: Callable[..., Relay], ledger: Callable[[], Ledger], closed: str
) -> None:
    """Nothing that it opens takes their numbers: what is printed would go into it."""
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)])
    one.wrapper = ["sh", "-c", f'exec "$@" {closed}', "sh"]
    one.start()
    usual = {"/dev/null", str(one.output)}
    assert {str(Path(f"/proc/{one.pid}/fd/{number}").readlink()) for number in range(3)} <= usual
    send(one.door, ["you@example.com"], letter())
    upstream.wait_for(1)
    assert one.terminate() == 0


def test_commands_work_without_http(relay: Callable[..., Relay]) -> None:
    one = relay(http=None).start()
    message = send(one.door, ["you@example.com"], letter())
    assert [found["id"] for found in one.queue()] == [message]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", one.http_port)) != 0


def without_fastapi(one: Relay) -> None:
    """As while the relay is upgraded: what is on the disk does not fit together."""
    (one.folder / "half" / "fastapi").mkdir(parents=True)
    (one.folder / "half" / "fastapi" / "__init__.py").write_text("raise ImportError('an upgrade')\n")
    one.environment = {"PYTHONPATH": str(one.folder / "half")}


def test_commands_that_cannot_be_served_are_told_so_and_mail_goes_on(relay: Callable[..., Relay]) -> None:
    one = relay(http=None)
    without_fastapi(one)
    one.write()
    one.launch()
    until(lambda: bool(one.events("ready")), 20, "the relay is ready")
    assert_one_sentence(one.cli("queue", "list"), 1, "no answer from", "see the relay's log")
    until(lambda: bool(one.events("restart it")), 5, "the log says why")
    send(one.door, ["you@example.com"], letter())
    assert one.terminate() == 0
    one.environment = {}
    assert len(one.queue()) == 1


def test_http_that_cannot_be_loaded_ends_the_start_cleanly(relay: Callable[..., Relay]) -> None:
    """Mail is served by then: nobody may go on working on what is closed."""
    one = relay()
    without_fastapi(one)
    assert_one_sentence(one.run_to_end(), 1, "ImportError")


def test_the_queue_is_open_to_the_network_door_with_a_token_once_there_is_somebody(
    relay: Callable[..., Relay],
) -> None:
    one = relay(users=[{"name": "crm", "password": "a good one"}]).start()
    assert one.get("/v1/messages")[0] == 200
    assert one.get("/v1/messages", tcp=True)[0] == 401


def test_G8_second_instance_is_refused_and_the_first_lives_on(
    relay: Callable[..., Relay], ledger: Callable[[], Ledger]
) -> None:
    upstream = ledger()
    first = relay(providers=[provider("one", upstream.port)]).start()
    second = relay()
    second.config["spool"] = {"url": f"sqlite:////{first.folder}/spool/spool.db".replace("////", "///", 1)}
    done = second.run_to_end()
    assert_one_sentence(done, 1, "spool")
    again = first.run_to_end()
    assert_one_sentence(again, 1)
    send(first.door, ["you@example.com"], letter())
    upstream.wait_for(1)
    assert first.cli("queue", "stats").returncode == 0, "the refused one did not take the control socket away"


def test_port_in_use(relay: Callable[..., Relay]) -> None:
    one = relay()
    with socket.create_server(("127.0.0.1", one.smtp_port)):
        assert_one_sentence(one.run_to_end(), 1, str(one.smtp_port), "something else listens there")


def test_http_port_in_use(relay: Callable[..., Relay]) -> None:
    one = relay()
    with socket.create_server(("127.0.0.1", one.http_port)):
        assert_one_sentence(one.run_to_end(), 1, str(one.http_port), "another program is using it")


def test_no_permission_on_the_spool_folder(relay: Callable[..., Relay]) -> None:
    needs_root("to own a folder that the relay may not enter")
    one = relay()
    spool = one.folder / "spool"
    spool.mkdir(mode=0o700)
    shutil.chown(spool, "nobody")
    assert_one_sentence(one.run_to_end(powerless=True), 1, str(spool), "ermission")


def test_H11_other_addresses_need_an_allow_list(relay: Callable[..., Relay]) -> None:
    one = relay()
    one.config["listeners"] = [{"name": "open", "listen": f"0.0.0.0:{one.smtp_port}"}]
    done = one.run_to_end()
    assert done.returncode == 2
    assert "allow" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("hostname: [\n", ": a bracket or brace is not closed"),
        ("hostnam: relay.test\n", ":1:1: unknown key 'hostnam', did you mean 'hostname'?"),
        ("hostname: relay.test\nproviders:\n  - {name: a, host: h.test, port: many}\n", ":3:"),
        ("spool: {url: 'mysql://x'}\n", ":1:"),
        ("!!python/object/apply:os.system ['true']\n", ":1:"),
    ],
)
def test_wrong_configuration(relay: Callable[..., Relay], text: str, where: str) -> None:
    one = relay()
    ran, checked = one.run_to_end(text=text), one.cli("check")
    for done in (ran, checked):
        assert done.returncode == 2
        assert one.file.name in done.stderr
        assert where in done.stderr
        assert "Traceback" not in done.stderr


def test_missing_configuration(relay: Callable[..., Relay]) -> None:
    one = relay()
    done = one.cli("check")
    assert_one_sentence(done, 2, str(one.file))


def test_H13_spool_is_for_its_owner_only(relay: Callable[..., Relay], ledger: Callable[[], Ledger]) -> None:
    """Also what appears while mail comes in: a body above 256 KiB is a file."""
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)]).start()
    upstream.stop()
    send(one.door, ["you@example.com"], letter(body="x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 5000))
    spool = one.folder / "spool"
    found = [spool, *spool.rglob("*")]
    assert len(found) > 3
    for path in found:
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.name != "drop":
            assert mode == (0o700 if path.is_dir() else 0o600), (path, oct(mode))


def test_H13_symlinked_spool_is_not_followed(relay: Callable[..., Relay], tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    one = relay()
    (one.folder / "spool").mkdir(mode=0o700)
    (one.folder / "spool" / "spool.db").symlink_to(elsewhere / "theirs.db")
    assert_one_sentence(one.run_to_end(), 1, "spool.db")
    assert list(elsewhere.iterdir()) == []


def test_promtool_is_content_with_the_metrics(relay: Callable[..., Relay], ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    limits = {"per_minute": 100, "per_day": 1000}
    one = relay(providers=[provider("one", upstream.port, limits=limits)]).start()
    send(one.door, ["you@example.com"], letter())
    upstream.wait_for(1)
    until(lambda: one.metric("relay_delivery_attempts_total", outcome="accepted") == 1, 5, "the attempt is counted")
    checked = subprocess.run(
        [program("promtool"), "check", "metrics"], input=one.metrics(), capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert one.metric("relay_messages_accepted_total", source="smtp") == 1
    assert one.metric("relay_provider_quota_remaining", window="day") == 999
