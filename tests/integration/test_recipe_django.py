"""docs/recipes/django.md with the real Django: the settings of its version, its commands, the page's own code."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import django
import pytest
from recipe_pages import SECRET, command, shown
from recipe_world import MAKE, UPSTREAM, World, done, world

PAGE = "django.md"
FILE = f"settings.py, Django {'6.1 and later' if django.VERSION >= (6, 1) else 'before 6.1'}"
MANAGE = (
    "import sys\nfrom django.core.management import execute_from_command_line\nexecute_from_command_line(sys.argv)\n"
)
SHOP = """\
import django
django.setup()
from shop.mail import invoice, thank
thank("bob@example.com", 4711)
invoice("eve@example.com", 4712, b"%PDF-1.7")
"""


def project(here: World, folder: Path, section: str) -> dict[str, str]:
    """A folder with manage.py, the page's settings and code; gives the environment to run it in."""
    secret = shown(PAGE, FILE, SECRET) if section else ""
    (folder / "settings.py").write_text(here.adapted(shown(PAGE, FILE) + secret))
    (folder / "manage.py").write_text(MANAGE)
    (folder / "shop").mkdir()
    (folder / "shop" / "mail.py").write_text(shown(PAGE, "shop/mail.py"))
    return os.environ | {"DJANGO_SETTINGS_MODULE": "settings"}


def manage(line: str) -> list[str]:
    """A command of the page, by this Python."""
    return ["sh", "-c", line.replace("python", sys.executable, 1)]


@pytest.mark.parametrize("section", ["", SECRET])
def test_django(relay: MAKE, ledger: UPSTREAM, tmp_path: Path, section: str) -> None:
    here = world(relay, ledger, section)
    environment = project(here, tmp_path, section)
    done(manage(command(PAGE, "python manage.py sendtestemail")), tmp_path, environment)
    done([sys.executable, "-c", SHOP], tmp_path, environment)
    tried, thanked, invoiced = here.mails(3)
    assert tried.recipients == ["you@example.com"]
    assert (thanked.recipients, thanked.message["Subject"]) == (["bob@example.com"], "Order 4711")
    assert thanked.text == "Thank you for your order."
    assert str(thanked.message["From"]) == "Shop <shop@example.com>"
    assert invoiced.recipients == ["books@example.com", "eve@example.com"]
    assert invoiced.message["Bcc"] is None
    html = invoiced.message.get_body(("html",))
    assert html is not None and "<b>attached</b>" in html.get_content()
    [pdf] = invoiced.message.iter_attachments()
    assert (pdf.get_filename(), pdf.get_content()) == ("4712.pdf", b"%PDF-1.7")
    assert {mail.taken.sender for mail in (tried, thanked, invoiced)} == {"shop@example.com"}
    assert {line.get("user") for line in here.relay.events("message accepted")} == {"app" if section else None}
    if not section:
        shows = done(manage(command(PAGE, "python manage.py diffsettings")), tmp_path, environment).stdout
        assert str(here.relay.smtp_port) in shows
        here.is_told(PAGE)
