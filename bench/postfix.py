"""A Postfix of our own to measure against: everything in one folder, on a port of its own, tuned as its papers advise.

It reads nothing of /etc/postfix. Each departure from Postfix's defaults stands in SETTINGS with its reason; what one
row needs besides is said there.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from bench.process import Child
from bench.waiting import free_port, greeted, program

# setting: (value, why)
SETTINGS = {
    # Room of its own.
    "compatibility_level": ("3.6", "the defaults of the version, none of an older one"),
    "config_directory": ("{base}/etc", "nothing of /etc/postfix is read"),
    "meta_directory": ("{base}/etc", "neither what Debian says there"),
    "queue_directory": ("{base}/queue", "on the same file system as the relay's spool"),
    "data_directory": ("{base}/data", "beside it"),
    "maillog_file": ("{base}/log/mail.log", "it logs to a file, as the relay does here, by its own postlogd"),
    "maillog_file_prefixes": ("{base}", "it wants to be told that it may"),
    "mail_owner": ("postfix", "the user of Debian's package"),
    "setgid_group": ("postdrop", "its group"),
    "inet_interfaces": ("127.0.0.1", "loopback only"),
    "inet_protocols": ("ipv4", "one address a name"),
    "myhostname": ("postfix.bench.test", "no look-up of its own name"),
    # The same work: accept from loopback, hand everything to one provider.
    "mydestination": ("", "it delivers nothing locally"),
    "mynetworks": ("127.0.0.0/8", "the clients"),
    "relayhost": ("[127.0.0.1]:{upstream}", "the provider"),
    "alias_maps": ("", "no table is read"),
    "local_recipient_maps": ("", "no table is read"),
    "smtpd_relay_restrictions": ("permit_mynetworks, reject", "one check, no look-up"),
    "smtpd_recipient_restrictions": ("", "nor a second"),
    "message_size_limit": ("104857600", "10 MB messages are a row"),
    # No look-ups, as the relay makes none.
    "disable_dns_lookups": ("yes", "the upstream is an address"),
    "smtpd_peername_lookup": ("no", "nor are clients looked up"),
    # Its TUNING_README: no limits for trusted clients, no artificial delays, enough processes, kept connections.
    "smtpd_client_connection_count_limit": ("0", "all load comes from one address; anvil is not asked then"),
    "smtpd_client_connection_rate_limit": ("0", "as above"),
    "smtpd_error_sleep_time": ("0", "no artificial delay"),
    "in_flow_delay": ("0", "the queue manager does not slow down the way in"),
    "default_process_limit": ("200", "never short of a process"),
    "max_use": ("10000", "daemons live on: a fork for every 100 clients costs it a few percent"),
    "disable_mime_input_processing": ("yes", "it looks into no MIME part, nor does the relay"),
    "initial_destination_concurrency": ("20", "at once as many connections upstream as the relay has"),
    "default_destination_concurrency_limit": ("20", "as many as the relay"),
    "default_destination_recipient_limit": ("1000", "one transaction for 50 recipients"),
    "qmgr_message_active_limit": ("20000", "the whole load fits into the active queue"),
    "smtp_connection_cache_on_demand": ("no", "handing kept ones around costs it more than a new one on loopback"),
    "smtp_connection_cache_time_limit": ("10s", "where a row keeps them: longer than the gap between messages"),
    "smtp_tls_security_level": ("none", "but for the row that says otherwise"),
    "smtpd_tls_security_level": ("none", "clients on loopback"),
}

MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
tlsproxy unix - - n - 0 tlsproxy
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "saved", "trace")


class Postfix(Child):
    """One Postfix in `folder`, handing everything to `upstream`; `more` is what one row sets besides."""

    def __init__(self, folder: Path, upstream: int, more: Mapping[str, str] | None = None) -> None:
        super().__init__("Postfix")
        self.folder, self.upstream, self.more = folder, upstream, more or {}
        self.port = free_port()

    def start(self) -> float:
        """With an empty queue; seconds until it greets."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._make_folders()
        self._configure()
        began = time.monotonic()
        self.launch([program("master"), "-c", self.folder / "etc", "-d"])
        greeted(self.port, 20)
        return time.monotonic() - began

    def stop(self) -> None:
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make_folders(self) -> None:
        """What `postfix set-permissions` would make: that one wants Debian's lists in /etc/postfix."""
        owner, drop = pwd.getpwnam("postfix"), grp.getgrnam("postdrop").gr_gid
        for name in ("etc", "queue", "queue/pid", "log"):
            (self.folder / name).mkdir(mode=0o755, parents=True)
        for name in (*(f"queue/{name}" for name in QUEUES), "queue/private", "data"):
            (self.folder / name).mkdir(mode=0o700)
            os.chown(self.folder / name, owner.pw_uid, owner.pw_gid if name == "data" else 0)
        for name, mode in (("queue/public", 0o710), ("queue/maildrop", 0o730)):
            (self.folder / name).mkdir()
            os.chown(self.folder / name, owner.pw_uid, drop)
            (self.folder / name).chmod(mode)

    def _configure(self) -> None:
        values = {name: value for name, (value, _) in SETTINGS.items()} | dict(self.more)
        filled = {name: value.format(base=self.folder, upstream=self.upstream) for name, value in values.items()}
        (self.folder / "etc/main.cf").write_text("".join(f"{name} = {value}\n" for name, value in filled.items()))
        (self.folder / "etc/master.cf").write_text(MASTER.format(port=self.port))
