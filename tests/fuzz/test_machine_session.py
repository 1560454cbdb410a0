"""State machine: a session's dialog against a model of it, commands alone or pipelined, cut anywhere.

The model knows what has been said and what must be answered (RFC 5321 4.3.2); it shares no code with the listener.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode

from fuzz.reading import pieces
from fuzz.sessions import PASSWORD, USER, OneClient
from fuzz.walking import walk
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from relay.testing.fakes import FakeIntake

MOST = 3
SIZE = 200
LOOP = asyncio.new_event_loop()
LINE = b"0123456789" * 5 + b"\r\n"
CONTENTS = {
    b"": b"",
    b"Subject: x\r\n\r\nhello\r\n": b"Subject: x\r\n\r\nhello\r\n",
    b"..\r\n..x\r\n": b"..\r\n..x\r\n",
    b".x\r\n": b"x\r\n",
    b"a\nb\rc\r\n": b"a\r\nb\r\nc\r\n",
    b"x\n.\nMAIL FROM:<e@f>\r\n": b"x\r\n..\r\nMAIL FROM:<e@f>\r\n",
    b"RSET\r\nQUIT\r\n": b"RSET\r\nQUIT\r\n",
}
"""What is sent between 354 and the final dot, and the wire form it must be stored in."""


class Dialog(RuleBasedStateMachine):
    """`expected`: codes of all replies. `pending`: bytes that were not sent yet, so that they go in one piece."""

    @initialize(auth=st.sampled_from(["none", "optional", "required"]))
    def connect(self, auth: str) -> None:
        self.intake = FakeIntake()
        self.client = OneClient(LOOP, self.intake, auth=auth, max_recipients=MOST, max_message_size=SIZE)
        self.auth = auth
        self.pending, self.expected = b"", [220]
        self.helo = self.extended = self.known = self.closed = False
        self.mail: str | None = None
        self.recipients: list[str] = []
        self.stored: list[tuple[str, tuple[str, ...], bytes]] = []
        self.junk = 0

    def teardown(self) -> None:
        if not hasattr(self, "client"):
            return
        self.flush(0)
        LOOP.run_until_complete(self.client.hang_up())
        assert not self.client.tasks and not self.client.present and self.client.room.taken == 0

    def say(self, line: bytes, code: int) -> None:
        """What the model says comes back to a line; after the end nothing does."""
        self.pending += line
        if not self.closed:
            self.expected.append(code)
            self.junk += code >= 500

    @property
    def locked(self) -> bool:
        return self.auth == "required" and not self.known

    @precondition(lambda self: self.junk < 15)  # beyond that a client is slowed and then sent away, which others test
    @rule(extended=st.booleans(), name=st.sampled_from([b"c.example", b"[127.0.0.1]", b""]))
    def hello(self, extended: bool, name: bytes) -> None:
        self.say((b"EHLO " if extended else b"helo ") + name + b"\r\n", 250 if name else 501)
        if name:
            self.helo, self.extended, self.mail = True, extended, None

    @precondition(lambda self: self.junk < 15)
    @rule(
        sender=st.sampled_from(["a@b.example", "", "no-domain"]), parameter=st.sampled_from(["", "BODY=8BITMIME", "X"])
    )
    def mail_from(self, sender: str, parameter: str) -> None:
        line = f"MAIL FROM:<{sender}> {parameter}".rstrip().encode() + b"\r\n"
        if not self.helo or self.locked or self.mail is not None:
            self.say(line, 530 if self.helo and self.locked else 503)
        elif sender == "no-domain":
            self.say(line, 553)
        elif parameter == "X" or (parameter and not self.extended):
            self.say(line, 555)
        else:
            self.say(line, 250)
            self.mail, self.recipients = sender, []

    @precondition(lambda self: self.junk < 15)
    @rule(recipient=st.sampled_from(["c@d.example", "d@d.example", "e@d.example", "f@d.example", "", "x@y@z"]))
    def rcpt_to(self, recipient: str) -> None:
        line = f"rcpt to:<{recipient}>\r\n".encode()
        if self.mail is None:
            self.say(line, 530 if self.helo and self.locked else 503)
        elif recipient in ("", "x@y@z"):
            self.say(line, 553)
        elif recipient in self.recipients:
            self.say(line, 250)
        elif len(self.recipients) == MOST:
            self.say(line, 452)
        else:
            self.say(line, 250)
            self.recipients.append(recipient)

    @precondition(lambda self: self.junk < 15)
    @rule(content=st.sampled_from([*CONTENTS, LINE * 10]), cut=st.integers(0, 5))
    def data(self, content: bytes, cut: int) -> None:
        if self.mail is None:
            self.say(b"DATA\r\n", 530 if self.helo and self.locked else 503)
        elif not self.recipients:
            self.say(b"DATA\r\n", 554)
        else:
            self.message(content, cut)

    def message(self, content: bytes, cut: int) -> None:
        self.say(b"DATA\r\n", 354)
        if cut:  # a client that does not wait for 354 is served, too
            self.flush(cut)
        self.say(content + b".\r\n", 250 if content in CONTENTS else 552)
        if content in CONTENTS and not self.closed:
            assert self.mail is not None
            self.stored.append((self.mail, tuple(self.recipients), CONTENTS[content]))
            self.junk = 0
        self.mail = None

    @precondition(lambda self: self.junk < 15)
    @rule(what=st.sampled_from(["RSET", "NOOP", "HELP", "VRFY x", "EXPN x", "WHAT", "RSET x", "STARTTLS"]))
    def others(self, what: str) -> None:
        codes = {"RSET": 250, "NOOP": 250, "HELP": 214, "VRFY x": 252, "EXPN x": 502, "RSET x": 501, "STARTTLS": 502}
        code = 530 if what == "VRFY x" and self.locked else codes.get(what, 500)
        self.say(what.encode() + b"\r\n", code)
        if what == "RSET":
            self.mail = None

    @precondition(lambda self: self.junk < 15)
    @rule(right=st.booleans(), at_once=st.booleans())
    def log_in(self, right: bool, at_once: bool) -> None:
        secret = b64encode(f"\0{USER}\0{PASSWORD if right else 'x'}".encode())
        possible = self.auth != "none" and self.helo and self.extended and not self.known and self.mail is None
        if not possible or not right:  # how a wrong one is answered depends on how many there were: see the unit tests
            if not possible:
                self.say(b"AUTH PLAIN " + secret + b"\r\n", 502 if self.auth == "none" else 503)
            return
        if at_once:
            self.say(b"AUTH PLAIN " + secret + b"\r\n", 235)
        else:
            self.say(b"auth plain\r\n", 334)
            self.say(secret + b"\r\n", 235)
        self.known = True

    @precondition(lambda self: self.junk < 15)
    @rule(line=st.sampled_from([b"NO\0OP\r\n", b"NO\rOP\r\n", b"NO\nOP\r\n"]))
    def spoilt(self, line: bytes) -> None:
        """One reply, if it comes in one piece: a bare LF is refused as soon as it is seen (hazards A4, L7)."""
        self.flush(0)
        self.say(line, 500)
        self.flush(0)

    @rule()
    def quit(self) -> None:
        self.say(b"QUIT\r\n", 221)
        self.closed = True

    @rule(cut=st.integers(0, 5))
    def flush(self, cut: int) -> None:
        """Everything that was said so far goes out, in some pieces."""
        chunks, self.pending = pieces(self.pending, cut), b""
        LOOP.run_until_complete(self.send(chunks))
        assert self.codes() == self.expected
        kept = [
            (s.message.envelope.sender, tuple(r.address for r in s.message.envelope.recipients), s.body.data)
            for s in self.intake.submissions
        ]
        assert kept == self.stored

    async def send(self, chunks: list[bytes]) -> None:
        for chunk in chunks:
            if chunk:
                await self.client.send(chunk)
        await self.client.settle()

    def codes(self) -> list[int]:
        lines = bytes(self.client.transport.written).split(b"\r\n")
        return [int(line[:3]) for line in lines if line and line[3:4] != b"-"]

    @invariant()
    def it_ends_only_when_told(self) -> None:
        if hasattr(self, "client") and not self.pending:
            assert self.client.open != self.closed


def test_a_session_says_what_the_model_says() -> None:
    walk(Dialog, walks=200, steps=40)
