"""The answers to "why": complete, JSON-able, in words."""

from __future__ import annotations

import json

from msgspec.structs import replace

from relay.delivery.attempt import Send
from relay.model import Limits, Match, Phase, Rewrite, Route


def ask(dispatcher, make, **more):
    question = {
        "sender": "a@example.com",
        "recipient": "b@example.org",
        "size": 0,
        "client": "",
        "now": make.now,
    } | more
    return json.loads(json.dumps(dispatcher.explain(**question)))


def test_where_it_goes_and_what_is_left(make) -> None:
    dispatcher = make.dispatcher(
        make.provider("backup", priority=2), make.provider(limits=Limits(per_minute=20, per_day=2000))
    )
    answer = ask(dispatcher, make)

    assert (answer["rule"], answer["goes_to"]) == (None, "primary")
    assert answer["summary"] == "it would be sent through primary now"
    assert answer["from"] == {"envelope": "a@example.com", "header": "", "reply_to": ""}
    assert answer["lane"].startswith("default:")
    assert [p["name"] for p in answer["providers"]] == ["primary", "backup"]
    assert answer["providers"][0] == {
        "name": "primary",
        "priority": 1,
        "weight": 1,
        "usable": True,
        "reason": "",
        "until": None,
        "quota": {"minute": 20, "day": 2000},
    }


def test_why_each_was_skipped(make) -> None:
    dispatcher = make.dispatcher(
        make.provider(), make.provider("second", priority=2), make.provider("third", priority=3)
    )
    dispatcher.learned("primary", [make.said(535, Phase.AUTH, text="bad password")], make.now)
    for _ in range(3):
        dispatcher.learned("second", [make.said(0, Phase.CONNECT, text="connection refused")], make.now)
    answer = ask(dispatcher, make)

    assert answer["goes_to"] == "third"
    assert [p["reason"] for p in answer["providers"]] == [
        "suspended, it refuses our account: 535 bad password",
        "circuit open: connection refused",
        "",
    ]
    assert answer["providers"][1]["until"] == "2027-01-15T08:00:05Z"


def test_the_rule_and_what_it_rewrites(make) -> None:
    rewrite = Rewrite(envelope_from="bounce@x", header_from="Billing <b@x>")
    route = Route(match=Match(listener="public", sender="*@example.com"), providers=("backup",), rewrite=rewrite)
    answer = ask(make.dispatcher(make.provider(), make.provider("backup"), routes=(route,)), make)

    assert (answer["rule"], answer["assumed"], answer["goes_to"]) == (0, ["listener public"], "backup")
    assert answer["from"] == {"envelope": "bounce@x", "header": "Billing <b@x>", "reply_to": ""}


def test_asking_spends_nothing(make) -> None:
    dispatcher = make.dispatcher(make.provider(limits=Limits(per_day=1)))
    before = dispatcher.statuses(make.now)

    assert ask(dispatcher, make) == ask(dispatcher, make)
    assert dispatcher.statuses(make.now) == before


def test_in_capture_mode_it_goes_nowhere(make) -> None:
    answer = ask(make.dispatcher(capture=True), make)

    assert (answer["goes_to"], answer["providers"]) == (None, [])
    assert "only kept" in answer["summary"]


def test_why_says_the_cause_and_what_happens_next(make) -> None:
    dispatcher = make.dispatcher(make.provider())
    assert dispatcher.why("default:1", make.now) == ""
    assert dispatcher.why("removed0:1", make.now) == ""

    dispatcher.learned("primary", [make.said(535, Phase.AUTH, text="bad password")], make.now)
    assert dispatcher.why("default:1", make.now) == (
        "primary: suspended, it refuses our account: 535 bad password; "
        "repair its user name or password; it is probed again at 2027-01-15T08:05:00Z"
    )
    assert dispatcher.why("default:1", make.now) == ask(dispatcher, make)["summary"]


def test_an_inactive_provider_is_named_with_the_reason(make) -> None:
    dispatcher = make.dispatcher(make.provider("off", active=False), make.provider("on", priority=2))
    answer = dispatcher.explain(sender="a@example.com", recipient="b@example.org", size=0, client="", now=make.now)

    assert [(p["name"], p["usable"], p["reason"]) for p in answer["providers"]] == [
        ("off", False, "not active"),
        ("on", True, ""),
    ]
    assert answer["goes_to"] == "on"


def test_why_without_an_active_provider(make) -> None:
    dispatcher = make.dispatcher(make.provider(active=False))

    assert dispatcher.why("default:1", make.now) == "no active provider for this route: add or activate one"


def test_a_limit_that_is_used_up_says_how_many_and_when_it_begins_anew(make) -> None:
    def used_up(**limits) -> str:
        dispatcher = make.dispatcher(make.provider(limits=Limits(**limits)))
        for _ in range(5):
            assert isinstance(dispatcher.choose(make.attempt(), make.now), Send)
        return dispatcher.why("default:1", make.now)

    assert used_up(per_day=5) == "primary: limit of 5 a day reached; goes at 2027-01-16T00:00:00Z"
    assert used_up(per_month=5) == "primary: limit of 5 a month reached; goes at 2027-02-01T00:00:00Z"
    assert (
        used_up(per_day=5, timezone="Asia/Tokyo") == "primary: limit of 5 a day reached; goes at 2027-01-15T15:00:00Z"
    )
    assert used_up(per_day=5, count="recipients") == (
        "primary: limit of 5 recipients a day reached; goes at 2027-01-16T00:00:00Z"
    )
    assert used_up(per_minute=5) == "primary: limit of 5 a minute reached; goes at 2027-01-15T08:00:01Z"


def test_a_quota_that_the_provider_keeps_itself_is_told_as_its_word(make) -> None:
    dispatcher = make.dispatcher(make.provider(limits=Limits(per_day=5)))
    gone = replace(make.said(450, Phase.MAIL, text="daily quota"), signal="day")
    dispatcher.learned("primary", [gone], make.now)

    assert dispatcher.why("default:1", make.now) == (
        "primary: says that its quota of the day is used up; goes at 2027-01-16T00:00:00Z"
    )
