"""From an action to what the sandbox is asked, and from what that answers to a draft of a mail.

Called by `firing`. Pure. What was rendered is judged here as strictly as a field of a request is, since it is made of
what somebody else said: it never becomes a header, a recipient or a file name as it comes (hazard H1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from mimetypes import guess_type

from relay.automation.jobs import Job, Place, Problem, Text
from relay.compose import draft as drafts
from relay.compose import mailboxes
from relay.compose.draft import Attachment, Draft
from relay.compose.mailboxes import Mailbox
from relay.compose.words import line_problem, text_problem
from relay.model import Action, Enclosure

LONGEST = 998
"""Characters of a subject, as for mail that a program asks for itself."""
_MOST_NAME = 255
_MARKUP = (".html", ".htm", ".xhtml", ".svg", ".xml")
_MARKUP_KINDS = ("/html", "/xml", "+xml")
_WHITE = " \t\r\n"  # what YAML and template blocks leave at the ends of a line
_CHARSET = re.compile(r"; ?charset=(.+)", re.IGNORECASE)

Values = Mapping[Place, str]


class _Unusable(Exception):
    """What was rendered for one place cannot be used; never leaves this module."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(place=place, text=text)


def job(action: Action, number: int) -> Job:
    """`number`: of the action in its rule, from 0. Places are from the root of the rule."""
    at: Place = ("actions", number, "data")
    mail = action.mail
    lists = (("to", mail.to), ("cc", mail.cc), ("bcc", mail.bcc))
    lines = (
        ("from", mail.sender),
        ("reply_to", mail.reply_to),
        ("identity", mail.identity),
        ("subject", mail.subject),
    )
    texts = [Text(place=place, source=source) for name, sources in lists for place, source in _each(at, name, sources)]
    texts += [Text(place=(*at, name), source=source) for name, source in lines if source]
    if mail.text is not None:
        texts.append(Text(place=(*at, "body"), source=mail.text))
    if mail.html is not None:
        texts.append(Text(place=(*at, "html"), source=mail.html, html=True))
    texts += [text for position, one in enumerate(mail.attachments) for text in _enclosed(at, position, one)]
    return Job(condition=action.condition, texts=tuple(texts))


def _each(at: Place, name: str, sources: Sequence[str]) -> list[tuple[Place, str]]:
    """One alone is most often written without a list."""
    if len(sources) == 1:
        return [((*at, name), sources[0])]
    return [((*at, name, position), source) for position, source in enumerate(sources)]


def _enclosed(at: Place, position: int, one: Enclosure) -> list[Text]:
    """What goes into a file of markup is escaped as in a mail: people open both."""
    here: Place = (*at, "attachments", position)
    kind, named = one.content_type.partition(";")[0].strip().lower(), one.filename.lower().endswith(_MARKUP)
    html = not one.base64 and (kind.endswith(_MARKUP_KINDS) if kind else named)
    texts = [
        Text(place=(*here, "filename"), source=one.filename),
        Text(place=(*here, _content(one)), source=one.content, html=html),
    ]
    return [*texts, Text(place=(*here, "content_type"), source=one.content_type)] if one.content_type else texts


def _content(one: Enclosure) -> str:
    return "content_base64" if one.base64 else "content"


def draft(action: Action, number: int, asked: Job, values: Sequence[str]) -> Draft | Problem:
    """`asked`: what `job` made of the action; `values`: of its texts, in order."""
    rendered = dict(zip([text.place for text in asked.texts], values, strict=True))
    try:
        return _draft(action, ("actions", number, "data"), rendered)
    except _Unusable as unusable:
        return unusable.problem


def place(found: Draft, field: str, number: int) -> Place:
    """Where a field of a draft stands in the rule, for what is said of a mail as a whole."""
    large = "attachments" if found.attachments else "body" if found.text is not None else "html"
    names = {"text": "body", "sender": "from", "attachments": large}
    return ("actions", number, "data", names.get(field, field))


def _draft(action: Action, at: Place, values: Values) -> Draft:
    mail = action.mail
    sender, reply_to = (_optional(values, (*at, name)) for name in ("from", "reply_to"))
    return Draft(
        to=tuple([_mailbox(place, values[place]) for place, _ in _each(at, "to", mail.to)]),
        cc=_others(values, [place for place, _ in _each(at, "cc", mail.cc)]),
        bcc=_others(values, [place for place, _ in _each(at, "bcc", mail.bcc)]),
        sender=sender,
        reply_to=(reply_to,) if reply_to else (),
        identity=_line(values, (*at, "identity"), LONGEST),
        subject=_subject(values, (*at, "subject")),
        text=_text(values, (*at, "body")),
        html=_text(values, (*at, "html")),
        attachments=tuple([_attachment(values, at, *one) for one in enumerate(mail.attachments)]),
    )


def _mailbox(place: Place, value: str) -> Mailbox:
    text = value.strip(_WHITE)
    if not text:
        raise _Unusable(place, "is empty; it must be one mailbox, such as user@example.com")
    if len(text) > mailboxes.MOST:
        raise _Unusable(place, f"has more than {mailboxes.MOST} characters")
    found = mailboxes.parse(text)
    if isinstance(found, Mailbox):
        return found
    several = text.count("@") > 1 and ("," in text or ";" in text) and not line_problem(text)
    raise _Unusable(place, "is more than one mailbox; write a list, with one mailbox each" if several else found)


def _others(values: Values, places: Iterable[Place]) -> tuple[Mailbox, ...]:
    """Who is not there need not be written to."""
    return tuple([found for place in places if (found := _optional(values, place))])


def _optional(values: Values, place: Place) -> Mailbox | None:
    value = values.get(place, "")
    return _mailbox(place, value) if value.strip(_WHITE) else None


def _line(values: Values, place: Place, most: int) -> str:
    text = values.get(place, "").strip(_WHITE)
    if len(text) > most:
        raise _Unusable(place, f"has more than {most} characters")
    _judge(place, text, line_problem)
    return text


def _subject(values: Values, place: Place) -> str:
    text = _line(values, place, LONGEST)
    if not text:
        raise _Unusable(place, "is empty; write what the mail is about")
    return text


def _text(values: Values, place: Place) -> str | None:
    if place not in values:
        return None
    _judge(place, values[place], text_problem)
    return values[place]


def _judge(place: Place, text: str, problem_of: Callable[[str], str]) -> None:
    why = problem_of(text)
    if why:
        raise _Unusable(place, why)


def _attachment(values: Values, at: Place, position: int, one: Enclosure) -> Attachment:
    here: Place = (*at, "attachments", position)
    filename = _line(values, (*here, "filename"), _MOST_NAME)
    _judge((*here, "filename"), filename, drafts.filename_problem)
    kind = _line(values, (*here, "content_type"), LONGEST)
    if kind:
        _judge((*here, "content_type"), kind, drafts.content_type_problem)
    kind = kind or _kind_of(filename)
    where: Place = (*here, _content(one))
    if one.base64:
        content = _decoded(where, values[where])
    else:
        content, kind = _encoded(where, values[where]), _written(kind, (*here, "content_type"))
    return Attachment(filename=filename, content=content, content_type=kind)


def _decoded(place: Place, content: str) -> bytes:
    found = drafts.from_base64("".join(content.split()))
    if found is None:
        raise _Unusable(place, drafts.NO_BASE64)
    return found


def _encoded(place: Place, content: str) -> bytes:
    try:
        return content.encode()
    except UnicodeEncodeError:
        raise _Unusable(place, "has half a surrogate pair; write whole characters") from None


def _kind_of(filename: str) -> str:
    kind, packed = guess_type(filename)
    return kind if kind and not packed and not drafts.content_type_problem(kind) else drafts.OCTETS


def _written(kind: str, place: Place) -> str:
    """The media type of what was written as text, which is in UTF-8: unless it says so, text/* is read as ASCII."""
    charset = _CHARSET.search(kind)
    if charset and charset[1].lower() not in ("utf-8", "utf8"):
        raise _Unusable(place, "names another charset than utf-8, in which content is sent; leave the charset out")
    return kind if charset or not kind.lower().startswith("text/") else f"{kind}; charset=utf-8"
