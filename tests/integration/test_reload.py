"""SIGHUP: a good file is in force at once, a bad one changes nothing and says so."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from clients import letter, send, smtp
from ledger import Ledger
from relay_process import Relay, provider
from waiting import listening, until

MAKE = Callable[..., Relay]


def test_bad_file_keeps_the_old_configuration(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)]).start()
    assert one.metric("relay_config_last_reload_successful") == 1
    one.write("hostname: relay.test\nproviders:\n  - {name: one, hots: 127.0.0.1}\n")
    one.hang_up()
    assert one.metric("relay_config_last_reload_successful") == 0
    refused = one.events("configuration refused")[-1]
    assert refused["level"] == "error"
    assert ":3:" in str(refused["errors"])
    assert "did you mean 'host'" in str(refused["errors"])
    send(one.door, ["you@example.com"], letter())
    upstream.wait_for(1)
    one.reload()
    assert one.metric("relay_config_last_reload_successful") == 1


def test_providers_listeners_and_limits_change_without_a_restart(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    old, new = ledger(), ledger()
    one = relay(providers=[provider("one", old.port)]).start()
    send(one.door, ["a@example.com"], letter())
    old.wait_for(1)
    pid = one.pid
    one.config["providers"] = [provider("two", new.port)]
    one.config["listeners"][0]["max_message_size"] = 1000
    one.reload()
    send(one.door, ["b@example.com"], letter())
    new.wait_for(1)
    until(lambda: one.get("/readyz")[0] == 200, 5, "ready")
    assert (one.pid, len(old.taken)) == (pid, 1)
    assert one.metric("relay_provider_healthy", provider="two") == 1


def test_log_and_room_of_the_spool_change_without_a_restart(relay: MAKE) -> None:
    one = relay(log={"level": "info", "format": "json"}).start()
    one.config["log"] = {"level": "info", "format": "json", "redact": True}
    one.config["spool"]["max_size"] = "1MiB"
    one.reload()
    send(one.door, ["you@example.com"], letter())
    accepted = until(lambda: one.events("message accepted"), 5, "it is logged")
    assert accepted[-1]["to"] == ["y…@example.com"]
    with smtp(one.door) as client:
        client.ehlo()
        code, text = client.mail("app@client.test", ["SIZE=2000000"])
    assert (code, text[:5]) == (452, b"4.3.1")


def test_what_a_start_warns_of_a_reload_warns_of(relay: MAKE) -> None:
    one = relay().start()
    assert not one.events("from everybody")
    one.config["listeners"][0] |= {"listen": f"0.0.0.0:{one.smtp_port}", "allow": ["0.0.0.0/0"]}
    one.reload()
    until(lambda: bool(one.events("from everybody", level="warning")), 5, "it is warned of")


def test_listener_added_and_removed(relay: MAKE) -> None:
    one = relay().start()
    extra = relay().smtp_port
    one.config["listeners"].append({"name": "extra", "listen": f"127.0.0.1:{extra}"})
    one.reload()
    until(lambda: listening(extra), 5, "the new listener is there")
    one.config["listeners"].pop()
    one.reload()
    until(lambda: not listening(extra), 5, "the listener is gone")
    send(one.door, ["you@example.com"], letter())


def test_hostname_is_named_as_needing_a_restart(relay: MAKE) -> None:
    one = relay().start()
    one.config["hostname"] = "other.test"
    one.reload()
    assert any("hostname" in str(line.get("restart")) for line in one.log())


def test_a_listener_gets_another_name_or_a_wider_address_and_sessions_go_on(relay: MAKE) -> None:
    one = relay().start()
    with contextlib.closing(smtp(one.door)) as client:
        client.ehlo()
        client.docmd("MAIL FROM:<a@example.com>")
        client.docmd("RCPT TO:<b@example.com>")
        one.config["listeners"][0]["name"] = "renamed"
        one.reload()
        assert client.docmd("DATA")[0] == 354
        one.config["listeners"][0] |= {"listen": f"0.0.0.0:{one.smtp_port}", "allow": ["127.0.0.0/8"]}
        one.reload()
        assert one.metric("relay_config_last_reload_successful") == 1, one.log_text()[-500:]
        client.send(letter() + b".\r\n")
        code, text = client.getreply()
        assert (code, text[:16]) == (250, b"2.0.0 Ok: queued"), text
        send(one.door, ["you@example.com"], letter())


def test_an_address_that_cannot_be_had_leaves_the_listeners_as_they_were(
    relay: MAKE, ledger: Callable[[], Ledger]
) -> None:
    one, busy = relay().start(), ledger()
    one.config["listeners"] = [
        {"name": "internal", "listen": f"0.0.0.0:{one.smtp_port}", "allow": ["127.0.0.0/8"]},
        {"name": "more", "listen": f"127.0.0.1:{busy.port}"},
    ]
    one.write()
    one.hang_up()
    assert one.metric("relay_config_last_reload_successful") == 0
    send(one.door, ["you@example.com"], letter())


def test_a_configuration_that_came_through_a_pipe_is_not_read_again(relay: MAKE, ledger: Callable[[], Ledger]) -> None:
    """It would be empty: the built-in defaults, without providers, and mail would be captured from then on."""
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)])
    os.mkfifo(one.file)
    one.launch()
    one.write()
    until(lambda: bool(one.events("ready")), 20, "the relay is ready")
    one.hang_up()
    assert "is a pipe" in str(one.events("configuration refused")[-1]["errors"])
    send(one.door, ["you@example.com"], letter())
    upstream.wait_for(1)
    assert one.terminate() == 0


def test_a_reload_while_the_relay_is_upgraded_changes_nothing_and_says_what_to_do(
    relay: MAKE, ledger: Callable[[], Ledger]
) -> None:
    """What reads the configuration is loaded only now, and does not fit what is running."""
    upstream = ledger()
    one = relay(providers=[provider("one", upstream.port)], http=None)
    half = one.folder / "half"
    half.mkdir()
    one.environment = {"PYTHONPATH": str(half)}
    one.write()
    one.launch()
    until(lambda: bool(one.events("ready")), 20, "the relay is ready")
    (half / "pydantic.py").write_text("raise ImportError('an upgrade')\n")
    one.hang_up()
    assert "if the relay was upgraded while it ran, restart it" in str(
        one.events("configuration refused")[-1]["errors"]
    )
    send(one.door, ["you@example.com"], letter())
    upstream.wait_for(1)
    (half / "pydantic.py").unlink()
    one.config["log"]["level"] = "debug"
    one.reload()
    assert one.events("configuration reloaded"), one.log_text()
