"""Cuts what a client sends into command lines, and hands message data on as it comes.

`session` builds on it. Lines are bounded, end in CRLF and hold no CR, LF or NUL; what they say is not looked at here.
"""

from __future__ import annotations

from abc import abstractmethod

from relay.listener.exchange import LONGEST_LINE
from relay.listener.replies import BARE_LINE_END, LINE_TOO_LONG, NOT_SMTP, NUL_IN_LINE, Refusal
from relay.listener.wire import BUSY, CLOSED, COMMAND, DATA, Wire

CLIENT_HELLO = b"\x16\x03"


class Lines(Wire):
    """`too_long`: the line that is arriving has no end within the limit; it is dropped while it arrives."""

    too_long = False

    def pump(self) -> None:
        while self.at < len(self.rest):
            mode = self.mode
            if mode is DATA:
                self.take()
            elif mode is BUSY or mode is CLOSED or self.stopping:
                break
            else:
                line = self._line()
                if line is None:
                    break
                if self.too_long or len(line) > LONGEST_LINE or b"\r" in line or b"\n" in line or b"\0" in line:
                    self._spoilt(line)
                elif mode is COMMAND:
                    self.obey(line)
                else:
                    self.respond(line)
        self._rested()

    def _rested(self) -> None:
        """Nothing more can be done now: send the replies, keep what is left."""
        if self.mode is CLOSED:
            return
        if self.at:
            self.rest = self.rest[self.at :]
            self.at = 0
        if self.out:
            self.flush()
        if self.stopping:
            self.wind_up()
        elif self.half_closed and self.mode is not BUSY:
            self.transport.close()

    def _line(self) -> bytes | None:
        """The next line without its end. None: there is none, or it was refused as a line."""
        start = self.at
        end = self.rest.find(b"\r\n", start)
        if end < 0:
            self._unfinished()
            return None
        self.at = end + 2
        self.quiet = 0.0
        return self.rest[start:end]

    def _spoilt(self, line: bytes) -> None:
        """Refuse a line as a line, whatever it says (hazard A4). It ends an AUTH exchange, too."""
        self.mode = COMMAND
        if self.too_long or len(line) > LONGEST_LINE:
            self.too_long = False
            self.refuse(LINE_TOO_LONG)
        elif b"\r" in line or b"\n" in line:
            self.refuse(BARE_LINE_END)
        else:
            self.refuse(NOT_SMTP if line.startswith(CLIENT_HELLO) else NUL_IN_LINE)

    def _unfinished(self) -> None:
        """No CRLF: more to come, or a client that does not know it (hazard L7), or TLS on the plain port."""
        tail = self.rest[self.at :]
        self.rest, self.at = tail, 0
        if tail.startswith(CLIENT_HELLO):
            self.hang_up(NOT_SMTP)
        elif b"\n" in tail:
            self.rest = tail[tail.rindex(b"\n") + 1 :]
            self.too_long = False
            self.mode = COMMAND
            self.refuse(BARE_LINE_END)
        elif len(tail) > LONGEST_LINE:
            self.too_long = True
            self.rest = tail[-1:]  # it may be the CR of the end

    @abstractmethod
    def obey(self, line: bytes) -> None:
        """A command."""

    @abstractmethod
    def respond(self, line: bytes) -> None:
        """A line of an AUTH exchange."""

    @abstractmethod
    def take(self) -> None:
        """Message data: all of `rest` from `at` on."""

    @abstractmethod
    def refuse(self, refusal: Refusal) -> None:
        """Say no."""
