"""docs/recipes/node.md with the real nodemailer, of the version and digest that node/package-lock.json pins."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from certificates import Certificate
from clients import queued_id
from recipe_pages import SECRET, shown, snippet
from recipe_world import MAKE, UPSTREAM, World, done, world
from waiting import lacking, program

PAGE = "node.md"
WANTED = Path(__file__).with_name("node")
FILES = ("package.json", "package-lock.json")
OPTION = "  ignoreTLS: true,\n"


@pytest.fixture(scope="session")
def modules() -> Path:
    """node_modules as the lock has it: installed once into the environment the tests run in, and kept there."""
    digest = hashlib.sha256(b"".join((WANTED / name).read_bytes() for name in FILES)).hexdigest()[:12]
    place = Path(sys.prefix) / "node" / digest
    if not place.exists():
        install(place)
    return place / "node_modules"


def install(place: Path) -> None:
    """Beside it first: another process may do the same now, and one that is ended half-way leaves nothing behind."""
    npm = program("npm")
    place.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        for name in FILES:
            shutil.copy(WANTED / name, folder)
        options = ("--ignore-scripts", "--no-audit", "--no-fund", "--engine-strict")
        ended = subprocess.run([npm, "ci", *options], cwd=folder, capture_output=True, text=True, timeout=50)
        if ended.returncode:
            lacking(f"npm cannot install nodemailer:\n{ended.stderr}")
        made = Path(folder) / "made"
        made.mkdir()
        (Path(folder) / "node_modules").rename(made / "node_modules")
        with contextlib.suppress(OSError):  # the other one was first
            made.rename(place)


def script(here: World, section: str) -> str:
    text = shown(PAGE, "mail.mjs")
    assert OPTION in text
    if section == SECRET:
        text = text.replace(OPTION, OPTION + snippet(PAGE, SECRET, "js"))
    if section == "With TLS":
        text = text.replace(OPTION, "  requireTLS: true,\n")
    return here.adapted(text)


@pytest.mark.parametrize("section", ["", SECRET, "With TLS"])
def test_nodemailer(
    relay: MAKE, ledger: UPSTREAM, certificate: Certificate, modules: Path, tmp_path: Path, section: str
) -> None:
    here = world(relay, ledger, section, certificate)
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "mail.mjs").write_text(script(here, section))
    environment = os.environ | {"NODE_EXTRA_CA_CERTS": str(certificate.ca)}
    printed = done([program("node"), "mail.mjs"], tmp_path, environment).stdout
    mail = here.mail()
    [accepted] = here.relay.events("message accepted")
    assert queued_id(printed) == accepted["message"]
    assert accepted.get("user") == ("app" if section == SECRET else None)
    assert mail.taken.sender == "shop@example.com"
    assert mail.recipients == ["archive@example.com", "colleague@example.com", "you@example.com"]
    assert mail.message["Subject"] == "Order 4711"
    assert mail.message["Bcc"] is None
    assert mail.text == "Thank you for your order."
    [attachment] = mail.message.iter_attachments()
    assert (attachment.get_filename(), attachment.get_content()) == ("4711.txt", "1 lamp")
    if not section:
        here.is_told(PAGE)
