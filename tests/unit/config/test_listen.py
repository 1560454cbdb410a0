from __future__ import annotations

import pytest

from relay.config.listen import ListenAddress, is_loopback, listen_address


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
