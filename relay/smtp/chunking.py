"""BDAT (RFC 3030) instead of DATA: how it is said, and how its replies are told from those to other commands.

The dialogue asks it. Never decides what is sent; adr/0012 has the reasons.

DATA has its 354, which is no other command's reply: it shows that both sides are in step (hazard F6). All that BDAT
brings is 2xx, and one reply too many would shift acceptance to a message that was not accepted. So BDAT is used only
where replies tell what they answer: MAIL and RCPT get 2.1.x, which is about addresses (RFC 3463 3.2), the content
something else.
"""

from __future__ import annotations

import enum
from typing import Final

from relay.model import Reply

MOST: Final = 4
"""Messages in flight on one connection, each a possible duplicate when it breaks."""
RSET: Final = b"RSET\r\n"
_ADDRESS: Final = "1."
_UNKNOWN: Final = (500, 501, 502, 503, 504, 555)


class Chunks(enum.IntEnum):
    """What is known of BDAT on a connection.

    STRANGE: no message went through that showed how it answers. ASK: the next one's first line goes alone, so that what
    does not know BDAT cannot take content for commands. OPEN: it took that.
    """

    NEVER = 0
    STRANGE = 1
    ASK = 2
    OPEN = 3


def bdat(content: bytes) -> tuple[bytes, bytes, bytes]:
    """The (rest of the) content, and RSET: the state after a failed BDAT is void (RFC 3030 3)."""
    return b"BDAT %d LAST\r\n" % len(content), content, RSET


def first_line(content: bytes) -> int:
    """Its length, 0 if there is none."""
    return content.find(b"\n") + 1


def of_address(reply: Reply) -> bool:
    """It answers MAIL or RCPT."""
    return reply.enhanced.startswith(_ADDRESS, 2)


def of_content(reply: Reply) -> bool:
    """It answers BDAT, or the dot."""
    return bool(reply.enhanced) and not reply.enhanced.startswith(_ADDRESS, 2)


def unknown(reply: Reply) -> bool:
    """Whoever says so to BDAT with recipients does not do it, whatever EHLO said."""
    return reply.code in _UNKNOWN
