"""Message ids: they grow, they sort as their numbers do, and they can be typed by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.spool.ids import EPOCH, LARGEST, SEQUENCE_BITS, IdSource, decode, encode, find

NUMBERS = st.integers(0, LARGEST)


@given(NUMBERS)
def test_an_id_is_thirteen_characters_and_comes_back(number: int) -> None:
    text = encode(number)
    assert len(text) == 13 and text == text.lower()
    assert decode(text) == decode(text.upper()) == number


@given(NUMBERS, NUMBERS)
def test_ids_sort_as_their_numbers(one: int, other: int) -> None:
    assert (encode(one) < encode(other)) == (one < other)


def test_letters_that_look_like_digits_are_read_as_digits() -> None:
    assert decode("OOOOOOOOOOOIL") == decode("0000000000011") == 33


@pytest.mark.parametrize("text", ["", "0", "0" * 12, "0" * 14, "u" * 13, "z" * 13, "-" * 13, "0" * 12 + " ", "é" * 13])
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="not a message id"):
        decode(text)
    assert find(text) is None


@given(st.lists(st.floats(EPOCH, EPOCH + 4e9), max_size=50), NUMBERS.map(lambda n: n >> 1))
def test_each_is_larger_than_the_last_whatever_the_clock(times: list[float], last: int) -> None:
    source = IdSource(last)
    found = [source.next(now) for now in times]
    assert all(a < b for a, b in zip([last, *found], found, strict=False))
    assert all(number <= LARGEST for number in found)


def test_an_id_tells_its_millisecond() -> None:
    source = IdSource(start=lambda bits: 5)
    now = EPOCH + 1234.5
    first, second = source.next(now), source.next(now)
    assert first >> SEQUENCE_BITS == 1234500
    assert (first & (1 << SEQUENCE_BITS) - 1, second - first) == (5, 1)


def test_the_sequence_starts_low_enough_for_a_millisecond() -> None:
    asked: list[int] = []
    IdSource(start=lambda bits: asked.append(bits) or 0).next(EPOCH + 1)  # type: ignore[func-returns-value]
    assert asked == [SEQUENCE_BITS - 1]
