"""A route or an identity that rewrites From and Reply-To changes these two fields of real and hostile mail, and not a
byte beside.
"""

from __future__ import annotations

import re

import pytest
from mail import hostile
from mail.delivery import MAKE
from mail.samples import Sample, as_sent, corpus, normalized, on_the_wire
from mail.wire import Client, send_all, upstream
from relay_process import provider
from waiting import until

pytestmark = pytest.mark.timeout(180)  # on a machine that is busy with the other tests
REWRITE = {"header_from": "Billing <billing@example.com>", "reply_to": "help@example.com"}
IDENTITY = {"address": "billing@example.com", "name": "Billing", "reply_to": "help@example.com"}
OURS = [b"From: Billing <billing@example.com>", b"Reply-To: help@example.com"]
TOO_LONG = 262_144
"""A header section in a file that is longer cannot be rewritten: the mail is bounced with 5.6.0."""


def parts(content: bytes) -> tuple[list[bytes], bytes]:
    """The fields before the first blank line but From and Reply-To, with their folded lines, and the text."""
    head, _, text = (b"\r\n" + content).partition(b"\r\n\r\n")
    fields = re.split(rb"\r\n(?![ \t])", head.removeprefix(b"\r\n"))
    return [field for field in fields if field and not re.match(rb"(?i)(?:from|reply-to)[ \t]*:", field)], text


def unstuffed(wire: bytes) -> bytes:
    return (b"\r\n" + wire).replace(b"\r\n.", b"\r\n")[2:]


@pytest.mark.slow
@pytest.mark.parametrize("by", ["route", "identity"])
def test_E5_rewriting_leaves_everything_else(relay: MAKE, by: str) -> None:
    made = [Sample(each.name, normalized(each.content)) for each in hostile.small() if not each.refused]
    samples = [sample for sample in [*map(as_sent, corpus("cpython") + corpus("flufl.bounce")), *made] if fits(sample)]
    with upstream() as keeper:
        one = relay(providers=[provider("keeper", keeper.port)])
        if by == "route":
            one.config["routes"] = [{"match": {}, "rewrite": REWRITE}]
        else:
            one.config["identities"] = {"invoices": IDENTITY}
            one.config["listeners"][0]["identity"] = "invoices"
        one.start()
        send_all(lambda: Client(one.smtp_port), samples)
        until(lambda: len(keeper.kept) >= len(samples), 30, f"{len(samples)} mails went out")
        until(lambda: one.queue() == [], 10, "nothing waits")
    assert set(keeper.kept) == {sample.recipient for sample in samples}
    faults = [wrong for sample in samples for wire in keeper.kept[sample.recipient] if (wrong := beside(sample, wire))]
    assert faults == []


def fits(sample: Sample) -> bool:
    return len(sample.content.partition(b"\r\n\r\n")[0]) < TOO_LONG - 1000


def test_a_header_too_long_to_be_rewritten_is_bounced(relay: MAKE) -> None:
    [sample] = [each for each in hostile.small() if each.name == "head.1mb-field"]
    with upstream() as keeper:
        one = relay(providers=[provider("keeper", keeper.port)], routes=[{"match": {}, "rewrite": REWRITE}])
        one.start()
        send_all(lambda: Client(one.smtp_port), [sample])
        until(lambda: keeper.kept, 20, "a bounce goes out")
        until(lambda: one.queue() == [], 10, "nothing waits")
    assert list(keeper.kept) == ["app@client.test"]
    assert b"\r\nStatus: 5.6.0\r\n" in keeper.kept["app@client.test"][0]


def test_the_name_of_an_identity_never_goes_out(relay: MAKE) -> None:
    text = b"".join(b"%07d\r\n" % number for number in range(60_000))
    fields = (
        b"x-relay-identity:\r\n\tinvoices\r\nSubject: x\r\nFrom: app@client.test\r\nX-Relay-Identity: again\r\n\r\n"
    )
    samples = [normalized_sample("small", fields + b"Hello.\r\n"), normalized_sample("large", fields + text)]
    with upstream() as keeper:
        one = relay(providers=[provider("keeper", keeper.port)])
        one.config["identities"] = {"invoices": IDENTITY}
        one.start()
        replies = send_all(lambda: Client(one.smtp_port), samples)
        unknown = Sample("unknown", b"X-Relay-Identity: invoice\r\n\r\nx\r\n")
        refused = send_all(lambda: Client(one.smtp_port), [unknown])["unknown"]
        until(lambda: len(keeper.kept) == 2, 20, "both mails went out")
    assert all(reply.startswith("250 ") for reply in replies.values())
    assert refused == "554 5.6.0 identity 'invoice' is not one of: invoices"
    for sample in samples:
        [wire] = keeper.kept[sample.recipient]
        head, _, rest = wire.partition(b"\r\n\r\n")
        assert b"identity" not in head.lower()
        assert head.endswith(b"\r\nSubject: x\r\n" + OURS[0]) and OURS[1] in head
        assert rest == sample.content.partition(b"\r\n\r\n")[2]


def normalized_sample(name: str, content: bytes) -> Sample:
    return Sample(name, normalized(content))


def beside(sample: Sample, wire: bytes) -> str:
    """What is wrong beside the two fields, or ""."""
    content = unstuffed(wire)
    if on_the_wire(content) != wire:
        return f"{sample.name}: dots"
    head = (b"\r\n" + content).partition(b"\r\n\r\n")[0]
    if sorted(line for line in head.split(b"\r\n") if re.match(rb"(?i)from:|reply-to:", line)) != OURS:
        return f"{sample.name}: not once each: {head[:400]!r}"
    if headerless(sample.content):
        return "" if content.endswith(b"\r\n\r\n" + sample.content) else f"{sample.name}: a text without header"
    fields, text = parts(sample.content)
    passed_fields, passed_text = parts(content)
    at = len(passed_fields) - len(fields)
    return "" if (passed_fields[at:], passed_text) == (fields, text) else f"{sample.name}: {passed_fields[:6]!r}"


def headerless(content: bytes) -> bool:
    first = content.partition(b"\r\n")[0]
    return bool(first) and not re.match(rb"[!-9;-~]+[ \t]*:|>?From ", first)
