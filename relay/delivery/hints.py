"""Cause and fix, in a sentence, of what a provider answered or of why it did not.

Called by the log, by checks of providers and by what the API shows of their health. Pure; it never repeats a secret,
having none.
"""

from __future__ import annotations

from relay.model import DeliveryOutcome, Fault, Phase, Reply


def account_hint(reply: Reply) -> str:
    """When a provider refuses our account."""
    return _first(_ACCOUNT, reply) or (
        "the provider refuses our account: check username and password of this provider and correct them"
    )


def host_hint(reply: Reply) -> str:
    """When a provider does not serve us; "" when the words of `reply` are ours, which name the fix already."""
    if any(sign in reply.text for sign in _OURS):
        return ""
    return _first(_HOST, reply) or (
        f"its host does not serve us now: {_BY_ITSELF}; if this lasts, check host, port and TLS"
    )


def hint(outcome: DeliveryOutcome) -> str:
    """For what became of one recipient, or of a probe."""
    if outcome.suspend:
        return account_hint(outcome.reply)
    if outcome.signal in _SIGNALS:
        return _SIGNALS[outcome.signal]
    if outcome.fault is Fault.UNCERTAIN:
        return "it may have been delivered: look into the mailbox before you try again"
    if outcome.fault is Fault.RECIPIENT:
        return "the provider refuses this recipient: check the address"
    if outcome.fault is Fault.MESSAGE:
        return _first(_MESSAGE, outcome.reply) or _REFUSED_AT.get(outcome.phase, _REFUSED)
    return host_hint(outcome.reply)


def once(hint: str) -> str:
    """A hint about a server that is asked this once: nothing comes back to it by itself."""
    return hint.replace(_BY_ITSELF, "try again")


def explained(reply: Reply, hint: str) -> str:
    """The reply and what to do about it, in one line."""
    return f"{reply}; {hint}" if hint else str(reply)


def _first(table: tuple[tuple[str, str], ...], reply: Reply) -> str:
    """First match wins, on the enhanced code and text of the reply, lower case."""
    text = f"{reply.enhanced} {reply.text}".lower()
    return next((hint for sign, hint in table if sign in text), "")


_BY_ITSELF = "it is tried again by itself"
_APP = "an app password is needed: make one in the account's security settings and set it as password"
_LOGIN = "the provider wants a login: set username and password of this provider"

_ACCOUNT = (
    ("5.7.139", "basic authentication is off here: enable SMTP AUTH for the mailbox, or use another provider"),
    ("5.7.9", _APP),
    ("application-specific", _APP),
    ("5.7.30", "basic authentication was switched off here: use another way to authenticate or another provider"),
    ("starttls", "the provider wants TLS before it talks: set tls: starttls, or implicit on port 465"),
    ("authentication required", _LOGIN),
    ("5.7.0", _LOGIN),
    ("5.7.8", "user name or password is wrong: correct them (an app password may be needed)"),
    ("suspended", "the account is suspended at the provider: ask the provider"),
    ("disabled", "the account or its SMTP access is disabled at the provider: enable it there"),
)

# Said by `relay.upstream`, and by the guard against private networks: cause and fix in one.
_OURS = (
    "is host or port wrong?",
    "is host spelled right?",
    "a firewall",
    "name it in ca_file",
    "name that root in ca_file",
    "name the issuer in ca_file",
    "use tls: ",
    "set host to a name in the certificate",
    "set host to an address in the certificate",
    "is the clock of this machine right?",
    "or the clock of this machine is wrong",
    "allow_private_providers",
    "raise its limit",
)

_HOST = (
    ("4.4.3", "DNS does not answer for its name: check host, or the resolver of this machine"),
    ("too many", "it wants fewer connections: lower limits.connections, or rate_limit_per_minute"),
    ("unreachable", "this machine has no way there: check its network, or host"),
)

_MESSAGE = (
    ("5.7.60", "this account may not send as this address: set from_email to an address of the account"),
    ("sendasdenied", "this account may not send as this address: set from_email to an address of the account"),
    ("not verified", "the provider knows this address not yet: verify it there, or set another from_email"),
    ("5.3.4", "the message is too large for this provider"),
)
_REFUSED = "the provider refuses this message: see what it says, and ask it why"
_REFUSED_AT = {
    Phase.MAIL: "the provider refuses this sender: set from_email to an address that it lets the account send as"
}

_SIGNALS = {
    "throttled": f"it asks us to slow down: {_BY_ITSELF}; if this lasts, lower rate_limit_per_minute",
    "day": "its quota of the day is used up: mail goes on when the day is over",
    "month": "its quota of the month is used up: mail goes on when the month is over",
}
