"""The world of the recipes: a relay as their index sets it up, an upstream that remembers, programs that end.

Used by the tests of the recipes. What is replaced in what the pages show is replaced here: ports, paths, the password.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import yaml
from certificates import Certificate
from clients import Finished
from ledger import Ledger, Taken
from recipe_pages import SECRET, commands, shown, words
from relay_process import Relay, provider
from waiting import needs_root, program, until

PASSWORD = "the password of app"
MAKE = Callable[..., Relay]
UPSTREAM = Callable[[], Ledger]


@dataclass(frozen=True)
class Mail:
    taken: Taken

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.taken.data, policy=policy.default)

    @property
    def recipients(self) -> list[str]:
        return sorted(self.taken.recipients)

    @property
    def text(self) -> str:
        body = self.message.get_body(("plain",))
        assert body is not None
        return str(body.get_content()).rstrip()


@dataclass(frozen=True)
class World:
    relay: Relay
    upstream: Ledger

    def adapted(self, text: str, paths: Mapping[str, object] | None = None) -> str:
        """What a page shows, with our port for the relay's, our password, and these files instead of those."""
        for theirs, ours in (paths or {}).items():
            assert theirs in text, theirs
            text = text.replace(theirs, str(ours))
        return re.sub(r"\bPASSWORD\b", PASSWORD, text.replace("2525", str(self.relay.smtp_port)))

    def mails(self, count: int) -> list[Mail]:
        """So many, and no more of them, in order."""
        taken = self.upstream.wait_for(count)
        assert len(taken) == count
        return [Mail(one) for one in taken]

    def mail(self) -> Mail:
        [one] = self.mails(1)
        return one

    def is_told(self, page: str) -> None:
        """The log has what the index says, and the page's own commands find every mail that came."""
        accepted = [str(line["message"]) for line in self.relay.events("message accepted")]
        delivered = "every accepted mail is logged as delivered"
        until(lambda: len(self.relay.events("delivered")) == len(accepted), 10, delivered)
        assert {line["message"] for line in self.relay.events("delivered")} == set(accepted)
        for line in commands(page, "relay queue list"):
            done = self.relay.cli(*words(line)[1:])
            assert done.returncode == 0, done.stderr
            found = {row.partition("\t")[0] for row in done.stdout.splitlines()}
            assert found == (set(accepted) if "--state accepted" in line else set()), line


def world(relay: MAKE, ledger: UPSTREAM, section: str = "", certificate: Certificate | None = None) -> World:
    """A relay as it comes, or as the index of the recipes has it in this section."""
    made = ledger()
    one = relay(providers=[provider("one", made.port)])
    here = World(one, made)
    if section:
        text = here.adapted(shown("README.md", "relay.yaml", section))
        for name in ("cert", "key") if certificate else ():
            text = text.replace(f"/etc/relay/{name}.pem", str(getattr(certificate, name)))
        one.config |= yaml.safe_load(text)
        one.environment["APP_PASSWORD"] = PASSWORD
    one.start()
    return here


def msmtprc(here: World, page: str, section: str, folder: Path) -> Path:
    """The page's /etc/msmtprc and, where it names them, aliases; with what it adds for a password."""
    text = shown(page, "/etc/msmtprc") + (shown(page, "/etc/msmtprc", SECRET) if section == SECRET else "")
    aliases = folder / "aliases"
    if "/etc/aliases" in text:
        aliases.write_text(shown("cron.md", "/etc/aliases"))
        text = text.replace("/etc/aliases", str(aliases))
    made = folder / "msmtprc"
    made.write_text(here.adapted(text))
    made.chmod(0o600)
    return made


def where_sendmail_is_msmtp(folder: Path, settings: Path, seen: Mapping[str, Path] | None = None) -> list[str]:
    """Put before a command: it sees msmtp as /usr/sbin/sendmail, as msmtp-mta has it, and `seen` in these places.

    Nobody else does: that package cannot be beside Postfix, and /etc is not ours.
    """
    needs_root("a mount namespace")
    copy, sendmail = folder / "msmtp", folder / "sendmail"
    shutil.copy(program("msmtp"), copy)
    sendmail.write_text(f'#!/bin/sh\nexec {copy} -C {settings} "$@"\n')
    sendmail.chmod(0o755)
    places = {program("sendmail"): sendmail, **(seen or {})}
    mounts = "; ".join(f"mount --bind {ours} {theirs}" for theirs, ours in places.items())
    return [program("unshare"), "--mount", "--propagation", "private", "sh", "-ec", f'{mounts}; exec "$@"', "sh"]


@contextlib.contextmanager
def running(
    command: Sequence[str], output: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs meanwhile, ended by its own pid."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, cwd=output.parent
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def done(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None, *, given: str = ""
) -> Finished:
    """A program that ended well."""
    finished = subprocess.run(
        command, cwd=folder, env=environment, input=given, capture_output=True, text=True, timeout=40
    )
    assert finished.returncode == 0, (finished.stdout, finished.stderr)
    return finished
