"""The parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (6152), SMTPUTF8 (6531), AUTH (4954), DSN (3461, 6533).

The listener calls it with `Path.rest`. It never changes ENVID or ORCPT, which go upstream as they were sent.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from relay.model import Reply


class MailParameters(NamedTuple):
    """`size`: declared octets, 0: not declared. `eight_bit`: BODY=8BITMIME. `ret`: "", "FULL" or "HDRS"."""

    size: int = 0
    eight_bit: bool = False
    utf8: bool = False
    ret: str = ""
    envid: str = ""


class RcptParameters(NamedTuple):
    """`notify`: "" or what NOTIFY said, in capitals. `orcpt`: as sent."""

    notify: str = ""
    orcpt: str = ""


_NO_MAIL: Final = MailParameters()
_NO_RCPT: Final = RcptParameters()

_WORD = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:(=)([!-<>-~\x80-\U0010ffff]*))?")
# RFC 3461 section 4: xtext; what it stands for must be printable, or `+0D+0A` would write headers into our reports.
_XTEXT = r"(?:[!-*,-<>-~]|\+[2-6][0-9A-F]|\+7[0-9A-E])+"
# RFC 6533 section 3: utf-8-addr-xtext and -unitext, less the control characters.
_UNITEXT = r"(?:[!-*,-<>-\[\]-~\xa0-\U0010ffff]|\\x\{(?!0*[0189]?[0-9A-F]\}|0*7F\}|0*D[89A-F]..\})0?[0-9A-F]{2,5}\})+"
_EVENT = "(?:SUCCESS|FAILURE|DELAY)"

# What a value must look like. None: the keyword stands alone.
_MAIL: Final[dict[str, re.Pattern[str] | None]] = {
    "SIZE": re.compile(r"[0-9]{1,20}"),
    "BODY": re.compile(r"7BIT|8BITMIME", re.IGNORECASE),
    "SMTPUTF8": None,
    "RET": re.compile(r"FULL|HDRS", re.IGNORECASE),
    "ENVID": re.compile(rf"(?=.{{1,100}}\Z){_XTEXT}"),
    "AUTH": re.compile(r".+"),
}
_RCPT: Final[dict[str, re.Pattern[str] | None]] = {
    "NOTIFY": re.compile(rf"NEVER|{_EVENT}(?:,{_EVENT}){{0,2}}", re.IGNORECASE),
    "ORCPT": re.compile(
        rf"(?=.{{1,500}}\Z)(?:utf-8;(?-i:{_UNITEXT})|(?!utf-8;)[a-z0-9-]+;(?-i:{_XTEXT}))", re.IGNORECASE
    ),
}


def parse_mail_parameters(rest: bytes) -> MailParameters | Reply:
    """501 5.5.4: malformed, empty, twice; 555 5.5.4: not one we offer. AUTH= is accepted and means nothing to us."""
    if not rest:
        return _NO_MAIL
    values = _read(rest, _MAIL)
    if isinstance(values, Reply):
        return values
    return MailParameters(
        size=int(values.get("SIZE", "0")),
        eight_bit=values.get("BODY", "").upper() == "8BITMIME",
        utf8="SMTPUTF8" in values,
        ret=values.get("RET", "").upper(),
        envid=values.get("ENVID", ""),
    )


def parse_rcpt_parameters(rest: bytes, *, utf8: bool = False) -> RcptParameters | Reply:
    """As `parse_mail_parameters`. `utf8`: SMTPUTF8 is in force, ORCPT need not be ASCII."""
    if not rest:
        return _NO_RCPT
    if not utf8 and not rest.isascii():
        return _malformed("a parameter is not ASCII")
    values = _read(rest, _RCPT)
    if isinstance(values, Reply):
        return values
    return RcptParameters(notify=values.get("NOTIFY", "").upper(), orcpt=values.get("ORCPT", ""))


def _read(rest: bytes, known: dict[str, re.Pattern[str] | None]) -> dict[str, str] | Reply:
    values: dict[str, str] = {}
    try:
        words = rest.decode().split(" ")
    except UnicodeDecodeError:
        return _malformed("a parameter is not UTF-8")
    for word in words:
        if not word:
            continue
        found = _WORD.fullmatch(word)
        if found is None:
            return _malformed("parameters are KEYWORD or KEYWORD=value")
        keyword, value = found[1].upper(), found[3] or ""
        if keyword not in known:
            return Reply(code=555, enhanced="5.5.4", text="A parameter is not recognised or not offered")
        if keyword in values:
            return _malformed(f"{keyword} is given twice")
        shape = known[keyword]
        if found[2] if shape is None else not shape.fullmatch(value):
            return _malformed(f"bad value of {keyword}")
        values[keyword] = value
    return values


def _malformed(what: str) -> Reply:
    return Reply(code=501, enhanced="5.5.4", text=f"Syntax: {what}")
