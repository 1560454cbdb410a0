"""Cuts what a client sends into command lines, and hands message data on as it comes.

`session` builds on it. Lines are bounded, end in CRLF and hold no CR, LF or NUL; what they say is not looked at here.
"""

from __future__ import annotations

import asyncio
import re
from abc import abstractmethod

from relay.listener.commands import HTTP_METHODS
from relay.listener.exchange import LONGEST_LINE
from relay.listener.replies import BARE_LINE_END, LINE_TOO_LONG, NOT_SMTP, NUL_IN_LINE, Refusal
from relay.listener.wire import AUTH, BUSY, CLOSED, COMMAND, DATA, Wire

# How TLS and HTTP begin. A browser chooses the length of its first line, and a ClientHello is full of random bytes:
# whatever else is wrong with such a line, what follows it is not for us (hazard A5).
FOREIGN = (b"\x16\x03", *(method + b" " for method in HTTP_METHODS))

_COMMAND_LINE = re.compile(rb"[^\r\n\0]{0,%d}\r\n" % LONGEST_LINE)


class Lines(Wire):
    """`too_long`: the line that is arriving has no end within the limit; it is dropped while it arrives.

    `settling`: it has a bare LF, and its sender may not know another line end; runs out when nothing more comes.
    """

    too_long = False
    settling: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        # What clients that wait for each reply send. `pump` would do just this with a good line in front of nothing:
        # a line that is too long or has a bare LF is `rest`, so `too_long` and `settling` are not set here.
        if self.mode is COMMAND and not self.rest and _COMMAND_LINE.fullmatch(data):
            self.quiet = 0.0
            self.obey(data[:-2])
            self._rested()
        else:
            super().data_received(data)

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
        if self.settling is not None:
            self._settled()
        return self.rest[start:end]

    def _spoilt(self, line: bytes) -> None:
        """Refuse a line as a line, whatever it says (hazard A4). It ends an AUTH exchange, too."""
        self.mode = COMMAND
        if not self.too_long and line.startswith(FOREIGN):
            self.refuse(NOT_SMTP)
        elif self.too_long or len(line) > LONGEST_LINE:
            self.too_long = False
            self.refuse(LINE_TOO_LONG)
        else:
            self.refuse(NUL_IN_LINE if b"\r" not in line and b"\n" not in line else BARE_LINE_END)

    def _unfinished(self) -> None:
        """No CRLF: more to come, or a client that does not know it (hazard L7), or TLS on the plain port."""
        tail = self.rest[self.at :]
        self.rest, self.at = tail, 0
        if not self.too_long and tail.startswith(FOREIGN):
            self.hang_up(NOT_SMTP)
        elif self.settling is not None or b"\n" in tail:
            self._settle()
        if len(self.rest) > LONGEST_LINE:
            self.too_long = True
            self.rest = self.rest[-1:]  # it may be the CR of the end

    def _settle(self) -> None:
        """A bare LF ends no line, or how a client's bytes are cut would decide what is a command (hazards A4, A7).

        So the rest of the line is waited for. If nothing comes, or nothing can, the client means what it said.
        """
        self._settled()
        if self.half_closed:
            self._refuse_unfinished()
        else:
            self.settling = self.loop.call_later(self.service.settings.patience.settle, self._tell)

    def _settled(self) -> None:
        if self.settling is not None:
            self.settling.cancel()
            self.settling = None

    def _tell(self) -> None:
        self.settling = None
        if self.mode is COMMAND or self.mode is AUTH:
            self._refuse_unfinished()
            self.pump()

    def _refuse_unfinished(self) -> None:
        self.rest = self.rest[self.rest.rfind(b"\n") + 1 :]
        self.too_long = False
        self.mode = COMMAND
        self.refuse(BARE_LINE_END)

    def eof_received(self) -> bool:
        self.half_closed = True
        if self.settling is not None:
            self._settled()
            self._tell()
        return super().eof_received()

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
