"""What is known of mail providers: host, port, TLS, limits and habits, one entry each, as data.

Called by the schema (names), by `build` (which fills in what a provider leaves out) and by whoever lists presets.
A preset decides nothing: every field can be overridden. Limits are the provider's published defaults for new accounts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.config.listen import is_loopback
from relay.model import Limits, Tls


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """`host` "" must be given by the user; `{region}` in it is the provider's `region`. `note`: for people."""

    title: str
    host: str = ""
    port: int = 587
    tls: Tls = Tls.STARTTLS
    auth: str = "auto"
    username: str = ""
    pipelining: str = "auto"
    limits: Limits = field(default_factory=Limits)
    note: str = ""

    @property
    def regional(self) -> bool:
        return "{region}" in self.host


PRESETS: dict[str, Preset] = {
    "gmail": Preset(
        title="Gmail",
        host="smtp.gmail.com",
        limits=Limits(connections=5, recipients=100, per_day=500, count="recipients"),
        note="Needs an app password, which needs 2-step verification. Workspace accounts may raise per_day to 2000.",
    ),
    "google-workspace-relay": Preset(
        title="Google Workspace SMTP relay",
        host="smtp-relay.gmail.com",
        limits=Limits(connections=5, recipients=100, per_day=10000, count="recipients"),
        note="Allow this machine's address, or SMTP AUTH, in the admin console under Gmail, Routing.",
    ),
    "office365": Preset(
        title="Microsoft 365",
        host="smtp.office365.com",
        limits=Limits(connections=3, recipients=500, per_minute=30, per_day=10000),
        note="SMTP AUTH must be enabled for the mailbox; passwords are off by default from the end of December 2026.",
    ),
    "outlook": Preset(
        title="Outlook.com",
        host="smtp-mail.outlook.com",
        limits=Limits(connections=3, recipients=100),
        note="Takes OAuth2 only, which is not in this version: expect 535 with a password.",
    ),
    "yahoo": Preset(
        title="Yahoo Mail",
        host="smtp.mail.yahoo.com",
        limits=Limits(connections=5, recipients=100, per_day=500, count="recipients"),
        note="Needs an app password from the account's security page.",
    ),
    "ses": Preset(
        title="Amazon SES",
        host="email-smtp.{region}.amazonaws.com",
        limits=Limits(recipients=50),
        pipelining="off",
        note="Set region, such as eu-central-1, and SMTP credentials (not an access key). SES replaces the Message-ID.",
    ),
    "sendgrid": Preset(
        title="SendGrid",
        host="smtp.sendgrid.net",
        username="apikey",
        limits=Limits(recipients=1000),
        note="The user name is the word apikey, the password an API key with Mail Send.",
    ),
    "mailgun": Preset(
        title="Mailgun",
        host="smtp.mailgun.org",
        limits=Limits(recipients=1000),
        note="Credentials are per domain. In the EU region set host: smtp.eu.mailgun.org.",
    ),
    "postmark": Preset(
        title="Postmark",
        host="smtp.postmarkapp.com",
        limits=Limits(recipients=50),
        note="The server's API token is both user name and password.",
    ),
    "sparkpost": Preset(
        title="SparkPost",
        host="smtp.sparkpostmail.com",
        username="SMTP_Injection",
        note="The password is an API key with Send via SMTP. In the EU set host: smtp.eu.sparkpostmail.com.",
    ),
    "brevo": Preset(
        title="Brevo",
        host="smtp-relay.brevo.com",
        note="The password is an SMTP key, not an API key. Free accounts: set limits.per_day to 300.",
    ),
    "mailjet": Preset(
        title="Mailjet",
        host="in-v3.mailjet.com",
        limits=Limits(recipients=50),
        note="User name and password are the API key and the secret key.",
    ),
    "smtp2go": Preset(
        title="SMTP2GO",
        host="mail.smtp2go.com",
        limits=Limits(recipients=100),
        note="Create an SMTP user; ports 2525, 8025 and 587 are the same service.",
    ),
    "resend": Preset(
        title="Resend",
        host="smtp.resend.com",
        username="resend",
        limits=Limits(recipients=50),
        note="The user name is the word resend, the password an API key.",
    ),
    "zoho": Preset(
        title="Zoho Mail",
        host="smtp.zoho.com",
        note="Needs an app password with 2-step verification. In the EU set host: smtp.zoho.eu.",
    ),
    "fastmail": Preset(
        title="Fastmail",
        host="smtp.fastmail.com",
        note="Needs an app password; it must allow SMTP.",
    ),
    "icloud": Preset(
        title="iCloud Mail",
        host="smtp.mail.me.com",
        limits=Limits(recipients=500, per_day=1000),
        note="Needs an app-specific password from account.apple.com.",
    ),
    "gmx": Preset(
        title="GMX",
        host="mail.gmx.net",
        note="Switch on POP3 and IMAP access in the settings first. Accounts at gmx.com: set host: mail.gmx.com.",
    ),
    "ovh": Preset(
        title="OVHcloud",
        host="ssl0.ovh.net",
        note="The user name is the whole mail address. Exchange accounts have another host.",
    ),
    "ionos": Preset(
        title="IONOS",
        host="smtp.ionos.com",
        note="The user name is the whole mail address. In Germany set host: smtp.ionos.de.",
    ),
    "postfix": Preset(
        title="Local smarthost",
        host="127.0.0.1",
        port=25,
        tls=Tls.NONE,
        auth="none",
        note="A mail server on this machine that delivers by itself.",
    ),
    "mailpit": Preset(
        title="Mailpit",
        host="127.0.0.1",
        port=1025,
        tls=Tls.NONE,
        auth="none",
        note="A mail catcher for development: nothing leaves the machine.",
    ),
    "custom": Preset(title="Any SMTP server", note="Set host, and port if it is not 587."),
}


def preset_of(host: str) -> str:
    """The name of the preset whose server this is, "" when none knows it. What stands for any server is none."""
    name = host.rstrip(".").lower()
    for known, preset in PRESETS.items():
        front, _, back = preset.host.partition("{region}")
        if name and preset.host == name and not is_loopback(name):
            return known
        if preset.regional and name.startswith(front) and name.endswith(back):
            return known
    return ""
