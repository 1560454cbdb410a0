"""Every failure of a provider names cause and fix."""

from __future__ import annotations

import pytest

from relay.delivery.classify import NOBODY, outcome
from relay.delivery.hints import account_hint, explained, hint, host_hint
from relay.model import Phase, Reply


@pytest.mark.parametrize(
    ("phase", "code", "enhanced", "text", "words"),
    [
        (Phase.AUTH, 535, "5.7.8", "Username and Password not accepted", "user name or password is wrong"),
        (Phase.AUTH, 535, "5.7.139", "Authentication unsuccessful", "enable SMTP AUTH"),
        (Phase.AUTH, 534, "5.7.9", "Application-specific password required", "app password"),
        (Phase.MAIL, 530, "5.7.0", "Authentication Required", "set username and password"),
        (Phase.AUTH, 535, "", "nope", "username and password"),
        (Phase.MAIL, 550, "5.7.60", "Client does not have permissions to send as this sender", "from_email"),
        (Phase.MAIL, 550, "", "not you", "refuses this sender"),
        (Phase.DOT, 554, "5.7.1", "spam", "ask it why"),
        (Phase.RCPT, 550, "5.1.1", "no such user", "check the address"),
        (Phase.DOT, 550, "5.4.5", "Daily user sending quota exceeded", "when the day is over"),
        (Phase.AUTH, 454, "4.7.0", "Too many login attempts", "slow down"),
        (Phase.DOT, 0, "", "connection lost", "may have been delivered"),
        (Phase.CONNECT, 451, "4.4.3", "no answer from DNS within 30 s", "resolver"),
        (Phase.BANNER, 421, "", "too many connections from you", "fewer connections"),
        (Phase.BANNER, 421, "4.3.0", "go away", "check host, port and TLS"),
    ],
)
def test_the_fix_is_named(phase, code, enhanced, text, words):
    reply = Reply(code=code, enhanced=enhanced, text=text)
    assert words in hint(outcome(NOBODY, "primary", "", phase, reply))


def test_what_says_its_fix_itself_is_not_explained_twice():
    reply = Reply(
        code=421, enhanced="4.4.1", text="x port 1: connection refused: nothing listens there, is host or port wrong?"
    )
    assert host_hint(reply) == ""
    assert explained(reply, "") == str(reply)


def test_reply_and_hint_are_one_line():
    reply = Reply(code=535, enhanced="5.7.8", text="no")
    assert explained(reply, account_hint(reply)).startswith("535 5.7.8 no; user name or password is wrong")
