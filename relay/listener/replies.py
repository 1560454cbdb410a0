"""Every fixed thing the listener says, written once as bytes.

`commands`, `receive`, `auth` and `session` return these; nothing here decides. A Refusal also carries what is
reported: one of a small, fixed set of words, because it becomes a metric label.
"""

from __future__ import annotations

from relay.model import Reply
from relay.smtp.reply import format_reply


class Refusal:
    """A reply that refuses something. `wire` is what is sent, `reason` the word that is counted.

    `closes`: we hang up after it. `junk`: counts against the client's budget.
    """

    __slots__ = ("closes", "junk", "reason", "reply", "wire")

    def __init__(self, reason: str, code: int, enhanced: str, text: str, *, junk: bool = True) -> None:
        self.reason = reason
        self.reply = Reply(code=code, enhanced=enhanced, text=text)
        self.wire = format_reply(self.reply)
        self.closes = code == 421
        self.junk = junk

    @classmethod
    def of(cls, reason: str, reply: Reply, *, junk: bool = False) -> Refusal:
        return cls(reason, reply.code, reply.enhanced, reply.text, junk=junk)

    def closing(self) -> Refusal:
        """The same, and we hang up."""
        self.closes = True
        return self


REASONS = frozenset(
    {
        "address", "auth", "client", "connections", "content", "error", "junk", "line", "loop", "parameter",
        "protocol", "recipients", "sequence", "shutdown", "size", "storage", "syntax", "timeout", "tls", "unknown",
    }
)  # fmt: skip

# Done.
OK = b"250 2.0.0 Ok\r\n"
SENDER_OK = b"250 2.1.0 Ok\r\n"
RECIPIENT_OK = b"250 2.1.5 Ok\r\n"
GO_AHEAD = b"354 End data with <CR><LF>.<CR><LF>\r\n"
BYE = b"221 2.0.0 Bye\r\n"
VRFY = b"252 2.5.0 Cannot verify, but will take mail and try\r\n"  # RFC 5321 3.5.3
HELP = b"214 2.0.0 HELO EHLO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT STARTTLS AUTH; RFC 5321\r\n"
TLS_READY = b"220 2.0.0 Ready to start TLS\r\n"
AUTHENTICATED = b"235 2.7.0 Authentication successful\r\n"
ASK = b"334 \r\n"
ASK_USER = b"334 VXNlcm5hbWU6\r\n"
ASK_PASSWORD = b"334 UGFzc3dvcmQ6\r\n"

# Connections.
NOT_ALLOWED = Refusal("client", 554, "5.7.1", "Your address is not in this listener's allow list").closing()
SERVICE_FULL = Refusal("connections", 421, "4.3.2", "Too many connections, try again later")
CLIENT_FULL = Refusal("connections", 421, "4.7.0", "Too many connections from your address, try again later")
SHUTDOWN = Refusal("shutdown", 421, "4.3.2", "Service shutting down, try again later")
TOO_QUIET = Refusal("timeout", 421, "4.4.2", "Timed out waiting for you")
TOO_SLOW = Refusal("timeout", 421, "4.4.2", "Data arrives too slowly")
TOO_MUCH_JUNK = Refusal("junk", 421, "4.7.0", "Too many commands without a message")
NOT_SMTP = Refusal("protocol", 554, "5.5.1", "This port speaks SMTP").closing()

# Lines.
BARE_LINE_END = Refusal("line", 500, "5.5.2", "Lines must end in CRLF")
NUL_IN_LINE = Refusal("line", 500, "5.5.2", "No NUL in commands")
LINE_TOO_LONG = Refusal("line", 500, "5.5.2", "Line too long")
UNKNOWN = Refusal("unknown", 500, "5.5.2", "Command not recognized")
NOT_IMPLEMENTED = Refusal("unknown", 502, "5.5.1", "Command not implemented")
NOT_FOR_YOU = Refusal("client", 554, "5.7.1", "Not permitted")
NO_ARGUMENT = Refusal("syntax", 501, "5.5.4", "This command takes no argument")
NEEDS_ARGUMENT = Refusal("syntax", 501, "5.5.4", "This command needs an argument")

# Order.
SAY_HELLO = Refusal("sequence", 503, "5.5.1", "Say EHLO or HELO first")
NESTED_MAIL = Refusal("sequence", 503, "5.5.1", "Sender already given, say RSET to start again")
NEED_MAIL = Refusal("sequence", 503, "5.5.1", "Need MAIL first")
NO_VALID_RCPT = Refusal("sequence", 554, "5.5.1", "No valid recipients")

# Envelope.
MAIL_SYNTAX = Refusal("syntax", 501, "5.5.4", "Syntax: MAIL FROM:<address>")
RCPT_SYNTAX = Refusal("syntax", 501, "5.5.4", "Syntax: RCPT TO:<address>")
PARAMETERS_NEED_EHLO = Refusal("parameter", 555, "5.5.4", "Parameters need EHLO")
TOO_MANY_RECIPIENTS = Refusal(
    "recipients", 452, "4.5.3", "Too many recipients, send the rest in another message", junk=False
)
TOO_BIG = Refusal("size", 552, "5.3.4", "Message exceeds the size limit of this listener", junk=False)

# Data.
BAD_LINE_ENDS = Refusal("content", 550, "5.5.2", "Message has bare CR or LF, lines must end in CRLF", junk=False)
LOOP = Refusal("loop", 554, "5.4.6", "Mail loop: too many Received headers", junk=False)
HEADER_TOO_LONG = Refusal(
    "content", 554, "5.6.0", "The header section is too long to be changed as the identity asks", junk=False
)
FULL = Refusal("storage", 452, "4.3.1", "Out of space, try again later", junk=False)
BROKEN_STORAGE = Refusal("storage", 451, "4.3.0", "Storage failed, try again later", junk=False)
INTERNAL = Refusal("error", 451, "4.3.0", "Internal error, try again later", junk=False)

# TLS and AUTH.
NO_TLS = Refusal("tls", 502, "5.5.1", "STARTTLS is not offered here")
TLS_ACTIVE = Refusal("tls", 503, "5.5.1", "TLS is already active")
TLS_IN_MAIL = Refusal("tls", 503, "5.5.1", "Not within a mail transaction")
NO_AUTH = Refusal("auth", 502, "5.5.1", "AUTH is not offered here")
AUTH_NEEDS_TLS = Refusal("auth", 503, "5.7.11", "AUTH is offered inside TLS only, say STARTTLS first")
TLS_HANDSHAKE = Refusal("tls", 421, "4.7.0", "TLS handshake failed")
AUTH_NEEDS_EHLO = Refusal("sequence", 503, "5.5.1", "Say EHLO first")
AUTH_DONE = Refusal("sequence", 503, "5.5.1", "Already authenticated")
AUTH_IN_MAIL = Refusal("sequence", 503, "5.5.1", "Not within a mail transaction")
AUTH_MECHANISM = Refusal("auth", 504, "5.5.4", "Unknown mechanism, use PLAIN or LOGIN")
AUTH_MALFORMED = Refusal("auth", 501, "5.5.2", "Cannot decode response")
AUTH_CANCELLED = Refusal("auth", 501, "5.7.0", "Authentication cancelled")
AUTH_TOO_LONG = Refusal("auth", 500, "5.5.6", "Authentication exchange line is too long")
AUTH_REQUIRED = Refusal("auth", 530, "5.7.0", "Authentication required")
AUTH_FAILED = Refusal("auth", 535, "5.7.8", "Authentication credentials invalid")
AUTH_NOT_SENDING = Refusal("auth", 535, "5.7.1", "This user may not send mail, it lacks the scope send")
AUTH_BUSY = Refusal("auth", 454, "4.7.0", "Too many logins, try again later")
AUTH_ENOUGH = Refusal("auth", 421, "4.7.0", "Too many failed logins")
