"""Text that becomes a header: what it may hold, and how it is written (RFC 5322 2.2, RFC 2047).

Used by everything here, and by the API to refuse a field where it stands. It never lets a line end into a header.
"""

from __future__ import annotations

import re
from email.header import Header
from typing import Final

LINE: Final = 76
"""Characters of a line that nobody asked to be longer; RFC 5322 2.1.1 says 78 at most, where that can be."""
LONGEST: Final = 998

_BREAKING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ENCODED_WORD = re.compile(r"=\?[^?]*\?[bq]\?", re.IGNORECASE)
# Before a space that a word follows: broken anywhere else a line could be blank, or lose a space when unfolded.
_FOLDS = re.compile(r"(?<=[^ ])(?= [^ ])")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_PLAIN = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


def line_problem(text: str) -> str:
    """Why this cannot stand in a header, "" when it can (hazard H1)."""
    if _BREAKING.search(text):
        return "has a line end, a control character or half a surrogate pair; write one line of plain text"
    if "=?" in text and _ENCODED_WORD.search(text):
        return "has an encoded word (=?...?=); write the text itself, the relay encodes it"
    return ""


def text_problem(text: str) -> str:
    """Why this cannot be the text of a mail, "" when it can. Tabs and line ends of any kind are fine."""
    if _CONTROL.search(text):
        return "has a control character or half a surrogate pair; only tabs and line ends may be in a text"
    return ""


def field(name: str, value: str) -> bytes:
    """A header whose value is text, folded, with its line end. Raises ValueError for what `line_problem` refuses."""
    value = value.strip(" ")
    _insist(value)
    if value.isascii() and "=?" not in value:
        line = f"{name}: {value}"
        if len(line) <= LINE:
            return line.encode() + b"\r\n"
        folded = _folded(line)
        if max(map(len, folded)) <= LONGEST:
            return "\r\n".join(folded).encode() + b"\r\n"
    encoded = Header(value, "utf-8", maxlinelen=LINE, header_name=name).encode(linesep="\r\n")
    return f"{name}: {encoded}\r\n".encode()


def _folded(line: str) -> list[str]:
    """The name of the header and a first word stay together: some read a first line without a value wrongly."""
    name, *words = _FOLDS.split(line)
    lines = [name + words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) > LINE:
            lines.append(word)
        else:
            lines[-1] += word
    return lines


def phrase(name: str) -> str:
    """A display name (RFC 5322 3.2.5): plain words, a quoted string, or encoded words (RFC 2047 5)."""
    _insist(name)
    ascii = name.isascii() and "=?" not in name
    if ascii and _PLAIN.fullmatch(name):
        return name
    if ascii:
        return '"' + name.replace("\\", r"\\").replace('"', r"\"") + '"'
    return Header(name, "utf-8", maxlinelen=LINE - 12).encode(linesep="\r\n")


def _insist(text: str) -> None:
    if not text.isprintable() and _BREAKING.search(text):  # no control character is printable
        raise ValueError("a control character on its way into a header")
