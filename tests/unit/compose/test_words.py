"""Text that becomes a header."""

from __future__ import annotations

from email import message_from_bytes, policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.compose.words import LONGEST, field, line_problem, phrase, text_problem

EVIL = ["a\r\nBcc: b@c.example", "a\nb", "a\rb", "a\0b", "a\tb", "a\x1bb", "a\x7fb", "a\x85b", "a\u2028b", "\ud800"]
LINES = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=300).filter(
    lambda text: not line_problem(text)
)


def parsed(raw: bytes, name: str) -> str:
    message = message_from_bytes(raw + b"\r\n", policy=policy.default)
    assert len(message) == 1, raw
    return str(message[name])


@pytest.mark.parametrize("text", EVIL)
def test_H1_no_line_end_or_control_gets_into_a_header(text):
    assert line_problem(text)
    with pytest.raises(ValueError, match="control character"):
        field("Subject", text)
    with pytest.raises(ValueError, match="control character"):
        phrase(text)


@pytest.mark.parametrize("word", ["=?utf-8?q?a=0d=0aBcc:=20b?=", "=?UTF-8?B?DQo=?=", "x =?us-ascii*en?Q?a b?= y"])
def test_H1_encoded_words_are_refused_and_would_be_kept_as_text(word):
    assert "encoded word" in line_problem(word)
    assert parsed(field("Subject", word), "Subject") == word


def test_ordinary_text_is_fine():
    for text in ("", "Grüße", "a =? b", "1 < 2", "👩\u200d💻 at work", "100%"):
        assert line_problem(text) == ""
    assert text_problem("a\tb\r\nc\rd\ne") == ""


@pytest.mark.parametrize("text", ["a\0b", "a\x1bb", "a\x0cb", "\ud800", "\x7f"])
def test_H1_a_text_has_tabs_and_line_ends_only(text):
    assert text_problem(text)


def test_short_ascii_is_written_as_it_is():
    assert field("Subject", "Hello there") == b"Subject: Hello there\r\n"


@given(LINES)
def test_what_is_read_is_what_was_written(text):
    raw = field("Subject", text)
    lines = raw.split(b"\r\n")
    assert max(map(len, lines)) <= LONGEST
    assert all(line.strip() for line in lines[:-1])
    assert raw.isascii()
    assert parsed(raw, "Subject") == text.strip(" ")


@pytest.mark.parametrize("text", ["word " * 60, "x" * 3000, "a " + "y" * 990 + " b", "é" * 500, "two  spaces " * 20])
def test_long_values_are_folded_or_encoded(text):
    raw = field("X-Long", text)
    assert max(map(len, raw.split(b"\r\n"))) <= LONGEST
    assert parsed(raw, "X-Long") == text.strip(" ")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Ann Smith", "Ann Smith"),
        ("Smith, Ann", '"Smith, Ann"'),
        ('An "n" \\ x', '"An \\"n\\" \\\\ x"'),
        ("Dr. No", '"Dr. No"'),
    ],
)
def test_names_are_quoted_as_needed(name, written):
    assert phrase(name) == written
