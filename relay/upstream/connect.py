"""From a provider's settings to a connection that is ready for MAIL: TCP, TLS, banner, EHLO, STARTTLS, AUTH.

Called by the pool and by probes. The only user of aiosmtplib, which is let go in the step in which AUTH returns.
Never says AUTH or MAIL in clear where TLS was asked for, never tries a password twice.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import Awaitable, Callable
from typing import cast

import aiosmtplib

from relay.config.listen import is_loopback_address
from relay.model import Phase, Provider, Tls
from relay.smtp.offer import Offer, read_offer
from relay.upstream.causes import Failure, failed, insecure, one_line, refused, silent, without_secret
from relay.upstream.dial import Resolver, dial, system
from relay.upstream.tls import context_for

_Login = Callable[[aiosmtplib.SMTP, str, str], Awaitable[aiosmtplib.SMTPResponse]]
_MECHANISMS: dict[str, _Login] = {
    "plain": aiosmtplib.SMTP.auth_plain,
    "login": aiosmtplib.SMTP.auth_login,
    "cram-md5": aiosmtplib.SMTP.auth_crammd5,
}
_TLS = "-- TLS"
_NO_EHLO = (500, 502, 504)  # RFC 5321 4.1.4: whoever does not know EHLO is greeted with HELO


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """A transport between commands. Its next owner must call `set_protocol` before anything is awaited (L16)."""

    transport: asyncio.Transport
    offer: Offer


async def connect(provider: Provider, hostname: str, resolver: Resolver = system) -> Connected | Failure:
    """`hostname`: what we call ourselves in EHLO. Takes at most the provider's timeouts, each phase its own."""
    sock = await dial(provider, resolver)
    if isinstance(sock, Failure):
        return sock.after((f"-- connect {provider.host} port {provider.port}",))
    introduction = _Introduction(provider, hostname, sock)
    try:
        outcome = await introduction.make()
    except BaseException:
        introduction.drop()
        raise
    if isinstance(outcome, Connected):
        return outcome
    introduction.drop()
    if provider.tls is Tls.OPPORTUNISTIC and outcome.phase in (Phase.STARTTLS, Phase.TLS):
        # RFC 7435: encryption is a bonus here; who cannot do it is served without, and gets no password.
        return await connect(dataclasses.replace(provider, tls=Tls.NONE), hostname, resolver)
    return outcome.after(without_secret(provider, note) for note in introduction.notes)


class _Client(aiosmtplib.SMTP):
    """Closes at once: its own way waits for the other side to end TLS, on a socket that `drop` closes beneath it."""

    def close(self) -> None:
        if self.transport is not None:
            cast(asyncio.Transport, self.transport).abort()
        super().close()


class _Introduction:
    """One connection on its way; each stage returns None or why it ends here. `notes`: what was said so far."""

    def __init__(self, provider: Provider, hostname: str, sock: socket.socket) -> None:
        self._provider = provider
        self._hostname = hostname
        self._sock = sock
        address = _peer(sock)
        self._loopback = is_loopback_address(address.partition("%")[0])
        self._secure = False
        self.notes = [f"-- connect {provider.host} {address} port {provider.port}"]
        self._client: _Client | None = None

    async def make(self) -> Connected | Failure:
        stages = {
            Phase.BANNER: self._greet,
            Phase.EHLO: self._hello,
            Phase.STARTTLS: self._encrypt,
            Phase.AUTH: self._authenticate,
        }
        for phase, stage in stages.items():
            failure = await stage() or self._overheard(phase)
            if failure:
                return failure
        return self._release()

    def drop(self) -> None:
        """Let go of everything, at any stage."""
        if self._client is not None:
            self._client.close()
        self._sock.close()

    async def _greet(self) -> Failure | None:
        """TLS if the port begins with it, then the banner."""
        provider = self._provider
        implicit = provider.tls is Tls.IMPLICIT
        try:
            context = None if provider.tls is Tls.NONE else await context_for(provider)
        except OSError as error:
            return failed(Phase.TLS, 454, "4.7.5", f"ca_file {provider.ca_file} is of no use: {error}")
        self._client = _Client(
            hostname=provider.host,
            sock=self._sock,
            local_hostname=self._hostname,
            use_tls=implicit,
            start_tls=False,
            tls_context=context,
            timeout=provider.timeouts.command,
        )
        try:
            banner = await self._client.connect(timeout=provider.timeouts.connect)
        except aiosmtplib.SMTPConnectResponseError as error:
            return refused(provider, Phase.BANNER, error.code, error.message)
        except aiosmtplib.SMTPResponseException as error:
            return refused(provider, Phase.BANNER, error.code, error.message)
        except (OSError, ValueError) as error:
            return self._ungreeted(error, implicit)
        self._secure = implicit
        self.notes += [*([_TLS] if implicit else []), _heard(banner)]
        return None

    def _ungreeted(self, error: OSError | ValueError, implicit: bool) -> Failure:
        """aiosmtplib tells a failed handshake from a missing banner by what caused its exception."""
        cause = error.__cause__ or error
        if implicit and not isinstance(cause, aiosmtplib.SMTPException):
            return insecure(self._provider, cause)
        return silent(self._provider, Phase.BANNER, error, encrypted=implicit)

    async def _hello(self) -> Failure | None:
        client = self._connected
        failure = await self._say(Phase.EHLO, client.ehlo(), f"C: EHLO {self._hostname}")
        if failure and failure.reply.code in _NO_EHLO and client.is_connected:
            return await self._say(Phase.EHLO, client.helo(), f"C: HELO {self._hostname}")
        return failure

    async def _encrypt(self) -> Failure | None:
        provider, client = self._provider, self._connected
        if provider.tls not in (Tls.STARTTLS, Tls.OPPORTUNISTIC):
            return None
        if not client.supports_extension("starttls"):
            if provider.tls is Tls.OPPORTUNISTIC:
                return None
            text = f"{provider.host} port {provider.port} does not offer STARTTLS: nothing is sent in clear"
            return failed(Phase.STARTTLS, 454, "4.7.4", text)
        failure = await self._starttls(client)
        if failure and provider.tls is Tls.OPPORTUNISTIC and failure.phase is Phase.STARTTLS and client.is_connected:
            return None
        if failure:
            return failure
        self._secure = True
        # RFC 3207 4.2: what was said before TLS is forgotten.
        self.notes.append(_TLS)
        return await self._say(Phase.EHLO, client.ehlo(), f"C: EHLO {self._hostname}")

    async def _starttls(self, client: aiosmtplib.SMTP) -> Failure | None:
        self.notes.append("C: STARTTLS")
        try:
            self.notes.append(_heard(await client.starttls(timeout=self._provider.timeouts.connect)))
        except aiosmtplib.SMTPResponseException as error:
            return refused(self._provider, Phase.STARTTLS, error.code, error.message)
        except (aiosmtplib.SMTPReadTimeoutError, aiosmtplib.SMTPServerDisconnected) as error:
            if error.__cause__ is None or isinstance(error, TimeoutError):
                return silent(self._provider, Phase.STARTTLS, error)
            return insecure(self._provider, error.__cause__)
        except (OSError, ValueError) as error:
            return insecure(self._provider, error)
        return None

    async def _authenticate(self) -> Failure | None:
        provider, client = self._provider, self._connected
        if not provider.username or provider.auth == "none":
            return None
        if not may_say_password(provider, secure=self._secure, loopback=self._loopback):
            text = f"{provider.host}: a password is not sent without TLS; set tls, or allow_plaintext_auth"
            return failed(Phase.AUTH, 454, "4.7.0", text)
        mechanism = choose_mechanism(provider.auth, client.server_auth_methods, secure=self._secure)
        if mechanism is None:
            offered = " ".join(client.server_auth_methods).upper() or "none"
            wanted = "a mechanism we know" if provider.auth == "auto" else provider.auth.upper()
            text = f"{provider.host} port {provider.port}: AUTH needs {wanted}, offered: {offered}"
            return failed(Phase.AUTH, 454, "4.7.0", text)
        login = _MECHANISMS[mechanism](client, provider.username, provider.password)
        return await self._say(Phase.AUTH, login, f"-- AUTH {mechanism.upper()}")

    async def _say(self, phase: Phase, command: Awaitable[aiosmtplib.SMTPResponse], line: str) -> Failure | None:
        """`line`: how it is noted; of AUTH never what was said."""
        self.notes.append(line)
        try:
            self.notes.append(_heard(await command))
        except aiosmtplib.SMTPResponseException as error:
            return refused(self._provider, phase, error.code, error.message)
        except (OSError, aiosmtplib.SMTPException) as error:
            return silent(self._provider, phase, error)
        return None

    def _overheard(self, phase: Phase) -> Failure | None:
        """Bytes behind a reply were not asked for; aiosmtplib would pair them with the next command (L13, L16)."""
        protocol = self._connected.protocol
        if protocol is None or not protocol.is_connected:
            return silent(self._provider, phase, ConnectionError())
        if protocol._buffer:
            return failed(phase, 421, "4.5.0", f"{self._provider.host} sent more than one reply ({phase.upper()})")
        return None

    def _release(self) -> Connected:
        client = self._connected
        transport = cast(asyncio.Transport, client.transport)
        client.protocol = client.transport = None
        return Connected(transport=transport, offer=read_offer(client.esmtp_extensions))

    @property
    def _connected(self) -> aiosmtplib.SMTP:
        if self._client is None:
            raise RuntimeError("no stage before the greeting may speak")
        return self._client


def _peer(sock: socket.socket) -> str:
    """The address that was connected to; "" when it is gone already, which the greeting will find out."""
    try:
        return str(sock.getpeername()[0])
    except OSError:
        return ""


def _heard(response: aiosmtplib.SMTPResponse) -> str:
    return f"S: {response.code} {one_line(response.message)}"


def may_say_password(provider: Provider, *, secure: bool, loopback: bool) -> bool:
    """`loopback`: of the address that was connected to, whatever name led there."""
    return secure or loopback or provider.allow_plaintext_auth


def choose_mechanism(wanted: str, offered: list[str], *, secure: bool) -> str | None:
    """One mechanism, tried once: a second try with the same password is a step towards a lock-out (L13)."""
    order = ("plain", "login", "cram-md5") if secure else ("cram-md5", "plain", "login")
    choices = order if wanted == "auto" else (wanted,)
    return next((name for name in choices if name in offered and name in _MECHANISMS), None)
