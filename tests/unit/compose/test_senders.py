"""Identities by name, and what they change in mail that was written elsewhere."""

from __future__ import annotations

import pytest

from relay.compose.senders import UnknownIdentity, applied, named, needs_utf8
from relay.model import Identity, Rewrite
from relay.smtp.headers import rewrite

SHOP = Identity(address="shop@example.com", name="Shop", reply_to="help@example.com")


def test_by_name() -> None:
    assert named({"shop": SHOP}, "shop") is SHOP
    with pytest.raises(UnknownIdentity, match="identity 'x' is not one of: shop"):
        named({"shop": SHOP}, "x")
    with pytest.raises(UnknownIdentity, match="there is none"):
        named({}, "shop")


def test_what_it_changes() -> None:
    assert applied(SHOP) == Rewrite(header_from="Shop <shop@example.com>", reply_to="help@example.com")
    assert applied(Identity(address="shop@example.com")) == Rewrite(header_from="shop@example.com")


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("Shop", b"Shop"),
        ("Shop, Inc.", b'"Shop, Inc."'),
        ('The "Shop"', b'"The \\"Shop\\""'),
        ('"Shop" now', b'"\\"Shop\\" now"'),
        ("back\\slash", b'"back\\\\slash"'),
        ("a <b@c>", b'"a <b@c>"'),
        ("Jörg", b"=?utf-8?b?SsO2cmc=?="),
        ('Jörgs "Shop" \\ Co', b"=?utf-8?b?SsO2cmdzICJTaG9wIiBcIENv?="),
        ("Evil\r\nBcc: v@x", b'"Evil  Bcc: v@x"'),
    ],
)
def test_H1_any_name_is_one_mailbox(name: str, field: bytes) -> None:
    changes = applied(Identity(address="shop@example.com", name=name))
    head = rewrite(b"From: a\r\n\r\n", header_from=changes.header_from)
    assert head == b"From: " + field + b" <shop@example.com>\r\n\r\n"


@pytest.mark.parametrize(
    ("identity", "needed"),
    [
        (Identity(address="shop@example.com"), False),
        (Identity(address="shop@example.com", name="Jörg", reply_to="Hilfe für alle <help@example.com>"), False),
        (Identity(address="jörg@example.com"), True),
        (Identity(address="shop@example.com", reply_to="Help <jörg@example.com>"), True),
    ],
)
def test_E4_addresses_need_smtputf8_and_names_do_not(identity: Identity, needed: bool) -> None:
    assert needs_utf8(identity) is needed
