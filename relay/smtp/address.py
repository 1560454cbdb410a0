"""The paths of MAIL and RCPT (RFC 5321 4.1.2), judged as raw bytes.

The listener calls `parse_path` for every MAIL and RCPT; the API for its addresses. It never decodes, folds case,
normalises, unquotes or re-routes: what was judged is what goes on the wire, byte for byte.

Policy, where the RFC leaves a choice or the world differs from it:

- The local part is any mix of atext and dots. Leading, trailing and doubled dots exist in real mailboxes (docomo) and
  are the provider's to judge. Up to 256 octets, because VERP and SRS exceed 64.
- `<`, `>` do not occur in a path, not even quoted: the first `>` ends it for every parser there is.
- A domain is labels of letters, digits, hyphens, and underscores (container names have them); or an IP literal.
- No address without a domain, not even `<Postmaster>` (RFC 5321 4.1.1.3): behind a relay it would be the provider's.
- Source routes and encoded words are refused: they exist only to be read as another address by somebody else.
- Beyond ASCII (SMTPUTF8): nothing that NFKC turns into an ASCII special, no controls or spaces of any script; in a
  domain only what IDNA keeps as it is. `xn--` labels are plain ASCII here.
"""

from __future__ import annotations

import re
import unicodedata
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple

from relay.model import Reply

MAX_LOCAL: Final = 256
MAX_DOMAIN: Final = 255
MAX_LABEL: Final = 63


class Path(NamedTuple):
    """`address`: between the angle brackets, "" for `<>`. `rest`: the parameters, without spaces around them."""

    address: str
    rest: bytes


NEEDS_SMTPUTF8: Final = Reply(
    code=553,
    enhanced="5.6.7",
    text="The address is not ASCII: add SMTPUTF8 to MAIL, or use the xn-- form of its domain",
)
"""RFC 6531 3.5. For MAIL, where SMTPUTF8 comes after the path: parse with utf8=True, then compare."""

_LABEL = rb"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# `?` is left to the careful way, which looks for encoded words.
_COMMON = re.compile(
    rb" *<([A-Za-z0-9!#$%&'*+/=^_`{|}~.-]{1,256}@(?=[^>]{1,255}>)" + _LABEL + rb"(?:\." + _LABEL + rb")*)>"
    rb"(?: +([!-~][ -~]*)?)?"
)
_FRAME = re.compile(rb" *<([^<>]*)>(?: +(.*))?", re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")

_DOT_STRING = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\U0010ffff-]+")
_QUOTED = re.compile(r'("(?:[ !#-\[\]-~\x80-\U0010ffff]|\\[ -~])*")@(.*)')
_U_LABEL = re.compile(r"[A-Za-z0-9_\x80-\U0010ffff](?:[A-Za-z0-9_\x80-\U0010ffff-]{0,61}[A-Za-z0-9_\x80-\U0010ffff])?")

# Letters, marks and digits are what IDNA 2008 (RFC 5892) admits, plus its exceptions by context ...
_U_CATEGORIES = frozenset({"Ll", "Lu", "Lo", "Lm", "Mn", "Mc", "Nd"})
_U_EXCEPTIONS = frozenset("\u00b7\u0375\u05f3\u05f4\u30fb")
# ... less the marks and letters nobody sees: UTS 46 drops them, which makes another domain.
_IGNORABLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_JOINERS = frozenset("\u200c\u200d")


def parse_path(raw: bytes, *, utf8: bool, null: bool) -> Path | Reply:
    """Read `<address>` and what follows it: the argument of `MAIL FROM:` (`null`: it may be `<>`) or `RCPT TO:`.

    `utf8`: SMTPUTF8 is in force. A Reply is what to refuse with: 501 5.5.4 when this is no path, 553 when its address
    is not one we carry (5.1.7 for a sender, 5.1.3 for a recipient, 5.6.7 not ASCII).
    """
    found = _COMMON.fullmatch(raw)
    if found is None:
        return _carefully(raw, utf8, null)
    return Path(found[1].decode(), (found[2] or b"").rstrip(b" "))


def _carefully(raw: bytes, utf8: bool, null: bool) -> Path | Reply:
    """The uncommon: quoted, literal, not ASCII, null, or wrong."""
    found = _FRAME.fullmatch(raw)
    if found is None or _CONTROL.search(found[2] or b""):
        command = "MAIL FROM" if null else "RCPT TO"
        return Reply(code=501, enhanced="5.5.4", text=f"Syntax: {command}:<user@example.com>, then parameters")
    path, rest = found[1], (found[2] or b"").strip(b" ")
    if null and not path:
        return Path("", rest)
    if not utf8 and not path.isascii():
        return NEEDS_SMTPUTF8
    try:
        address = path.decode()
    except UnicodeDecodeError:
        return _refused(null, "The address is not valid UTF-8")
    problem = _problem(address, path)
    return _refused(null, problem) if problem else Path(address, rest)


def _refused(null: bool, problem: str) -> Reply:
    return Reply(code=553, enhanced="5.1.7" if null else "5.1.3", text=problem)


def _problem(address: str, path: bytes) -> str:
    """Why we do not carry this address, with the fix; "" when we do."""
    if not address:
        return "The address is empty; only MAIL may say <>"
    if _CONTROL.search(path):
        return "The address has control characters"
    if "=?" in address:
        return "The address has an encoded word (=?...?=); write the address itself"
    if address.startswith("@"):
        return "Source routes are not supported; write the mailbox alone, <user@example.com>"
    quoted = _QUOTED.fullmatch(address)
    local, at, domain = (quoted[1], "@", quoted[2]) if quoted else address.rpartition("@")
    if not at:
        return "The address has no domain; write <user@example.com>"
    return _local_problem(local, quoted is not None) or _domain_problem(domain)


def _local_problem(local: str, quoted: bool) -> str:
    if len(local.encode()) > MAX_LOCAL:
        return f"The part before @ is longer than {MAX_LOCAL} octets"
    if not quoted and not _DOT_STRING.fullmatch(local):
        return "The part before @ has characters that need quoting, is empty or has another @"
    if not local.isascii() and any(_disguised(char) for char in local if char > "\x7f"):
        return "The part before @ has a character that others read as an ASCII special, a space or a control"
    return ""


def _disguised(char: str) -> bool:
    """True for what becomes syntax when somebody normalises it (fullwidth @, U+2024), and for what nobody sees."""
    if unicodedata.category(char) in {"Cc", "Cf", "Zs", "Zl", "Zp"}:
        return char not in _JOINERS
    return any(c < "\x80" and not c.isalnum() for c in unicodedata.normalize("NFKC", char))


def _domain_problem(domain: str) -> str:
    if domain.startswith("["):
        return "" if _is_literal(domain) else "The address literal is not [1.2.3.4] or [IPv6:2001:db8::1]"
    if len(domain.encode()) > MAX_DOMAIN:
        return f"The domain is longer than {MAX_DOMAIN} octets"
    if not all(_U_LABEL.fullmatch(label) for label in domain.split(".")):
        return f"The domain is not labels of 1 to {MAX_LABEL} letters, digits and hyphens with dots between"
    if not domain.isascii() and not _is_stable(domain):
        return "The domain has a character that others read as another one; use its xn-- form"
    return ""


def _is_literal(domain: str) -> bool:
    if not domain.endswith("]"):
        return False
    inner = domain[1:-1]
    try:
        if inner[:5].lower() == "ipv6:":
            return "%" not in IPv6Address(inner[5:]).compressed
        IPv4Address(inner)
    except AddressValueError:
        return False
    return True


def _is_stable(domain: str) -> bool:
    """True if IDNA, 2003 or 2008, and NFKC leave the domain what it is, so nobody reads another one out of it."""
    if unicodedata.normalize("NFKC", domain) != domain or _IGNORABLE.search(domain):
        return False
    foreign = (char for char in domain if char > "\x7f")
    return all(unicodedata.category(char) in _U_CATEGORIES or char in _U_EXCEPTIONS for char in foreign)
