"""`relay provider` against a running relay."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from relay import ports
from relay.model import Counts, Health, ProviderSettings
from tests.desk import NOW


@pytest.fixture
def provider(relay, run):
    """A provider command; `stdin`: what its standard input gives."""
    of_file = ProviderSettings(name="primary", host="smtp.example.org", username="u", password="canary-7351")
    relay.registry.__init__([of_file])
    relay.checks.__init__()

    def command(*arguments: object, stdin: bytes = b""):
        return run("provider", *arguments, "-c", relay.config, given=stdin)

    return command


def settings(relay, name: str) -> ProviderSettings:
    return next(one.settings for one in relay.registry.providers() if one.settings.name == name)


def test_add_with_a_password_from_standard_input(relay, provider):
    added = provider(
        "add", "office", "--host", "smtp.example.com", "--port", 2525, "--username", "u@example.com",
        "--password-stdin", "--from-email", "shop@example.com", "--from-name", "Shop", "--reply-to", "help@example.com",
        "--daily-limit", 10, "--monthly-limit", 100, "--per-minute", 5, "--priority", 2, "--inactive", "--default",
        stdin=b"canary-99\n",
    )  # fmt: skip
    assert (added.code, added.rows, added.err) == (0, [["2", "office"]], "")
    assert settings(relay, "office") == ProviderSettings(
        name="office",
        host="smtp.example.com",
        port=2525,
        username="u@example.com",
        password="canary-99",
        from_email="shop@example.com",
        from_name="Shop",
        reply_to="help@example.com",
        daily_limit=10,
        monthly_limit=100,
        rate_limit_per_minute=5,
        priority=2,
        active=False,
    )
    assert relay.registry.find(2).default


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], (587, True, False)),
        (["--tls", "starttls"], (587, True, False)),
        (["--tls", "implicit"], (465, False, True)),
        (["--tls", "implicit", "--port", "2465"], (2465, False, True)),
        (["--tls", "none", "--port", "25"], (25, False, False)),
    ],
)
def test_kinds_of_tls_and_their_ports(relay, provider, given, expected):
    assert provider("add", "n", "--host", "h.example", *given).code == 0
    made = settings(relay, "n")
    assert (made.port, made.use_tls, made.use_ssl) == expected


def test_a_preset_fills_in_what_is_known(relay, provider):
    assert provider("add", "g", "--preset", "gmail", "--username", "me@gmail.com", "--priority", 3).code == 0
    made = settings(relay, "g")
    assert (made.host, made.port, made.use_tls, made.daily_limit) == ("smtp.gmail.com", 587, True, 500)
    assert provider("add", "s", "--preset", "ses", "--region", "eu-central-1").code == 0
    assert settings(relay, "s").host == "email-smtp.eu-central-1.amazonaws.com"
    assert (
        provider("add", "o", "--preset", "gmail", "--daily-limit", "none", "--host", "smtp-relay.gmail.com").code == 0
    )
    assert (settings(relay, "o").host, settings(relay, "o").daily_limit) == ("smtp-relay.gmail.com", None)
    assert provider("add", "k", "--preset", "sendgrid").code == 0
    assert settings(relay, "k").username == "apikey"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["add", "n"], "--host, or --preset"),
        (["add", "n", "--preset", "gmial"], "did you mean 'gmail'?"),
        (["add", "n", "--preset", "ses"], "needs --region"),
        (["add", "n", "--host", "h.example", "--tls", "ssl"], "starttls, implicit or none"),
        (["add", "n", "--host", "h.example", "--daily-limit", "many"], "none for no limit"),
        (["add", "n", "--host", "h.example", "--daily-limit", "0"], "null for no limit"),
        (["add", "n", "--host", "127.0.0.1"], "allow_private_providers"),
        (["add", "n", "--host", "h.example", "--password-stdin", "--password-file", "x"], "exclude each other"),
        (["add", "n", "--host", "h.example", "--password-file", "/nowhere/x"], "no such file"),
        (["edit", "primary"], "change what?"),
    ],
)
def test_wrong_usage_is_a_sentence_and_2(provider, arguments, words):
    refused = provider(*arguments)
    assert (refused.code, refused.out) == (2, "")
    assert words in refused.err
    assert refused.err.count("\n") == 1


def test_H8_a_password_is_no_argument(provider):
    refused = provider("add", "n", "--host", "h.example", "--password", "canary-99")
    assert refused.code == 2
    assert "canary-99" not in refused.err


def test_H8_a_password_from_a_file_is_nowhere_shown(relay, provider, tmp_path):
    file = tmp_path / "secret"
    file.write_bytes(b"canary-99\r\n")
    shown = [provider("add", "n", "--host", "h.example", "--username", "u", "--password-file", file)]
    assert settings(relay, "n").password == "canary-99"
    shown += [provider(*words) for words in (["show", "n"], ["list"], ["stats"], ["show", "n", "--json"])]
    assert "canary-99" not in "".join(one.out + one.err for one in shown)
    file.write_bytes(b"\xff")
    assert "not UTF-8" in provider("edit", "n", "--password-file", file).err


def test_edit_changes_what_is_given(relay, provider):
    provider("add", "n", "--host", "h.example", "--username", "u", "--password-stdin", "--daily-limit", 5, stdin=b"old")
    before = settings(relay, "n")
    assert provider("edit", "n", "--daily-limit", "none", "--port", 2525).code == 0
    assert (settings(relay, "n").daily_limit, settings(relay, "n").port) == (None, 2525)
    assert settings(relay, "n").password == before.password
    assert provider("edit", "n", "--password-stdin", stdin=b"new\n").code == 0
    assert settings(relay, "n").password == "new"
    assert provider("edit", "2", "--name", "m", "--tls", "implicit").rows == [["2", "m"]]
    assert (settings(relay, "m").port, settings(relay, "m").use_ssl) == (2525, True)
    assert provider("edit", "m", "--password-stdin", stdin=b"").code == 0
    assert settings(relay, "m").password == "", "an empty one is cleared"


def test_list_show_and_stats_are_rows(relay, provider):
    provider("add", "n", "--host", "h.example", "--priority", 2, "--inactive")
    assert provider("list").rows == [
        ["1", "primary", "smtp.example.org", "587", "1", "yes", "unknown"],
        ["2", "n", "h.example", "587", "2", "no", "unknown"],
    ]
    assert [one["name"] for one in json.loads(provider("list", "--json").out)] == ["primary", "n"]
    relay.registry.counted[1] = Counts(today=5, month=150, attempts=200, accepted=197, seconds=460.0)
    assert provider("stats", "primary").rows == [["primary", "5", "0.0", "150", "0.0", "98.5", "2.3"]]
    assert len(provider("stats").rows) == 2
    facts = dict(provider("show", "n").rows)
    assert (facts["smtp_host"], facts["priority_display"], facts["is_active"]) == ("h.example", "Secondary", "no")
    assert json.loads(provider("show", "n", "--json").out)["id"] == 2


def test_show_says_why_it_is_unhealthy(relay, provider):
    known = relay.registry.known
    known[1] = replace(known[1], health=Health(healthy=False, checked_at=NOW, detail="535 no; correct the password"))
    facts = dict(provider("show", "primary").rows)
    assert (facts["health_status"], facts["health_detail"]) == ("unhealthy", "535 no; correct the password")


def test_activate_deactivate_remove(relay, provider):
    provider("add", "n", "--host", "h.example")
    assert provider("deactivate", "n").code == 0
    assert not settings(relay, "n").active
    assert provider("activate", "2").code == 0
    assert settings(relay, "n").active
    removed = provider("remove", "n")
    assert (removed.code, removed.out, removed.err) == (0, "", "")
    assert relay.registry.find(2) is None


def test_one_of_the_file_is_changed_there(provider):
    refused = provider("remove", "primary")
    assert refused.code == 1
    assert "the configuration file" in refused.err


def test_an_unknown_one_names_those_there_are(provider):
    refused = provider("show", "secondary")
    assert refused.code == 1
    assert refused.err == "relay: there is no provider secondary; there are: primary\n"


def test_a_test_mail(relay, provider):
    sent = provider("test", "primary", "--to", "me@example.org")
    assert (sent.code, sent.rows) == (0, [["sent", "primary", "0.25", "smtp_1795000000"]])
    assert relay.checks.asked == [("primary", "me@example.org")]
    relay.checks.tested = ports.Tested(seconds=0.5, error="SMTP Error: 535 no; correct the password")
    failed = provider("test", "primary", "--to", "me@example.org")
    assert (failed.code, failed.out) == (1, "")
    assert failed.err == "relay: primary: SMTP Error: 535 no; correct the password\n"
    as_json = provider("test", "primary", "--to", "me@example.org", "--json")
    assert (as_json.code, json.loads(as_json.out)["success"], as_json.err) == (1, False, "")
    assert provider("test", "primary", "--to", "nobody").code == 2


def test_a_check(relay, provider):
    relay.checks.found = Health(healthy=True, checked_at=NOW)
    well = provider("check", "primary")
    assert (well.code, well.rows) == (0, [["primary", "healthy", "2026-11-18T11:06:40Z"]])
    relay.checks.found = Health(healthy=False, checked_at=NOW, detail="x")
    ill = provider("check", "primary")
    assert ill.code == 1
    assert "primary is unhealthy" in ill.err
