"""Which hosts a provider made over HTTP may have (hazard H2)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from relay.smtp.hosts import forbidden, judge, literal


@pytest.mark.parametrize(
    "spelling",
    [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f.1",
        "0x7F000001",
        "0x7f.0x0.0x0.0x1",
        "017700000001",
        "0177.0.0.01",
        "127.0.0.1.",
        " 127.0.0.1",
        "127.0.0.1 anything",
        "１２７.0.0.1",
        "127。0。0。1",
        "①27.0.0.1",
        "localhost",
        "LOCALHOST.",
        "mail.localhost",
        "localhost.localdomain",
        "ip6-localhost",
    ],
)
def test_H2_loopback_in_every_spelling(spelling):
    assert literal(spelling) == ip_address("127.0.0.1")
    assert forbidden(spelling) == "is a loopback address"


@pytest.mark.parametrize(
    ("spelling", "word"),
    [
        ("0", "this machine"),
        ("0.0.0.0", "this machine"),
        ("0x", "this machine"),
        ("127.255.255.254", "loopback"),
        ("10.0.0.1", "private"),
        ("10.1", "private"),
        ("0xa.0.0.1", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("0300.0250.1", "private"),
        ("100.64.0.1", "private"),
        ("100.100.100.200", "private"),
        ("198.18.0.1", "private"),
        ("169.254.169.254", "link-local"),
        ("2852039166", "link-local"),
        ("0xa9fea9fe", "link-local"),
        ("168.63.129.16", "metadata"),
        ("192.0.0.192", "reserved"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("4294967295", "reserved"),
        ("::", "this machine"),
        ("::1", "loopback"),
        ("[::1]", "loopback"),
        ("::1%lo", "loopback"),
        ("0:0:0:0:0:0:0:1", "loopback"),
        ("::127.0.0.1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:7f00:1", "loopback"),
        ("::FFFF:10.0.0.1", "private"),
        ("::ffff:0:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("64:ff9b::169.254.169.254", "link-local"),
        ("64:ff9b:1::8.8.8.8", "private"),
        ("2002:7f00:1::1", "loopback"),
        ("2002:c0a8:101::", "private"),
        ("2001:0:a00:1::", "private"),
        ("2001:0:808:808:0:0:80ff:fffe", "loopback"),
        ("2606:4700::5efe:10.0.0.1", "private"),
        ("2606:4700::200:5efe:127.0.0.1", "loopback"),
        ("fd00:ec2::254", "private"),
        ("fc00::1", "private"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fec0::1", "private"),
        ("ff02::1", "multicast"),
        ("100::1", "reserved"),
        ("4000::1", "reserved"),
    ],
)
def test_H2_what_is_not_public_is_refused_by_any_spelling(spelling, word):
    assert word in forbidden(spelling)


@pytest.mark.parametrize(
    "host",
    [
        "8.8.8.8",
        "134744072",
        "0x8.8.8.8",
        "172.32.0.1",
        "192.0.2.25",
        "203.0.113.9",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2001:db8::1",
        "smtp.gmail.com",
        "mail.client.com.",
        "localhost.example.com",
        "notlocalhost",
        "127.0.0.1.example.com",
        "dead.beef",
        "0x7f.example.com",
        "",
    ],
)
def test_H2_what_is_public_or_a_name_passes(host):
    assert forbidden(host) == ""


@pytest.mark.parametrize(
    "name",
    ["example.com", "256.1.1.1", "1.2.3.4.5", "1..2", "08.1.1.1", "4294967296", "127.1.1.256", "::g", "9" * 9999],
)
def test_what_inet_aton_refuses_is_a_name(name):
    assert literal(name) is None


def test_judge_takes_what_resolvers_give_and_refuses_what_is_none():
    assert judge("10.0.0.1") == "is a private address"
    assert judge("fe80::1%2") == judge("fe80::1") != ""
    assert judge(ip_address("93.184.215.14")) == ""
    assert judge("2606:4700::1111") == ""
    assert judge("example.com") == "is not an IP address"


def test_H2_every_special_address_of_the_standard_library_is_refused():
    """But those for documentation, which lead nowhere."""
    for text in ("0.1.2.3", "10.9.8.7", "127.8.9.1", "169.254.0.1", "192.168.255.255", "240.0.0.1", "255.255.255.255"):
        assert ip_address(text).is_private
        assert judge(text)
