from __future__ import annotations

import pytest

from relay.config.types import ListenAddress, is_loopback, listen_address, network, octets, seconds


@pytest.mark.parametrize(
    ("text", "wanted"), [("30s", 30), ("10m", 600), ("4h", 14400), ("5d", 432000), ("15", 15), (7, 7), ("0.5s", 0.5)]
)
def test_durations(text: object, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "s", "-1s", "1w", "1h30m", "10 minutes", "1e3", "inf", None, True, "٣s", "1s\n"])
def test_no_durations(text: object) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "wanted"), [("1KiB", 1024), ("35MiB", 36700160), ("10 GiB", 10737418240), ("512", 512), (0, 0)]
)
def test_sizes(text: object, wanted: int) -> None:
    assert octets(text) == wanted


@pytest.mark.parametrize("text", ["", "35MB", "35M", "1.5GiB", "-1", "KiB", "1kib", None, "٣KiB"])
def test_no_sizes(text: object) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        octets(text)


@pytest.mark.parametrize(
    ("text", "wanted", "public"),
    [
        ("127.0.0.1:2525", ListenAddress("tcp", host="127.0.0.1", port=2525), False),
        ("localhost:0", ListenAddress("tcp", host="localhost", port=0), False),
        ("[::1]:25", ListenAddress("tcp", host="::1", port=25), False),
        ("0.0.0.0:25", ListenAddress("tcp", host="0.0.0.0", port=25), True),
        ("[::]:25", ListenAddress("tcp", host="::", port=25), True),
        ("[fe80::1%eth0]:25", ListenAddress("tcp", host="fe80::1%eth0", port=25), True),
        ("mail.example.com:25", ListenAddress("tcp", host="mail.example.com", port=25), True),
        ("unix:/run/relay/smtp.sock", ListenAddress("unix", path="/run/relay/smtp.sock"), False),
        ("fd:smtp", ListenAddress("fd", name="smtp"), False),
    ],
)
def test_listen_addresses(text: str, wanted: ListenAddress, public: bool) -> None:
    address = listen_address(text)
    assert (address, str(address), address.public) == (wanted, text, public)


@pytest.mark.parametrize(
    "text",
    ["", "25", ":25", "*:25", "::1:25", "[::1]", "a:b", "a:65536", "unix:rel", "unix:/" + 107 * "x", "fd:", "h:25 "],
)
def test_no_listen_addresses(text: str) -> None:
    with pytest.raises(ValueError):
        listen_address(text)


@pytest.mark.parametrize("text", ["[::g]:25", "[1.2.3]:25", "[]:25", "999.1.1.1:25"])
def test_what_looks_like_an_ip_address_must_be_one(text: str) -> None:
    with pytest.raises(ValueError):
        listen_address(text)


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("app.localhost", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
    ],
)
def test_loopback(host: str, wanted: bool) -> None:
    assert is_loopback(host) is wanted


def test_networks() -> None:
    assert [str(network(text)) for text in ("10.0.0.0/8", "::1", "192.0.2.7")] == [
        "10.0.0.0/8",
        "::1/128",
        "192.0.2.7/32",
    ]
