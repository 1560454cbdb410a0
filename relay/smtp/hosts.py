"""Which hosts lead out into the public Internet, and which into the networks around us (hazard H2).

Called by the API when a provider is made, and by whoever dials one, for every address that is about to be dialled. It
never resolves a name; what a name resolves to is judged then.

The table follows the IANA registries of special-purpose addresses (RFC 6890). Addresses for documentation are let pass:
they lead nowhere. IPv6 is judged the other way round: only 2000::/3 has global unicast addresses (RFC 4291 2.4), and
what carries an IPv4 address inside is as good as that one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

_V4 = tuple(
    (IPv4Network(network), what)
    for network, what in (
        ("0.0.0.0/8", "an address of this machine"),
        ("10.0.0.0/8", "a private address"),
        ("100.64.0.0/10", "a private address (shared by the customers of a carrier)"),
        ("127.0.0.0/8", "a loopback address"),
        ("168.63.129.16/32", "the address of a cloud's metadata service"),
        ("169.254.0.0/16", "a link-local address (those of cloud metadata services are among them)"),
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.0/24", "a reserved address"),
        ("192.88.99.0/24", "a reserved address"),
        ("192.168.0.0/16", "a private address"),
        ("198.18.0.0/15", "a private address (for measurements)"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved address"),
    )
)
_V6 = tuple(
    (IPv6Network(network), what)
    for network, what in (
        ("::/128", "an address of this machine"),
        ("::1/128", "a loopback address"),
        ("64:ff9b:1::/48", "a private address (translated to IPv4)"),
        ("fc00::/7", "a private address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a private address"),
        ("ff00::/8", "a multicast address"),
        ("2001:2::/48", "a private address (for measurements)"),
    )
)
_PUBLIC_V6 = IPv6Network("2000::/3")
# An IPv4 address inside, and by how many bits it is shifted to the left.
_CARRIERS = (
    (IPv6Network("::/96"), 0),  # IPv4-compatible, RFC 4291 2.5.5.1
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # IPv4-translated, RFC 2765
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64, RFC 6052
    (IPv6Network("2002::/16"), 80),  # 6to4, RFC 3056
    (IPv6Network("2001::/32"), 64),  # Teredo, RFC 4380: the server
)
_TEREDO = IPv6Network("2001::/32")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})  # RFC 5214 6.1, bits 64 to 95
_LAST_WORD = 0xFFFFFFFF

# What systems write into /etc/hosts for the loopback interface; and RFC 6761 6.3.
_LOCAL_NAMES = frozenset(
    {"localhost", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback", "broadcasthost", "loopback"}
)
_LOCAL_SUFFIXES = (".localhost", ".localdomain", ".localdomain4", ".localdomain6")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|0[0-7]*|[1-9][0-9]*")


def forbidden(host: str) -> str:
    """Why a host is not for everybody to name, as far as its spelling tells: "is a private address"; "" if it may."""
    address = literal(host)
    return judge(address) if address is not None else ""


def judge(address: Address | str) -> str:
    """Why this address is not one of the public Internet: "is a loopback address"; "" when it is one.

    A string is an address as resolvers give it, perhaps with a zone (`fe80::1%eth0`); what is none is refused.
    """
    if isinstance(address, str):
        found = _v6(address) if ":" in address else _v4(address)
        if found is None:
            return "is not an IP address"
        address = found
    if isinstance(address, IPv4Address):
        return next((f"is {what}" for network, what in _V4 if address in network), "")
    return _judge_v6(address)


def _judge_v6(address: IPv6Address) -> str:
    for network, what in _V6:
        if address in network:
            return f"is {what}"
    carried = list(_carried(address))
    why = next((why for inner in carried if (why := judge(inner))), "")
    if why:
        return f"{why} inside an IPv6 address"
    return "" if carried or address in _PUBLIC_V6 else "is a reserved address"


def _carried(address: IPv6Address) -> Iterator[IPv4Address]:
    """Every IPv4 address that a tunnel or a translator would take out of it."""
    bits = int(address)
    for network, shift in _CARRIERS:
        if address in network:
            yield IPv4Address(bits >> shift & _LAST_WORD)
    if address in _TEREDO:
        yield IPv4Address(~bits & _LAST_WORD)  # the client, bits inverted
    if bits >> 32 & _LAST_WORD in _ISATAP:
        yield IPv4Address(bits & _LAST_WORD)


def literal(host: str) -> Address | None:
    """The address that this spelling means without asking anybody, None: it is a name to be resolved.

    Takes what inet_aton(3) takes (0x7f.1, 017700000001, 127.1, 2130706433), IPv6 with brackets or a zone, a dot at the
    end, digits of other scripts (IDNA makes ASCII of them), and the names of this machine.
    """
    text = unicodedata.normalize("NFKC", host).strip().casefold()
    text = re.sub("[\u3002\uff0e\uff61]", ".", text).rstrip(".")  # IDNA's other dots, RFC 3490 3.1
    if text in _LOCAL_NAMES or text.endswith(_LOCAL_SUFFIXES):
        return IPv4Address("127.0.0.1")
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return _v6(text) if ":" in text else _v4(text)


def _v6(text: str) -> IPv6Address | None:
    try:
        return IPv6Address(text.partition("%")[0])
    except AddressValueError:
        return None


def _v4(text: str) -> IPv4Address | None:
    """As inet_aton: one to four numbers, decimal, octal or hexadecimal; the last fills all bytes that are left."""
    parts = (text.split() or [""])[0].split(".")
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) and len(part) <= 64 for part in parts):
        return None
    *front, last = (_number(part) for part in parts)
    left = 4 - len(front)
    if any(byte > 255 for byte in front) or last >= 1 << 8 * left:
        return None
    value = 0
    for byte in front:
        value = value << 8 | byte
    return IPv4Address(value << 8 * left | last)


def _number(part: str) -> int:
    if part[:2] in ("0x", "0X"):
        return int(part[2:] or "0", 16)
    return int(part, 8) if part[0] == "0" else int(part)
