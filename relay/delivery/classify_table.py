"""What a reply means, as data: rows keyed by phase, code, enhanced code, text and preset; the first match wins.

Read by classify only. Decides nothing by itself; every row has a test of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from relay.model import Fault, Phase, Verdict

ANY = frozenset(Phase)
UP_TO_AUTH = frozenset({Phase.CONNECT, Phase.TLS, Phase.BANNER, Phase.EHLO, Phase.STARTTLS, Phase.AUTH, Phase.IDLE})
AUTH = frozenset({Phase.AUTH})
MAIL = frozenset({Phase.MAIL})
RCPT = frozenset({Phase.RCPT})
CONTENT = frozenset({Phase.DATA, Phase.BODY, Phase.DOT})
DOT = frozenset({Phase.DOT})
IN_MAIL = MAIL | RCPT | CONTENT

NO_REPLY = range(1)
TEMPORARY = range(400, 500)
PERMANENT = range(500, 600)
FAILURE = range(400, 600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Whose fault it is and what to do: the fields of DeliveryOutcome that the table decides."""

    verdict: Verdict
    fault: Fault
    elsewhere: bool = False
    suspend: bool = False
    signal: str = ""
    retry_after: float | None = None


PROVIDER = Ruling(verdict=Verdict.DEFERRED, fault=Fault.PROVIDER)
SUSPEND = Ruling(verdict=Verdict.DEFERRED, fault=Fault.PROVIDER, suspend=True)
THROTTLED = Ruling(verdict=Verdict.DEFERRED, fault=Fault.QUOTA, signal="throttled")
DAY_GONE = Ruling(verdict=Verdict.DEFERRED, fault=Fault.QUOTA, signal="day")
MONTH_GONE = Ruling(verdict=Verdict.DEFERRED, fault=Fault.QUOTA, signal="month")
SPLIT = Ruling(verdict=Verdict.DEFERRED, fault=Fault.MESSAGE, signal="split")
TOO_LARGE = Ruling(verdict=Verdict.REJECTED, fault=Fault.MESSAGE, elsewhere=True, signal="size")
ELSEWHERE = Ruling(verdict=Verdict.REJECTED, fault=Fault.MESSAGE, elsewhere=True)
BOUNCE = Ruling(verdict=Verdict.REJECTED, fault=Fault.MESSAGE)
BOUNCE_ONE = Ruling(verdict=Verdict.REJECTED, fault=Fault.RECIPIENT)
RETRY = Ruling(verdict=Verdict.DEFERRED, fault=Fault.MESSAGE)
RETRY_ONE = Ruling(verdict=Verdict.DEFERRED, fault=Fault.RECIPIENT)
UNCERTAIN = Ruling(verdict=Verdict.DEFERRED, fault=Fault.UNCERTAIN)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `code` and `preset`: a number, several, or empty for any; patterns search, "" matches."""

    name: str
    ruling: Ruling
    phases: frozenset[Phase]
    codes: range | tuple[int, ...]
    enhanced: str = ""
    text: str = ""
    presets: tuple[str, ...] = ()


MICROSOFT = ("office365", "outlook")
THROTTLING = r"throttl|rate (limit )?exceeded|rate limit|maximum sending rate|too many (messages|requests|emails)"
DAILY = r"daily\b.{0,40}\b(quota|limit)"
MONTHLY = r"monthly\b.{0,40}\b(quota|limit)"
TOO_MANY = r"too many recipients"

TABLE: tuple[Row, ...] = (
    # No reply at all. After the final dot nobody knows; before it the upstream has nothing and must drop it all.
    Row("lost after the dot", UNCERTAIN, DOT, NO_REPLY),
    Row("no reply", PROVIDER, ANY, NO_REPLY),
    # RFC 5321 3.8: 421 closes the service, whatever it answers.
    Row("421 anywhere", PROVIDER, ANY, (421,)),
    # Quotas of ours, some of which look permanent.
    Row("432 concurrency", THROTTLED, ANY, (432,)),
    Row("454 too many logins", THROTTLED, AUTH, (454,), text=r"too many login"),
    Row("SendGrid credits", DAY_GONE, AUTH | MAIL | CONTENT, FAILURE, text="credits exceeded", presets=("sendgrid",)),
    Row("Gmail daily quota", DAY_GONE, IN_MAIL, PERMANENT, enhanced=r"^5\.4\.5$"),
    Row("Office 365 daily quota", DAY_GONE, IN_MAIL, PERMANENT, enhanced=r"^5\.1\.90$", presets=MICROSOFT),
    Row("daily quota", DAY_GONE, AUTH | MAIL | CONTENT, FAILURE, text=DAILY),
    Row("monthly quota", MONTH_GONE, AUTH | MAIL | CONTENT, FAILURE, text=MONTHLY),
    Row("4.5.3 too many recipients", SPLIT, RCPT, (452,), enhanced=r"^4\.5\.3$"),
    # RFC 5321 4.5.3.1.10: some answer 552 where 452 is meant.
    Row("too many recipients", SPLIT, RCPT, (451, 452, 552), text=TOO_MANY),
    Row("throttling", THROTTLED, ANY, (450, 451, 452, 454), text=THROTTLING),
    Row("SendGrid throttling", THROTTLED, MAIL | CONTENT, (451, 452), presets=("sendgrid",)),
    # Our account is refused. RFC 4954 6: 530 may answer any command of a client that has to authenticate.
    Row("other 454 at AUTH", PROVIDER, AUTH, (454,)),
    Row("AUTH refused", SUSPEND, AUTH | MAIL, (535, 534, 530)),
    Row("530 later", SUSPEND, RCPT | CONTENT, (530,)),
    Row("basic AUTH disabled", SUSPEND, ANY, PERMANENT, enhanced=r"^5\.7\.(30|139)$", presets=MICROSOFT),
    # The message, as this provider sees it.
    Row("5.3.4 too large", TOO_LARGE, IN_MAIL, PERMANENT, enhanced=r"^5\.3\.4$"),
    Row("5.2.3 too large", TOO_LARGE, MAIL | CONTENT, (552,), enhanced=r"^5\.2\.3$"),
    Row("552 without a code", TOO_LARGE, MAIL | CONTENT, (552,), enhanced=r"^$"),
    Row("not permitted to send as", ELSEWHERE, IN_MAIL, PERMANENT, enhanced=r"^5\.7\.60$"),
    Row("SendAsDenied", ELSEWHERE, IN_MAIL, PERMANENT, enhanced=r"^5\.2\.0$", text=r"sendasdenied"),
    Row("553 sender rejected", ELSEWHERE, MAIL | DOT, (553,)),
    Row("SES not verified", ELSEWHERE, MAIL | DOT, (554,), text=r"not verified", presets=("ses",)),
    Row("needs SMTPUTF8 or 8BITMIME", ELSEWHERE, UP_TO_AUTH | MAIL, PERMANENT, enhanced=r"^5\.6\.[37]$"),
    Row("554 5.7.1 policy", BOUNCE, DOT, (554,), enhanced=r"^5\.7\.1$"),
    # Everything else.
    Row("other 4xx up to MAIL", PROVIDER, UP_TO_AUTH | MAIL, TEMPORARY),
    Row("other 4xx at RCPT", RETRY_ONE, RCPT, TEMPORARY),
    Row("other 4xx at DATA or the dot", RETRY, CONTENT, TEMPORARY),
    Row("other 5xx up to AUTH", SUSPEND, UP_TO_AUTH, PERMANENT),
    Row("other 5xx at MAIL", ELSEWHERE, MAIL, PERMANENT),
    Row("other 5xx at RCPT", BOUNCE_ONE, RCPT, PERMANENT),
    Row("other 5xx at DATA or the dot", BOUNCE, CONTENT, PERMANENT),
    # Neither 4xx nor 5xx where one of them had to be: the conversation is out of step. After the dot nobody knows.
    Row("nonsense after the dot", UNCERTAIN, DOT, ()),
    Row("nonsense", PROVIDER, ANY, ()),
)

PATTERNS = {
    pattern: re.compile(pattern, re.IGNORECASE) for row in TABLE for pattern in (row.enhanced, row.text) if pattern
}
