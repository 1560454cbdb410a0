"""docs/recipes/cron.md and smartd.md with the real cron, mail and msmtp.

smartd itself needs a disk with SMART: here it reads the page's line, and its warning script is called as it calls it.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from recipe_pages import SECRET, command, shown
from recipe_world import MAKE, UPSTREAM, World, done, msmtprc, running, where_sendmail_is_msmtp, world
from waiting import program

BOTH = pytest.mark.parametrize("section", ["", SECRET])


def assert_from_server(here: World, user: bool) -> None:
    mail = here.mails(1)[0]
    assert mail.taken.sender == "server1@example.com"
    assert mail.recipients == ["ops@example.com"]
    assert mail.message["From"].addresses[0].addr_spec == "server1@example.com"
    assert here.relay.events("message accepted")[0].get("user") == ("app" if user else None)


@BOTH
def test_cron(relay: MAKE, ledger: UPSTREAM, tmp_path: Path, section: str) -> None:
    """cron runs what is to run @reboot at once when it starts, so nobody has to wait for a minute to begin."""
    here = world(relay, ledger, section)
    backup = tmp_path / "backup"
    backup.write_text("#!/bin/sh\necho 12 files are missing\nexit 3\n")
    backup.chmod(0o755)
    for name in ("run", "jobs", "crontabs"):
        (tmp_path / name).mkdir()
    job = tmp_path / "jobs" / "backup"
    job.write_text(shown("cron.md", "/etc/cron.d/backup").replace("/usr/local/bin/backup", str(backup)))
    job.write_text(job.read_text().replace("0 3 * * *", "@reboot"))
    crontab = tmp_path / "crontab"
    crontab.touch()
    seen = {
        "/run": tmp_path / "run",
        "/etc/cron.d": tmp_path / "jobs",
        "/etc/crontab": crontab,
        "/var/spool/cron/crontabs": tmp_path / "crontabs",
    }
    inside = where_sendmail_is_msmtp(tmp_path, msmtprc(here, "cron.md", section, tmp_path), seen)
    with running([*inside, program("cron"), "-f"], tmp_path / "cron.log"):
        mail = here.mail()
    assert_from_server(here, bool(section))
    assert re.fullmatch(rf"Cron <root@\S+> {backup}( \(failed\))?", mail.message["Subject"])
    assert mail.text == "12 files are missing"
    if not section:
        here.is_told("cron.md")


def test_what_cron_calls_takes_mail_for_root(relay: MAKE, ledger: UPSTREAM, tmp_path: Path) -> None:
    here = world(relay, ledger)
    inside = where_sendmail_is_msmtp(tmp_path, msmtprc(here, "cron.md", "", tmp_path))
    done([*inside, "sh", "-c", command("cron.md", "printf")], tmp_path)
    assert here.mail().text == "It works."
    assert_from_server(here, user=False)


@BOTH
def test_smartd(relay: MAKE, ledger: UPSTREAM, tmp_path: Path, section: str) -> None:
    here = world(relay, ledger, section)
    program("smartd"), program("mail")
    said = {
        "SMARTD_ADDRESS": address(tmp_path),
        "SMARTD_MAILER": "",
        "SMARTD_MESSAGE": "TEST EMAIL from smartd for device: /dev/sda [SAT]",
        "SMARTD_FAILTYPE": "EmailTest",
        "SMARTD_TFIRST": "",
        "SMARTD_PREVCNT": "0",
        "SMARTD_NEXTDAYS": "",
        "SMARTD_DEVICEINFO": "a disk",
    }
    inside = where_sendmail_is_msmtp(tmp_path, msmtprc(here, "smartd.md", section, tmp_path))
    done([*inside, "/usr/share/smartmontools/smartd_warning.sh"], tmp_path, os.environ | said)
    mail = here.mail()
    assert_from_server(here, bool(section))
    assert mail.message["Subject"].startswith("SMART error (EmailTest) detected on host: ")
    assert said["SMARTD_MESSAGE"] in mail.text
    if not section:
        here.is_told("smartd.md")


def address(folder: Path) -> str:
    """Where the page's line has smartd mail to, which smartd itself has read without complaint."""
    text = shown("smartd.md", "/etc/smartd.conf")
    (folder / "smartd.conf").write_text(text)
    read = subprocess.run(
        [program("smartd"), "-c", str(folder / "smartd.conf"), "-q", "onecheck", "-n"],
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert "smartd.conf was parsed" in read.stdout, read.stdout
    found = re.search(r"DEVICESCAN .*-m (\S+)", text)
    assert found
    return found[1]
