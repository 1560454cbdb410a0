"""What a strict reader of RFC 5321 makes of the bytes of one client, after its EHLO: the replies, and the messages.

The oracle of the inbound tests, written from the RFC and nothing of the relay: whole input, one loop, no state kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

END = b"\r\n.\r\n"
LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass
class Reading:
    """`codes`: of the replies. `mails`: (sender, recipients, content) of what must be accepted."""

    codes: list[bytes] = field(default_factory=list)
    mails: list[tuple[bytes, tuple[bytes, ...], bytes]] = field(default_factory=list)


def read(stream: bytes, limit: int = 1 << 40, bare: str = "normalize") -> Reading:
    """`limit`: octets of content; `bare`: what the listener does with a CR or LF alone in a message."""
    made = Reading()
    sender: bytes | None = None
    recipients: list[bytes] = []
    while stream:
        line, _, stream = stream.partition(b"\r\n")
        verb = line[:4].upper()
        if LINE_END.search(line) or b"\0" in line:
            made.codes.append(b"500")
        elif verb == b"MAIL":
            made.codes.append(b"250" if sender is None else b"503")
            sender = line[line.index(b"<") + 1 : line.index(b">")] if sender is None else sender
        elif verb == b"RCPT":
            made.codes.append(b"503" if sender is None else b"250")
            recipients += [line[line.index(b"<") + 1 : line.index(b">")]] if sender is not None else []
        elif verb == b"DATA" and sender is not None and recipients:
            raw, _, stream = (b"\r\n" + stream).partition(END)
            answer = judge(raw, limit, bare)
            made.codes += [b"354", answer]
            if answer == b"250":
                made.mails.append((sender, tuple(recipients), content(raw)))
            sender, recipients = None, []
        else:
            made.codes.append(b"503" if verb == b"DATA" else b"250" if verb in (b"NOOP", b"RSET") else b"500")
    return made


def judge(raw: bytes, limit: int, bare: str) -> bytes:
    if len(content(raw)) > limit:
        return b"552"
    return b"550" if bare == "reject" and re.search(rb"\r(?!\n)|(?<!\r)\n", raw) else b"250"


def content(raw: bytes) -> bytes:
    """`raw`: from the CRLF of DATA to before the CRLF of the end. One dot goes where a line begins with it."""
    if not raw:
        return b""
    return LINE_END.sub(b"\r\n", raw.replace(b"\r\n.", b"\r\n") + b"\r\n")[2:]


def stuffed(text: bytes) -> bytes:
    """A content as it must go on the wire."""
    return (b"\r\n" + text).replace(b"\r\n.", b"\r\n..")[2:]
