"""A client that says everything at once and notes every byte and how the connection ends.

The tests of the scripted upstream use it. It pairs nothing and believes nothing.
"""

from __future__ import annotations

import asyncio
import socket

from relay.testing.upstream import ScriptedUpstream

LETTER = b"Subject: x\r\nX-Ledger: 1\r\n\r\n..hi\r\n"
SPEECH = (
    b"EHLO x\r\nAUTH PLAIN AGEAYg==\r\nMAIL FROM:<a@b> SIZE=33\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@d>\r\nDATA\r\n"
    + LETTER
    + b".\r\nRSET\r\nQUIT\r\n"
)
REPLIES = {
    "banner": b"220 scripted ESMTP\r\n",
    "ehlo": b"250-scripted\r\n250 AUTH PLAIN\r\n",
    "auth": b"235 2.7.0 welcome\r\n",
    "mail": b"250 2.1.0 ok\r\n",
    "rcpt": b"250 2.1.5 ok\r\n",
    "later-rcpt": b"250 2.1.5 ok\r\n",
    "data": b"354 go ahead\r\n",
    "dot": b"250 2.0.0 ok: queued\r\n",
    "rset": b"250 2.0.0 ok\r\n",
    "quit": b"221 2.0.0 bye\r\n",
}
"""What is usual, in order, of an upstream that offers AUTH PLAIN and nothing else."""
SILENT = 0.1  # seconds without a byte: nothing more will come
PATIENCE = 15.0  # seconds for what has to come


def before(phase: str) -> bytes:
    """The usual replies up to a phase."""
    names = list(REPLIES)
    return b"".join(REPLIES[name] for name in names[: names.index(phase)])


async def talk(
    upstream: ScriptedUpstream, speech: bytes = SPEECH, *, least: int | None = None, most: int = 2_000_000
) -> tuple[bytes, str]:
    """All it says, at most so many bytes, and how it ended: "fin", "rst" or "open".

    `least`: once so many bytes came a silence means "open". None: the end is waited for.
    """
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (upstream.host, upstream.port))
        heard = bytearray()
        try:
            await loop.sock_sendall(sock, speech)
            while len(heard) < most:
                patience = PATIENCE if least is None or len(heard) < least else SILENT
                some = await asyncio.wait_for(loop.sock_recv(sock, 1 << 16), patience)
                if not some:
                    return bytes(heard), "fin"
                heard += some
        except TimeoutError:
            return bytes(heard), "open"
        except ConnectionError:
            return bytes(heard), "rst"
        return bytes(heard), "open"
