"""docs/recipes/php.md with the real PHP and msmtp; wordpress.md's plugin with PHP and what WordPress mails with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from recipe_pages import SECRET, shown, snippet
from recipe_world import MAKE, UPSTREAM, World, done, msmtprc, world
from waiting import missing, program

BOTH = pytest.mark.parametrize("section", ["", SECRET])


def php_folder(here: World, section: str, folder: Path) -> dict[str, str]:
    """The page's files in one folder; gives the environment in which PHP reads the .ini there."""
    ini = here.adapted(shown("php.md", "/etc/php"), {"/etc/msmtprc": msmtprc(here, "php.md", section, folder)})
    (folder / "90-relay.ini").write_text(ini.replace("/usr/bin/msmtp", program("msmtp")))
    (folder / "try.php").write_text(shown("php.md", "try.php"))
    return os.environ | {"PHP_INI_SCAN_DIR": str(folder)}


@BOTH
def test_mail(relay: MAKE, ledger: UPSTREAM, tmp_path: Path, section: str) -> None:
    here = world(relay, ledger, section)
    environment = php_folder(here, section, tmp_path)
    assert done([program("php"), "try.php"], tmp_path, environment).stdout == "handed over\n"
    mail = here.mail()
    assert mail.taken.sender == "shop@example.com"
    assert mail.recipients == ["archive@example.com", "you@example.com"]
    assert mail.message["Subject"] == "Order 4711"
    assert str(mail.message["From"]) == "Shop <shop@example.com>"
    assert mail.message["Bcc"] is None
    assert mail.text == "Thank you for your order."
    assert here.relay.events("message accepted")[0].get("user") == ("app" if section else None)
    if not section:
        here.is_told("php.md")


def test_mail_is_false_when_the_relay_is_away(relay: MAKE, ledger: UPSTREAM, tmp_path: Path) -> None:
    here = world(relay, ledger)
    environment = php_folder(here, "", tmp_path)
    here.relay.stop()
    assert done([program("php"), "try.php"], tmp_path, environment).stdout.endswith("refused\n")


WP_MAIL = """\
<?php
// What wp_mail() does, with Debian's PHPMailer for the one WordPress ships; WordPress itself needs a database.
require '/usr/share/php/libphp-phpmailer/autoload.php';
$hooks = [];
function add_action($name, $callback) { $GLOBALS['hooks'][$name][] = $callback; }
function add_filter($name, $callback) { $GLOBALS['hooks'][$name][] = $callback; }
require __DIR__ . '/smtp-relay.php';
function filtered($name, $value) {
    foreach ($GLOBALS['hooks'][$name] ?? [] as $callback) { $value = $callback($value); }
    return $value;
}
$mailer = new PHPMailer\\PHPMailer\\PHPMailer(true);
$mailer->setFrom(filtered('wp_mail_from', 'wordpress@localhost'), filtered('wp_mail_from_name', 'WordPress'), false);
$mailer->addAddress('you@example.com');
$mailer->Subject = 'Somebody asked for a new password';
$mailer->Body = 'Click here.';
$mailer->isMail();
foreach ($hooks['phpmailer_init'] as $callback) { $callback($mailer); }
$mailer->send();
"""


@BOTH
def test_wordpress_snippet(relay: MAKE, ledger: UPSTREAM, tmp_path: Path, section: str) -> None:
    here = world(relay, ledger, section)
    if not Path("/usr/share/php/libphp-phpmailer/autoload.php").exists():
        missing("phpmailer")
    plugin = here.adapted(shown("wordpress.md", "wp-content/mu-plugins/smtp-relay.php"))
    if section:
        plain = "    $mailer->SMTPAuth = false;\n"
        assert plain in plugin
        plugin = plugin.replace(plain, here.adapted(snippet("wordpress.md", SECRET, "php")))
    (tmp_path / "smtp-relay.php").write_text(plugin)
    (tmp_path / "mail.php").write_text(WP_MAIL)
    done([program("php"), "mail.php"], tmp_path)
    mail = here.mail()
    assert mail.taken.sender == "wordpress@example.com"
    assert mail.recipients == ["you@example.com"]
    assert str(mail.message["From"]) == "Our site <wordpress@example.com>"
    assert mail.text == "Click here."
    if not section:
        here.is_told("wordpress.md")
