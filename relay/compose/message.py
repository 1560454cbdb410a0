"""From a draft to a message: its sender, its recipients, its headers, its bytes in wire form.

Called by the API once for a message, at acceptance. It never stores or sends, and Bcc is in the envelope only (E7).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct, field

from relay.compose import mailboxes
from relay.compose.draft import Draft
from relay.compose.mailboxes import Mailbox
from relay.compose.mime import Encoded, Piece, is_plain, plain, tree
from relay.compose.senders import House, UnknownIdentity, sender_of
from relay.compose.words import field as text_field
from relay.model import Envelope, Identity, MessageId, Recipient
from relay.smtp.headers import HEAD, date_header, mailbox, message_id_header, received_line, scan


class Unfit(Struct, frozen=True, kw_only=True):
    """Why a draft makes no message: the field, and what is wrong with it. `too_large`: that is all there is to it."""

    field: str
    problem: str
    too_large: bool = False


class Composed(Struct, frozen=True, kw_only=True):
    """A message but for where it came from. `message_id`: with its angle brackets. `size`: of `pieces`, unstuffed.

    `headers`: lower-case names to values, of those that routes match on.
    """

    message_id: str
    envelope: Envelope
    prefix: bytes
    pieces: tuple[Piece, ...]
    size: int
    headers: Mapping[str, str] = field(default_factory=dict)

    def wire(self) -> Iterator[bytes]:
        """The body in wire form, in pieces. A line of base64 never begins with a dot, a piece never in mid-line."""
        for piece in self.pieces:
            if isinstance(piece, Encoded):
                yield from piece.pieces()
            else:
                yield piece.replace(b"\r\n.", b"\r\n..") if b"\r\n." in piece else piece


def compose(draft: Draft, house: House, *, id: MessageId, client: str, now: float, at: float = 0.0) -> Composed | Unfit:
    """`client`: who asked, an IP address or "unix". `at`: when it is to be sent, 0: now."""
    unfit = _unfit(draft, house)
    if unfit:
        return unfit
    try:
        identity = sender_of(house, draft.identity)
    except UnknownIdentity as unknown:
        return Unfit(field="identity", problem=unknown.problem)  # a template may have made it of a secret
    sender = draft.sender or Mailbox(identity.address, identity.name)
    head = _head(draft, sender, _reply_to(draft, identity), house, id, max(now, at))
    pieces = _content(draft, id, head)
    size = sum(map(len, pieces))
    if size > house.max_message_size:
        problem = f"the message has {size} bytes, {house.max_message_size} are allowed"
        return Unfit(field="attachments", problem=problem, too_large=True)
    return Composed(
        message_id=_message_id(id, house),
        envelope=_envelope(sender, draft, head),
        prefix=_received(draft, house, id, client, now),
        pieces=pieces,
        size=size,
        headers=scan(head[:HEAD], house.wanted).values if house.wanted else {},
    )


def _unfit(draft: Draft, house: House) -> Unfit | None:
    count = len(_addresses(draft))
    if not count:
        return Unfit(field="to", problem="nobody gets this mail; name somebody in to, cc or bcc")
    if count > house.max_recipients:
        return Unfit(field="to", problem=f"{count} recipients; {house.max_recipients} are allowed, send several mails")
    if draft.text is None and draft.html is None and not draft.attachments:
        return Unfit(field="text", problem="the mail is empty; give text, html or attachments")
    if draft.sender is not None and draft.identity:
        return Unfit(field="identity", problem="says who the mail is from, and so does from; give one of them")
    return None


def _addresses(draft: Draft) -> dict[str, None]:
    """Everybody who gets it, each once (Message.envelope: unique by address, in the order given)."""
    return dict.fromkeys([mailbox.address for mailbox in (*draft.to, *draft.cc, *draft.bcc)])


def _reply_to(draft: Draft, identity: Identity) -> bytes:
    """What the draft says; else that of the identity, if the mail is from that one."""
    if draft.reply_to:
        return mailboxes.field("Reply-To", draft.reply_to)
    if draft.sender is not None or not identity.reply_to:
        return b""
    return b"Reply-To: " + mailbox(identity.reply_to) + b"\r\n"  # as in mail that was written elsewhere


def _head(draft: Draft, sender: Mailbox, reply_to: bytes, house: House, id: MessageId, at: float) -> bytes:
    return b"".join(
        (
            mailboxes.field("From", [sender]),
            _to(draft),
            mailboxes.field("Cc", draft.cc) if draft.cc else b"",
            reply_to,
            text_field("Subject", draft.subject) if draft.subject else b"",
            date_header(at),
            message_id_header(id, house.hostname),
            *[text_field(name, value) for name, value in draft.headers],
        )
    )


def _to(draft: Draft) -> bytes:
    """Of mail to secret recipients only it says that there are some: filters distrust mail to nobody."""
    if draft.to:
        return mailboxes.field("To", draft.to)
    return b"" if draft.cc else b"To: undisclosed-recipients:;\r\n"


def _content(draft: Draft, id: MessageId, head: bytes) -> tuple[Piece, ...]:
    boundary = f"=_{id}"
    if is_plain(draft) and boundary not in (draft.text or "") and boundary not in (draft.html or ""):
        return (head + plain(draft, boundary),)
    return (head, *tree(draft))


def _message_id(id: MessageId, house: House) -> str:
    return message_id_header(id, house.hostname).decode().partition(": ")[2].rstrip()


def _envelope(sender: Mailbox, draft: Draft, head: bytes) -> Envelope:
    addresses = _addresses(draft)
    eight_bit = not head.isascii()  # only addresses are left as they are, everything else is encoded
    return Envelope(
        sender=sender.address,
        recipients=tuple([Recipient(address=address) for address in addresses]),
        eight_bit=eight_bit,
        utf8=eight_bit or not all(map(str.isascii, addresses)),
    )


def _received(draft: Draft, house: House, id: MessageId, client: str, now: float) -> bytes:
    """Our trace line. It names a single recipient, unless that is a secret one."""
    return received_line(
        helo=host_of(client),
        client=client,
        hostname=house.hostname,
        protocol="HTTP",
        id=id,
        recipient=_single((*draft.to, *draft.cc)) if not draft.bcc else "",
        now=now,
    )


def host_of(client: str) -> str:
    """What stands for the HELO name that nobody said."""
    if client == "unix":
        return "localhost"
    return f"[IPv6:{client}]" if ":" in client else f"[{client}]"


def _single(mailboxes: Iterable[Mailbox]) -> str:
    addresses = {mailbox.address for mailbox in mailboxes}
    return addresses.pop() if len(addresses) == 1 else ""
