"""MIME: the direct way and the library's give the same mail, attachments come out as they went in."""

from __future__ import annotations

import secrets
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.compose.draft import Attachment, Draft
from relay.compose.mime import Encoded, is_plain, plain, tree

ASCII = st.text(st.sampled_from("ab .-=\t<>\r\n"), max_size=200) | st.just("x" * 990 + "\n.\n..\n")
ANY = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), include_characters="\t\n\r"), max_size=200)


def whole(pieces) -> bytes:
    return b"".join(b"".join(piece.pieces()) if isinstance(piece, Encoded) else piece for piece in pieces)


def parsed(raw: bytes) -> EmailMessage:
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert [defect for part in message.walk() for defect in part.defects] == []
    return message


def lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def texts(message: EmailMessage) -> list[tuple[str, list[str]]]:
    bodies = [part for part in message.walk() if not part.is_multipart()]
    return [(part.get_content_type(), lines(part.get_content())) for part in bodies]


@given(st.none() | ASCII, st.none() | ASCII)
def test_plain_text_written_directly_is_what_the_library_writes(text, html):
    draft = Draft(text=text, html=html)
    assert is_plain(draft)
    direct, library = parsed(plain(draft, "=_b0undary")), parsed(whole(tree(draft)))
    assert direct.get_content_type() == library.get_content_type()
    assert texts(direct) == texts(library)


@given(ANY)
def test_any_text_comes_out_as_it_went_in_and_is_seven_bit(text):
    raw = whole(tree(Draft(text=text, html=text)))
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert texts(parsed(raw)) == [("text/plain", lines(text)), ("text/html", lines(text))]


def test_what_is_not_plain():
    for draft in (Draft(text="ä"), Draft(text="", html="x" * 999), Draft(attachments=(FILE,), text="")):
        assert not is_plain(draft)


FILE = Attachment(filename="räume \"1\" & 'co'.csv", content=b"a,b\r\n1,2\n.\n", content_type="text/csv; charset=utf-8")
LOGO = Attachment(filename="logo.png", content=b"\x89PNG", content_type="image/png", content_id="logo", inline=True)


def test_everything_at_once():
    other = Attachment(filename="x" * 200 + ".bin", content=secrets.token_bytes(100_000))
    message = parsed(whole(tree(Draft(text="Hallo Köln", html="<img src=cid:logo>", attachments=(FILE, LOGO, other)))))
    assert message.get_content_type() == "multipart/mixed"
    files = list(message.iter_attachments())
    assert [file.get_filename() for file in files] == [FILE.filename, other.filename]
    assert [file.get_payload(decode=True) for file in files] == [FILE.content, other.content]
    assert files[0].get_content_type() == "text/csv"
    html = message.get_body(("related",))
    assert html is not None
    page, logo = html.iter_parts()
    assert page.get_content() == "<img src=cid:logo>\r\n"
    assert (logo["Content-ID"], logo.get_content_disposition(), logo.get_content()) == ("<logo>", "inline", b"\x89PNG")


def test_html_alone_with_a_picture_and_attachments_alone():
    message = parsed(whole(tree(Draft(html="<img src=cid:logo>", attachments=(LOGO,)))))
    assert message.get_content_type() == "multipart/related"
    message = parsed(whole(tree(Draft(attachments=(LOGO,)))))
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "image/png"]


@pytest.mark.parametrize("size", [0, 1, 56, 57, 58, 114, 57 * 4096 - 1, 57 * 4096, 57 * 4096 + 1, 500_000])
def test_attachments_are_as_long_as_was_said(size):
    encoded = Encoded(secrets.token_bytes(size))
    raw = b"".join(encoded.pieces())
    assert len(raw) == len(encoded)
    assert all(len(line) <= 76 for line in raw.split(b"\r\n"))
    attached = Attachment(filename="x", content=encoded.content)
    pieces = tree(Draft(attachments=(attached, attached), text=""))
    assert [file.get_content() for file in parsed(whole(pieces)).iter_attachments()] == [encoded.content] * 2
    assert sum(map(len, pieces)) == len(whole(pieces))
