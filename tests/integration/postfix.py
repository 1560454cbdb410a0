"""A real Postfix as upstream: configuration, queue, data, mail and log in one folder, on ports of its own.

Built by the `postfix` fixture. It reads nothing of /etc/postfix and writes no syslog; `master` runs as our child.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from waiting import free_port, greets, listening, needs_root, program, until

REALM = "relay.test"

MAIN_CF = """\
compatibility_level = 3.6
config_directory = {base}/etc
meta_directory = {base}/etc
queue_directory = {base}/queue
data_directory = {base}/data
maillog_file = {base}/log/mail.log
maillog_file_prefixes = {base}
mail_owner = postfix
setgid_group = postdrop
myhostname = upstream.relay.test
mydestination =
mynetworks = {networks}
local_header_rewrite_clients =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
disable_dns_lookups = yes
smtpd_peername_lookup = no
alias_maps =
local_recipient_maps =
local_transport = error:no local mail here
default_transport = error:no way out of this test
virtual_mailbox_domains = regexp:{base}/etc/everything
virtual_mailbox_maps = static:all/
virtual_mailbox_base = {base}/mail
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
virtual_mailbox_limit = 0
mailbox_size_limit = 0
message_size_limit = 104857600
in_flow_delay = 0
smtpd_recipient_limit = 2000
smtpd_client_connection_count_limit = 0
smtpd_client_restrictions =
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject
smtpd_recipient_restrictions = check_recipient_access regexp:{base}/etc/recipients
smtpd_sasl_auth_enable = {auth}
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = {base}/etc/sasl
smtpd_sasl_local_domain = {realm}
smtpd_sasl_security_options = noanonymous
smtpd_tls_auth_only = yes
smtpd_tls_security_level = may
smtpd_tls_chain_files = {base}/etc/server.pem
smtpd_tls_loglevel = 1
"""

MASTER_CF = """\
127.0.0.1:{port}      inet  n - n - -    smtpd
127.0.0.1:{tls_port}  inet  n - n - -    smtpd -o smtpd_tls_wrappermode=yes
pickup    unix  n - n 60 1   pickup
cleanup   unix  n - n -  0   cleanup
qmgr      unix  n - n 300 1  qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n -  -   trivial-rewrite
bounce    unix  - - n -  0   bounce
defer     unix  - - n -  0   bounce
trace     unix  - - n -  0   bounce
verify    unix  - - n -  1   verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -  -   proxymap
showq     unix  n - n -  -   showq
error     unix  - - n -  -   error
retry     unix  - - n -  -   error
discard   unix  - - n -  -   discard
virtual   unix  - n n -  -   virtual
anvil     unix  - - n -  1   anvil
postlog   unix-dgram n - n - 1 postlogd
"""

RECIPIENTS = """\
/^no-such-user/   550 5.1.1 There is nobody of this name here
/^greylisted/     450 4.2.0 Greylisted, come back later
"""

SASL = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {base}/sasl/sasldb2
mech_list: PLAIN LOGIN CRAM-MD5
log_level: 3
"""

QUEUE_FOLDERS = ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "saved", "trace"]

ADDED = re.compile(rb"\A(?:(?:Return-Path|X-Original-To|Delivered-To):[^\n]*\n)+(Received: [^\n]*\n(?:[ \t][^\n]*\n)*)")


@dataclass(frozen=True)
class Delivered:
    """One delivery to one recipient. `content`: what the relay sent, with LF for CRLF as Postfix stores it."""

    recipient: str
    sender: str
    received: str
    content: bytes

    @property
    def transaction(self) -> str:
        """Postfix's queue id: equal for the recipients of one SMTP transaction."""
        found = re.search(r"E?SMTPS?A? id (\S+?)[;\s]", self.received)
        assert found, self.received
        return found[1]


class Postfix:
    """Postfix with STARTTLS on `port` and implicit TLS on `tls_port`; `auth`: clients must log in first."""

    def __init__(self, base: Path, certificate: bytes, *, auth: bool) -> None:
        self.base = base
        self.port, self.tls_port = free_port(), free_port()
        self.log = base / "log" / "mail.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._make_folders()
        self._configure(certificate, auth)

    def _make_folders(self) -> None:
        """What `postfix set-permissions` would make, by hand: that one wants Debian's lists in /etc/postfix."""
        owner, drop = pwd.getpwnam("postfix"), grp.getgrnam("postdrop").gr_gid
        self.base.chmod(0o755)
        for name in ("etc", "etc/sasl", "queue", "queue/pid", "log", "sasl", "mail"):
            (self.base / name).mkdir(mode=0o755)
        for name in (*(f"queue/{name}" for name in QUEUE_FOLDERS), "queue/private", "data"):
            (self.base / name).mkdir(mode=0o700)
            os.chown(self.base / name, owner.pw_uid, owner.pw_gid if name == "data" else 0)
        for name, mode in (("queue/public", 0o710), ("queue/maildrop", 0o730)):
            (self.base / name).mkdir()
            os.chown(self.base / name, owner.pw_uid, drop)
            (self.base / name).chmod(mode)
        os.chown(self.base / "mail", owner.pw_uid, owner.pw_gid)

    def _configure(self, certificate: bytes, auth: bool) -> None:
        owner = pwd.getpwnam("postfix")
        values = {
            "base": self.base,
            "uid": owner.pw_uid,
            "gid": owner.pw_gid,
            "realm": REALM,
            "auth": "yes" if auth else "no",
            "networks": "" if auth else "127.0.0.0/8",
        }
        files = {
            "etc/main.cf": MAIN_CF.format_map(values),
            "etc/master.cf": MASTER_CF.format(port=self.port, tls_port=self.tls_port),
            "etc/everything": "/./ yes\n",
            "etc/recipients": RECIPIENTS,
            "etc/sasl/smtpd.conf": SASL.format_map(values),
        }
        for name, text in files.items():
            (self.base / name).write_text(text)
        key = self.base / "etc/server.pem"
        key.write_bytes(certificate)
        key.chmod(0o600)

    def start(self) -> None:
        """Start `master` in the foreground, in a process group of its own, and wait until both ports answer."""
        self._process = subprocess.Popen(
            [program("master"), "-c", str(self.base / "etc"), "-d"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until(lambda: greets(self.port) and listening(self.tls_port), 10, f"Postfix listens; log: {self.log}")

    def stop(self) -> None:
        """SIGTERM to master, which ends its own children. Mail that waits stays in its queue."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.base, ignore_errors=True)

    def set_password(self, user: str, password: str) -> None:
        """Give `user@relay.test` this password, also while Postfix runs: every login reads the database anew."""
        database = self.base / "sasl/sasldb2"
        subprocess.run(
            [program("saslpasswd2"), "-p", "-c", "-u", REALM, "-f", str(database), user],
            input=password.encode(),
            check=True,
            capture_output=True,
        )
        owner = pwd.getpwnam("postfix")
        os.chown(database, owner.pw_uid, owner.pw_gid)

    def delivered(self, recipient: str = "") -> list[Delivered]:
        """What lies in the mailboxes now, in no special order; `recipient` "": everybody's."""
        found = []
        for path in (self.base / "mail/all/new").glob("*"):
            with contextlib.suppress(FileNotFoundError):
                found.append(_parse(path.read_bytes()))
        return [mail for mail in found if recipient in ("", mail.recipient)]

    def wait_for(self, recipient: str, count: int = 1, seconds: float = 15) -> list[Delivered]:
        """Wait until `recipient` has at least `count` messages, and give them."""

        def arrived() -> list[Delivered]:
            mails = self.delivered(recipient)
            return mails if len(mails) >= count else []

        return until(arrived, seconds, f"{count} message(s) at {recipient}")

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def _parse(raw: bytes) -> Delivered:
    """Take off what Postfix put in front: Return-Path, X-Original-To, Delivered-To and its own Received."""
    match = ADDED.match(raw)
    assert match, raw[:500]
    head = raw[: match.start(1)].decode()
    fields = {name: value.strip() for name, _, value in (line.partition(":") for line in head.splitlines())}
    return Delivered(
        recipient=fields["X-Original-To"],
        sender=fields["Return-Path"].strip("<>"),
        received=match[1].decode(),
        content=raw[match.end() :],
    )


@contextlib.contextmanager
def serving(certificate: bytes, *, auth: bool = False) -> Iterator[Postfix]:
    """A Postfix that runs; with `auth` it has a user app@relay.test with the password `right`."""
    needs_root("Postfix starts as root and drops to its own user")
    for name in ("master", "saslpasswd2"):
        program(name)
    # Not pytest's own folder: that one is 0700, and Postfix works as a user of its own.
    one = Postfix(Path(tempfile.mkdtemp(prefix="relay-postfix-")), certificate, auth=auth)
    try:
        if auth:
            one.set_password("app", "right")
        one.start()
        yield one
    finally:
        one.remove()
