"""The same mails by TLS and AUTH through the relay into a real Postfix, and by the programs people send with."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable

import pytest
from certificates import Certificate
from clients import Door, msmtp, queued_id, send, swaks
from integration.test_postfix_upstream import secured
from mail import hostile
from mail.delivery import MAKE
from mail.samples import Sample, as_sent, corpus, fault, normalized, on_the_wire
from mail.wire import Client, Upstream, send_all, upstream
from postfix import Postfix
from relay_process import Relay, provider
from waiting import until

pytestmark = pytest.mark.timeout(180)  # on a machine that is busy with the other tests
FIELD = re.compile(rb"([!-9;-~]+):|[ \t]")
DROPPED = {b"bcc", b"content-length", b"resent-bcc", b"return-path"}
"""What Postfix takes out of a header (message_drop_headers)."""


def edited_by_postfix(sample: Sample) -> bool:
    """Postfix mends headers: a line that is none ends them; NULs, space before colons and what exceeds 100 KB go."""
    head = sample.content.partition(b"\r\n\r\n")[0].removesuffix(b"\r\n")
    fields = [FIELD.match(line) for line in head.split(b"\r\n") if line]
    if b"\0" in head or len(head) > 100_000:
        return True
    return any(field is None or (field[1] or b"").lower() in DROPPED for field in fields)


def into_postfix() -> list[Sample]:
    made = [
        Sample(sample.name, normalized(sample.content), sample.parameters)
        for sample in hostile.small()
        if not sample.refused and not sample.piece and sample.name != "received.49"  # with ours too many for Postfix
    ]
    return [*map(as_sent, [*corpus("cpython"), *corpus("flufl.bounce")]), *made]


@pytest.mark.slow
def test_mail_by_tls_and_auth_into_a_real_postfix(
    relay: MAKE, postfix: Callable[..., Postfix], certificate: Certificate
) -> None:
    """Slow: Postfix delivers some 300 mails. Of those whose header it edits the text is compared alone."""
    server = postfix(auth=True)
    one = relay(providers=[secured(server, certificate)])
    one.config["listeners"][0] |= {"tls": "starttls", "auth": "required"}
    one.config["listeners"][0] |= {"cert": str(certificate.cert), "key": str(certificate.key)}
    one.config["users"] = [{"name": "crm", "password": "right"}]
    one.start()

    def connect() -> Client:
        client = Client(one.smtp_port, certificate.ca)
        client.login(b64encode(b"\0crm\0right"))
        return client

    samples = into_postfix()
    replies = send_all(connect, samples)
    until(lambda: len(server.delivered()) >= len(samples), 60, f"{len(samples)} mails are delivered")
    delivered = {mail.recipient: mail.content.replace(b"\n", b"\r\n") for mail in server.delivered()}
    assert set(delivered) == {sample.recipient for sample in samples}
    compared = 0
    for sample in samples:
        content = delivered[sample.recipient]
        if edited_by_postfix(sample):
            assert content.endswith(sample.content.partition(b"\r\n\r\n")[2]), sample.name
        else:
            wrong = fault(sample, on_the_wire(content), queued_id(replies[sample.name]))
            assert not wrong, f"{sample.name}: {wrong}"
            compared += 1
    assert compared > 140


def by_swaks(one: Relay, sample: Sample) -> str:
    file = one.folder / sample.name
    file.write_bytes(sample.content)
    done = swaks(one.door, [sample.recipient], "--data", f"@{file}")
    assert done.returncode == 0, done.stdout + done.stderr
    return queued_id(done.stdout)


def by_msmtp(one: Relay, sample: Sample) -> str:
    done = msmtp(Door(port=one.smtp_port), [sample.recipient], sample.content.decode().replace("\r\n", "\n"))
    assert done.returncode == 0, done.stdout + done.stderr
    return queued_id(done.stdout + done.stderr)


def by_smtplib(one: Relay, sample: Sample) -> str:
    return send(one.door, [sample.recipient], sample.content)


def complete(mail: Sample) -> bool:
    """Nothing is missing that msmtp would add, and no mbox line there that swaks would take off."""
    head = mail.content.partition(b"\n\n")[0].lower()
    there = all(re.search(rb"^%s:.*[@0]" % name, head, re.MULTILINE) for name in (b"from", b"date", b"message-id"))
    return there and mail.content.isascii() and not head.startswith(b"from ")


@pytest.fixture
def keeper() -> Upstream:
    with upstream() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("client", [by_swaks, by_msmtp, by_smtplib])
def test_mail_by_the_programs_people_send_with(
    relay: MAKE, keeper: Upstream, client: Callable[[Relay, Sample], str]
) -> None:
    """Slow: a process for each. What a program itself does to the end of a text is not ours, nor what it adds."""
    one = relay(providers=[provider("keeper", keeper.port)]).start()
    mails = [as_sent(mail) for mail in [*corpus("cpython"), *corpus("flufl.bounce")[::20]] if complete(mail)]
    ids = {mail.name: client(one, mail) for mail in mails}
    until(lambda: len(keeper.kept) >= len(mails), 20, "all went out")
    assert len(mails) > 15
    for mail in mails:
        [wire] = keeper.kept[mail.recipient]
        trimmed = Sample(mail.name, mail.content.rstrip())
        wrong = fault(trimmed, wire.rstrip() + b"\r\n", ids[mail.name])
        assert not wrong, f"{mail.name}: {wrong}"
