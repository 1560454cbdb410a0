"""The table, row by row: every row of providers.md, and every row of ours, is reached by a reply of its own."""

from __future__ import annotations

import pytest

from relay.delivery.classify import asked_to_wait, classify, lost, outcome, row_for
from relay.delivery.classify_table import (
    BOUNCE,
    BOUNCE_ONE,
    DAY_GONE,
    ELSEWHERE,
    MONTH_GONE,
    PROVIDER,
    RETRY,
    RETRY_ONE,
    SPLIT,
    SUSPEND,
    TABLE,
    THROTTLED,
    TOO_LARGE,
    UNCERTAIN,
    Ruling,
)
from relay.model import Fault, Phase, Recipient, Reply, Verdict

# row, phase, code, enhanced, text, preset, ruling
CASES = [
    ("lost after the dot", Phase.DOT, 0, "", "connection lost", "", UNCERTAIN),
    ("no reply", Phase.CONNECT, 0, "", "connection refused", "", PROVIDER),
    ("no reply", Phase.TLS, 0, "4.7.5", "certificate has expired", "", PROVIDER),
    ("no reply", Phase.BODY, 0, "", "connection lost", "", PROVIDER),
    ("421 anywhere", Phase.BANNER, 421, "", "busy", "", PROVIDER),
    ("421 anywhere", Phase.RCPT, 421, "4.7.0", "too many messages", "", PROVIDER),
    ("421 anywhere", Phase.DOT, 421, "4.3.2", "closing", "", PROVIDER),
    ("432 concurrency", Phase.MAIL, 432, "4.3.2", "Concurrent connections limit exceeded", "office365", THROTTLED),
    ("454 too many logins", Phase.AUTH, 454, "4.7.0", "Too many login attempts", "gmail", THROTTLED),
    ("SendGrid credits", Phase.AUTH, 451, "", "Authentication failed: Maximum credits exceeded", "sendgrid", DAY_GONE),
    ("Gmail daily quota", Phase.RCPT, 550, "5.4.5", "Daily user sending limit exceeded", "gmail", DAY_GONE),
    ("Gmail daily quota", Phase.DOT, 550, "5.4.5", "Daily sending quota exceeded", "", DAY_GONE),
    ("Office 365 daily quota", Phase.DOT, 550, "5.1.90", "reached your limit for recipients", "office365", DAY_GONE),
    ("daily quota", Phase.MAIL, 454, "", "Throttling failure: Daily message quota exceeded", "ses", DAY_GONE),
    ("monthly quota", Phase.DOT, 550, "5.7.1", "your monthly sending limit is reached", "", MONTH_GONE),
    ("4.5.3 too many recipients", Phase.RCPT, 452, "4.5.3", "no more", "", SPLIT),
    ("too many recipients", Phase.RCPT, 452, "", "Too many recipients", "", SPLIT),
    ("too many recipients", Phase.RCPT, 552, "5.5.3", "Too many recipients", "", SPLIT),
    ("throttling", Phase.MAIL, 454, "", "Throttling failure: Maximum sending rate exceeded", "ses", THROTTLED),
    ("throttling", Phase.DOT, 451, "4.7.1", "rate limit exceeded", "custom", THROTTLED),
    ("SendGrid throttling", Phase.MAIL, 451, "4.3.0", "try later", "sendgrid", THROTTLED),
    ("SendGrid throttling", Phase.DOT, 452, "", "try later", "sendgrid", THROTTLED),
    ("other 454 at AUTH", Phase.AUTH, 454, "4.7.0", "Temporary authentication failure", "", PROVIDER),
    ("AUTH refused", Phase.AUTH, 535, "5.7.8", "bad credentials", "gmail", SUSPEND),
    ("AUTH refused", Phase.AUTH, 534, "5.7.9", "application password required", "gmail", SUSPEND),
    ("AUTH refused", Phase.MAIL, 530, "5.7.0", "Authentication required", "", SUSPEND),
    ("530 later", Phase.RCPT, 530, "5.7.0", "Authentication required", "", SUSPEND),
    ("basic AUTH disabled", Phase.MAIL, 550, "5.7.30", "Basic authentication is disabled", "office365", SUSPEND),
    ("5.3.4 too large", Phase.MAIL, 552, "5.3.4", "too large", "", TOO_LARGE),
    ("5.3.4 too large", Phase.DOT, 552, "5.3.4", "too large", "", TOO_LARGE),
    ("5.2.3 too large", Phase.DOT, 552, "5.2.3", "exceeded size limits", "gmail", TOO_LARGE),
    ("552 without a code", Phase.MAIL, 552, "", "message exceeds fixed maximum message size", "", TOO_LARGE),
    ("not permitted to send as", Phase.DOT, 550, "5.7.60", "not permitted to send as", "office365", ELSEWHERE),
    ("SendAsDenied", Phase.DOT, 554, "5.2.0", "STOREDRV; SendAsDenied; not allowed", "office365", ELSEWHERE),
    ("553 sender rejected", Phase.MAIL, 553, "5.7.1", "Sender address rejected: not owned", "", ELSEWHERE),
    ("553 sender rejected", Phase.DOT, 553, "", "from address not allowed", "", ELSEWHERE),
    ("SES not verified", Phase.DOT, 554, "", "Message rejected: Email address is not verified", "ses", ELSEWHERE),
    ("needs SMTPUTF8 or 8BITMIME", Phase.EHLO, 550, "5.6.7", "SMTPUTF8 is not offered", "", ELSEWHERE),
    ("needs SMTPUTF8 or 8BITMIME", Phase.MAIL, 550, "5.6.3", "8BITMIME is not offered", "", ELSEWHERE),
    ("554 5.7.1 policy", Phase.DOT, 554, "5.7.1", "spam", "", BOUNCE),
    ("other 4xx up to MAIL", Phase.AUTH, 451, "4.3.0", "temporary", "", PROVIDER),
    ("other 4xx up to MAIL", Phase.MAIL, 451, "4.3.0", "temporary", "", PROVIDER),
    ("other 4xx at RCPT", Phase.RCPT, 450, "4.2.1", "mailbox busy", "", RETRY_ONE),
    ("other 4xx at RCPT", Phase.RCPT, 451, "4.7.1", "Greylisted", "", RETRY_ONE),
    ("other 4xx at DATA or the dot", Phase.DATA, 451, "4.3.0", "later", "", RETRY),
    ("other 4xx at DATA or the dot", Phase.DOT, 451, "4.3.0", "later", "", RETRY),
    ("other 5xx up to AUTH", Phase.BANNER, 554, "5.7.1", "your address is blocked", "", SUSPEND),
    ("other 5xx up to AUTH", Phase.STARTTLS, 502, "5.5.1", "not implemented", "", SUSPEND),
    ("other 5xx up to AUTH", Phase.AUTH, 504, "5.5.4", "unrecognized authentication type", "", SUSPEND),
    ("other 5xx at MAIL", Phase.MAIL, 550, "5.7.1", "no", "", ELSEWHERE),
    ("other 5xx at RCPT", Phase.RCPT, 550, "5.1.1", "no such user", "", BOUNCE_ONE),
    ("other 5xx at DATA or the dot", Phase.DOT, 550, "5.6.0", "bad content", "", BOUNCE),
    ("nonsense after the dot", Phase.DOT, 354, "", "go on", "", UNCERTAIN),
    ("nonsense", Phase.MAIL, 354, "", "go on", "", PROVIDER),
]


@pytest.mark.parametrize(("row", "phase", "code", "enhanced", "text", "preset", "ruling"), CASES)
def test_row(row: str, phase: Phase, code: int, enhanced: str, text: str, preset: str, ruling: Ruling) -> None:
    reply = Reply(code=code, enhanced=enhanced, text=text)

    assert row_for(phase, reply, preset).name == row
    assert classify(phase, reply, preset) == ruling


def test_every_row_has_a_case() -> None:
    assert {row.name for row in TABLE} == {case[0] for case in CASES}


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("code", [*range(0, 700, 50), 421, 535, 999])
def test_there_is_a_ruling_for_everything(phase: Phase, code: int) -> None:
    assert classify(phase, Reply(code=code)).verdict is not Verdict.ACCEPTED


@pytest.mark.parametrize("phase", [Phase.CONNECT, Phase.TLS, Phase.BANNER, Phase.EHLO, Phase.STARTTLS, Phase.AUTH])
@pytest.mark.parametrize("code", [0, 421, 450, 454, 500, 521, 530, 534, 535, 550, 554])
def test_F5_nothing_before_the_message_is_the_messages_fault(phase: Phase, code: int) -> None:
    ruling = classify(phase, Reply(code=code))

    assert (ruling.verdict, ruling.fault) == (Verdict.DEFERRED, Fault.PROVIDER)


@pytest.mark.parametrize("text", ["535 5.7.139 Authentication unsuccessful, SMTP AUTH disabled", "bad password", ""])
def test_C7_535_suspends_and_never_bounces(text: str) -> None:
    for phase in (Phase.AUTH, Phase.MAIL):
        ruling = classify(phase, Reply(code=535, text=text), "office365")

        assert ruling.suspend
        assert ruling.verdict is Verdict.DEFERRED


def test_F2_only_a_reply_that_is_lost_after_the_dot_is_uncertain() -> None:
    uncertain = [phase for phase in Phase if classify(phase, lost("gone")).fault is Fault.UNCERTAIN]

    assert uncertain == [Phase.DOT]


def test_F7_a_name_that_does_not_resolve_defers() -> None:
    assert classify(Phase.CONNECT, lost("name does not resolve: NXDOMAIN")) == PROVIDER


def test_a_recipients_own_quota_is_not_ours() -> None:
    assert classify(Phase.RCPT, Reply(code=552, enhanced="5.2.2", text="daily quota exceeded")) == BOUNCE_ONE


def test_throttling_of_sendgrid_is_nobody_elses() -> None:
    assert classify(Phase.DOT, Reply(code=451, text="try later"), "mailgun") == RETRY


@pytest.mark.parametrize(
    ("code", "text", "seconds"),
    [
        (450, "Greylisted, please try again in 300 seconds", 300.0),
        (451, "come back in 5 minutes", 300.0),
        (451, "retry after 90 s", 90.0),
        (450, "try again in 999999 seconds", 3600.0),
        (450, "failed after 3 attempts", None),
        (450, "later", None),
        (550, "try again in 300 seconds", None),
    ],
)
def test_what_the_text_asks_for(code: int, text: str, seconds: float | None) -> None:
    assert asked_to_wait(Reply(code=code, text=text)) == seconds


def test_an_outcome_carries_all_of_the_ruling() -> None:
    who = Recipient(address="b@example.org")
    made = outcome(who, "primary", "gmail", Phase.DOT, Reply(code=552, enhanced="5.3.4", text="too large"))

    assert (made.recipient, made.provider, made.phase) == (who, "primary", Phase.DOT)
    assert (made.elsewhere, made.suspend, made.signal, made.fault) == (True, False, "size", Fault.MESSAGE)
