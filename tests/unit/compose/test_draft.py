"""What may be said in a draft: further headers, file names, media types."""

from __future__ import annotations

import pytest

from relay.compose.draft import (
    OWNED,
    Attachment,
    Draft,
    content_id_problem,
    content_type_problem,
    effort,
    filename_problem,
    header_problem,
    value_problem,
)
from relay.compose.mailboxes import Mailbox


@pytest.mark.parametrize("name", [*(name + "x" if name.endswith("-") else name for name in OWNED), "DKIM-Signature"])
def test_headers_of_ours_are_refused_with_the_fix(name):
    for spelled in (name, name.upper(), name.title()):
        assert header_problem(spelled).startswith("may not be set: ")


@pytest.mark.parametrize(
    "name", ["", "X App", "X:App", "X-App\r\nBcc", "Bcc\n", "Bcc ", " Bcc", "Bcc\0", "\u0412cc", "(x)", "x" * 77, "-x"]
)
def test_H1_what_is_no_name_of_a_header(name):
    assert "is no name" in header_problem(name)


@pytest.mark.parametrize("name", ["X-App", "List-Unsubscribe", "References", "In-Reply-To", "Auto-Submitted", "X_1.a"])
def test_headers_that_may_be_set(name):
    assert header_problem(name) == ""


def test_values():
    assert value_problem("<mailto:off@example.com>") == ""
    for wrong in ("", "  ", "a\r\nBcc: b", "=?utf-8?q?=0d?="):
        assert value_problem(wrong)


def test_file_names():
    assert filename_problem("Räume 2026.pdf") == ""
    for wrong in ("../x", "a\\b", "..", " ", 'a"\r\nX: y', "a\0"):
        assert filename_problem(wrong)


def test_media_types():
    for right in ("application/pdf", "text/csv; charset=utf-8", "Image/PNG", "application/vnd.ms-excel"):
        assert content_type_problem(right) == ""
    for wrong in ("pdf", "a/b/c", 'text/plain; name="x"', "text/plain\r\nX: y", "multipart/mixed", "message/rfc822"):
        assert content_type_problem(wrong)


def test_content_ids():
    assert content_id_problem("logo.1@shop") == ""
    for wrong in ("", "<logo>", "a b", "a\r\n", "ä"):
        assert content_id_problem(wrong)


ANN = Mailbox("ann@example.com", "Ann Smith of Somewhere")


def test_H6_headers_and_names_of_files_are_more_effort_than_text():
    usual = Draft(
        to=(ANN,) * 20, subject="s" * 80, text="t" * 10_000, attachments=(Attachment(filename="a", content=b""),)
    )
    assert effort(usual) < 64 * 1024
    for much in (
        Draft(text="t" * 70_000),
        Draft(headers=(("X-A", "v" * 4000),)),
        Draft(attachments=(Attachment(filename="ü" * 255, content=b""),) * 5),
        Draft(cc=(ANN,) * 100),
    ):
        assert effort(much) > 64 * 1024
