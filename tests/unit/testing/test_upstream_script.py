"""Scripts: turns, connections, recipients; YAML; and mistakes told with their place."""

from __future__ import annotations

import pytest
from talking import before, talk

from relay.testing.upstream import Close, Do, Raw, Say, Script, ScriptedUpstream, ScriptError, read_script

EVERYTHING = """
tls: starttls
certificate: expired
offers: [PIPELINING]
auth: [PLAIN, LOGIN]
delay: 200ms
too_slow: 5
phases:
  mail: [421, null, 450 4.2.0 later]
  body@50%: 4xx
connections:
  - {dot: vanish}
  - {}
  - later-rcpt: {do: slow, seconds: 2s}
    rset: {raw: "\\x00\\xff", pause: 0.1, granted: true}
    quit: {close: 421 bye, reset: true}
recipients:
  "*@bad.example": 550 5.1.1 unknown
"""


def test_yaml_and_python_mean_the_same() -> None:
    assert read_script(EVERYTHING) == Script(
        phases={"mail": ["421", None, "450 4.2.0 later"], "body@50%": "4xx"},
        connections=[
            {"dot": Do("vanish")},
            {},
            {
                "later-rcpt": Do("slow", 2.0),
                "rset": Raw(b"\0\xff", 0.1, granted=True),
                "quit": Close(b"421 bye\r\n", reset=True),
            },
        ],
        recipients={"*@bad.example": Say(550, "5.1.1 unknown")},
        offers=("PIPELINING",),
        auth=("PLAIN", "LOGIN"),
        tls="starttls",
        certificate="expired",
        delay=0.2,
        too_slow=5.0,
    )
    assert read_script("") == Script()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("phases: {mial: 421}", "s.yaml:1:10: no such phase, did you mean 'mail'?; there are: connect banner"),
        ("phases:\n  mail: [null, vansih]", "s.yaml:2:16: no such action: 'vansih', did you mean 'vanish'?; write"),
        ("connections:\n- {}\n- {rcpt: 42}", "s.yaml:3:10: no such action: '42'"),
        ("connections: {mail: 421}", "s.yaml:1:14: connections must be a list"),
        ("connections: [421]", "s.yaml:1:15: connections[0] must be a mapping"),
        ("recipients: {a@b: no}", "s.yaml:1:19: no such action: 'no'"),
        ("tsl: none", "s.yaml:1:1: unknown key 'tsl', did you mean 'tls'?"),
        ("tls: ssl", "s.yaml:1:6: must be none or starttls or implicit, not 'ssl', did you mean 'implicit'?"),
        ("delay: soon", "s.yaml:1:8: delay must be seconds, as 0.5, 2s or 200ms"),
        ("phases: {mail@5: fin}", "s.yaml:1:18: only body has a place in it"),
        ("phases: {body@half: fin}", "s.yaml:1:21: only body has a place in it"),
        ("phases: {body: fin, body@5: rst}", 's.yaml:1:9: only one "body" may be scripted here'),
        ("phases: {dot: {say: 1}}", "s.yaml:1:15: write {do: NAME, seconds: 2}"),
        ("phases: {dot: {do: slwo}}", "s.yaml:1:20: no such action: 'slwo', did you mean 'slow'?"),
        ("phases: {dot: {raw: x, granted: maybe}}", "s.yaml:1:33: granted must be true or false"),
        ("phases: [a", "s.yaml:2:1: a bracket or brace is not closed"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(ScriptError) as error:
        read_script(text, "s.yaml")
    assert str(error.value).startswith(problem)


def test_all_mistakes_are_told_also_in_python() -> None:
    with pytest.raises(ScriptError) as error:
        Script({"mial": "421"}, connections=[{}, {"rcpt": ["no"]}], tls="maybe")
    places = [line.split(":")[0] for line in str(error.value).splitlines()]
    assert places == ["phases.mial", "connections[1].rcpt[0]", "tls"]


async def test_connections_go_before_what_is_said_for_all() -> None:
    script = Script({"banner": ["554 a", "554 b", "554 c"]}, connections=[{"banner": "220 own"}, {}])
    async with ScriptedUpstream(script) as upstream:
        heard = [(await talk(upstream, b"QUIT\r\n"))[0].partition(b"\r\n")[0] for _ in range(4)]
    assert heard == [b"220 own", b"554 b", b"554 c", b"220 scripted ESMTP"]


async def test_recipients_by_address_and_phases_by_turn() -> None:
    rcpts = b"".join(b"RCPT TO:<%s>\r\n" % to for to in (b"a@x", b"b@bad.x", b"c@bad.x> NOTIFY=<NEVER", b"d@x"))
    recipients = {"c@*": "450 4.2.0 c", "*@bad.x": "550 5.1.1 bad"}
    async with ScriptedUpstream(Script({"later-rcpt": [None, None, "452 4.5.3 d"]}, recipients=recipients)) as upstream:
        heard, _ = await talk(upstream, b"MAIL FROM:<>\r\n" + rcpts + b"DATA\r\n.\r\nQUIT\r\n")
        codes = [line[:3] for line in heard.splitlines()]
        assert codes == [b"220", b"250", b"250", b"550", b"450", b"452", b"354", b"250", b"221"]
        [mail] = upstream.received
        assert (mail.sender, mail.recipients, mail.content) == ("", ("a@x",), b"")


async def test_the_order_of_commands_is_all_that_is_checked() -> None:
    async with ScriptedUpstream(offers=(), auth=("PLAIN",)) as upstream:
        speech = b"EHLO x\r\nRCPT TO:<c@d>\r\nDATA\r\nMAIL FROM:<a@b>\r\nDATA\r\nEXPN x\r\nQUIT\r\n"
        heard, end = await talk(upstream, speech)
        codes = [line[:3] for line in heard.removeprefix(before("auth")).splitlines()]
        assert (codes, end) == ([b"503", b"503", b"250", b"554", b"500", b"221"], "fin")
