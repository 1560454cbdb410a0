"""What goes in comes out: real and hostile mail through the relay's real process, compared byte for byte."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mail import hostile
from mail.delivery import MAKE, deliver
from mail.samples import Sample, as_sent, corpus, has_bare_breaks

pytestmark = pytest.mark.timeout(180)  # on a machine that is busy with the other tests
BARE = "550 5.5.2 "


def real() -> list[Sample]:
    mails = corpus("cpython") + corpus("flufl.bounce")
    assert len(mails) == 165
    return mails


def judged_by_line_ends(samples: list[Sample]) -> list[Sample]:
    """The same for a listener that rejects bare line ends."""
    return [
        replace(sample, refused=BARE) if has_bare_breaks(sample.content) and not sample.refused else sample
        for sample in samples
    ]


@pytest.mark.slow
def test_real_mail(relay: MAKE) -> None:
    """Each of the corpora as it is, with bare LF, and as a client sends it."""
    mails = real()
    deliver(relay, [*mails, *map(as_sent, mails)])


@pytest.mark.slow
def test_A3_real_mail_where_bare_line_ends_are_rejected(relay: MAKE) -> None:
    mails = real()
    samples = judged_by_line_ends([*mails, *map(as_sent, mails)])
    assert sum(bool(sample.refused) for sample in samples) == 164, "one file has CRLF, and so has every mail as sent"
    deliver(relay, samples, line_endings="reject")


@pytest.mark.slow
def test_E6_D7_hostile_mail(relay: MAKE) -> None:
    deliver(relay, list(hostile.small()))


@pytest.mark.slow
def test_A3_hostile_mail_where_bare_line_ends_are_rejected(relay: MAKE) -> None:
    deliver(relay, judged_by_line_ends(list(hostile.small())), line_endings="reject")


@pytest.mark.slow
def test_A2_E5_every_short_text_of_line_ends_and_dots(relay: MAKE) -> None:
    deliver(relay, list(hostile.tiny()))


@pytest.mark.slow
def test_A2_E5_line_ends_and_dots_at_the_borders_of_buffers(relay: MAKE) -> None:
    deliver(relay, list(hostile.borders()))


@pytest.mark.slow
def test_D6_40_mb(relay: MAKE) -> None:
    deliver(relay, list(hostile.large()), connections=3)
