from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config.problems import ConfigError
from relay.config.reader import read


def data(text: str) -> object:
    document = read(text, "f", lambda value: value)
    assert document.problems == []
    return document.data


@pytest.mark.parametrize(
    "word", ["no", "on", "yes", "true", "12:30", "0777", "1e3", "2026-11-21", "1_000", ".inf", "="]
)
def test_no_word_is_anything_but_text(word: str) -> None:
    assert data(f"a: {word}\nb: [{word}]") == {"a": word, "b": [word]}


def test_null_and_nothing_differ() -> None:
    assert data("a:\nb: null\nc: ~\nd: 'null'\ne: ''\nf: [~, '']") == {
        "b": None,
        "c": None,
        "d": "null",
        "e": "",
        "f": [None, ""],
    }


def test_aliases_are_copies() -> None:
    document = read("a: &x {b: [c]}\nd: *x\n", "f", lambda value: value)
    assert document.data == {"a": {"b": ["c"]}, "d": {"b": ["c"]}}
    assert document.data["a"] is not document.data["d"]
    assert document.data["a"]["b"] is not document.data["d"]["b"]


def test_an_alias_to_what_is_around_it_is_an_alias_to_nothing() -> None:
    with pytest.raises(ConfigError, match="f:1:8: an alias to nothing"):
        read("a: &x [*x]", "f", lambda value: value)


def test_places() -> None:
    document = read("a:\n  - b: c\n    d: {e: f}\n", "f", lambda value: value)
    assert document.place(("a", 0, "d", "e"))[1:] == (3, 12)
    assert document.place(("a", 0, "d", "missing", "x"))[1:] == (3, 8)
    assert document.keys["a", 0, "d"][1:] == (3, 5)


@given(st.text(alphabet=st.sampled_from("ab:-[]{}*&!|>'\"#,?%@`$~\\ \t\n01"), max_size=60))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        read(text, "f", lambda value: value)
    except ConfigError as error:
        assert all(problem.line > 0 and problem.column > 0 for problem in error.problems)
