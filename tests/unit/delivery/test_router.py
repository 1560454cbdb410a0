"""Routes: first match wins, per recipient; what is grouped; keys and lanes that stay the same."""

from __future__ import annotations

import pytest

from relay.delivery.router import BUCKETS, DEFAULT, Router
from relay.model import Match, Recipient, Rewrite, Route, Source

HERE = Source(kind="smtp", listener="internal", client="10.1.2.3", user="crm")


def to(*addresses: str) -> tuple[Recipient, ...]:
    return tuple(Recipient(address=address) for address in addresses)


def where(match: Match, *, sender: str = "a@example.com", recipient: str = "b@example.org", headers=None) -> bool:
    """Whether a route with this condition is taken."""
    router = Router([Route(match=match, providers=("special",))])
    ((path, _),) = router.groups(sender, to(recipient), HERE, headers or {})
    return path.providers == ("special",)


@pytest.mark.parametrize(
    ("match", "taken"),
    [
        (Match(), True),
        (Match(listener="internal"), True),
        (Match(listener="public"), False),
        (Match(user="crm"), True),
        (Match(user="shop"), False),
        (Match(client=("192.168.0.0/16", "10.0.0.0/8")), True),
        (Match(client=("192.168.0.0/16", "2001:db8::/32")), False),
        (Match(sender="*@example.com"), True),
        (Match(sender="*@EXAMPLE.com"), True),
        (Match(sender="example.com"), False),
        (Match(sender="*@example.org"), False),
        (Match(recipient="?@example.org"), True),
        (Match(recipient="c@*"), False),
        (Match(headers=(("x-app", "CRM"),)), True),
        (Match(headers=(("x-app", "shop*"),)), False),
        (Match(headers=(("x-other", "*"),)), False),
        (Match(headers=(("x-app", "*"),)), True),
        (Match(listener="internal", sender="*@example.com", recipient="c@*"), False),
    ],
)
def test_conditions(match: Match, taken: bool) -> None:
    assert where(match, headers={"x-app": "crm"}) is taken


@pytest.mark.parametrize(("glob", "taken"), [("<>", True), ("", True), ("*", True), ("*@*", False)])
def test_the_null_sender_is_written_as_it_is_on_the_wire(glob: str, taken: bool) -> None:
    assert where(Match(sender=glob), sender="") is taken


@pytest.mark.parametrize(
    ("client", "taken"), [("::ffff:10.0.0.1", True), ("unix", False), ("", False), ("x" * 99, False)]
)
def test_clients_that_are_not_plain_addresses(client: str, taken: bool) -> None:
    router = Router([Route(match=Match(client=("10.0.0.0/8",)), providers=("p",))])
    ((path, _),) = router.groups("a@x", to("b@y"), Source(kind="smtp", client=client), {})

    assert (path.providers == ("p",)) is taken


def test_the_first_match_wins_for_each_recipient() -> None:
    router = Router(
        [
            Route(match=Match(recipient="*@one.example"), providers=("one",)),
            Route(match=Match(recipient="*.example"), providers=("two",)),
            Route(match=Match(sender="nobody@*"), providers=("three",)),
        ]
    )
    groups = router.groups("a@x", to("a@one.example", "b@two.example", "c@three.org", "d@one.example"), HERE, {})

    assert [(path.providers, [r.address for r in who], path.rule) for path, who in groups] == [
        (("one",), ["a@one.example", "d@one.example"], 0),
        (("two",), ["b@two.example"], 1),
        ((), ["c@three.org"], None),
    ]


def test_recipients_with_the_same_providers_and_rewrite_share_a_group() -> None:
    router = Router(
        [
            Route(match=Match(recipient="a@*"), providers=("p",)),
            Route(match=Match(recipient="b@*"), providers=("p",)),
            Route(match=Match(recipient="c@*"), providers=("p",), rewrite=Rewrite(envelope_from="x@y")),
        ]
    )
    groups = router.groups("a@x", to("a@o", "b@o", "c@o"), HERE, {})

    assert [[r.address for r in who] for _, who in groups] == [["a@o", "b@o"], ["c@o"]]
    assert groups[1][0].rewrite == Rewrite(envelope_from="x@y")


def test_without_routes_everything_takes_the_default_path() -> None:
    recipients = to("a@o", "b@o")

    assert Router([]).groups("a@x", recipients, HERE, {}) == ((DEFAULT, recipients),)
    assert Router([]).header_names == frozenset()


def test_a_route_that_changes_nothing_is_the_default_lane() -> None:
    ((path, _),) = Router([Route()]).groups("a@x", to("b@o"), HERE, {})

    assert (path.key, path.rule) == ("default", 0)


def test_keys_are_stable_and_others_when_any_route_changes() -> None:
    """Or mail that a changed route leads elsewhere would stay in the lane of a provider that is out."""
    first, second = Route(match=Match(sender="a@*"), providers=("p",)), Route(providers=("p",))
    one, again = Router([first, second]), Router([first, second])
    changed = Router([Route(match=Match(sender="a@*"), providers=("q",)), second])

    assert set(one.paths) == set(again.paths)
    assert set(one.paths) & set(changed.paths) == {"default"}
    assert all(len(key) == 8 for key in one.paths if key != "default")


def test_a_lane_is_route_and_source_and_stays_the_same() -> None:
    key, bucket = DEFAULT.lane(HERE).split(":")

    assert (key, bucket) == ("default", "934")  # stored in spools: a change would strand what lies there
    assert len({DEFAULT.lane(Source(kind="smtp", client=f"10.0.{n // 256}.{n % 256}")) for n in range(9000)}) <= BUCKETS


def test_header_names_are_all_that_routes_look_at() -> None:
    router = Router([Route(match=Match(headers=(("X-App", "crm"), ("list-id", "*"))))])

    assert router.header_names == {"x-app", "list-id"}


def test_a_question_takes_for_granted_what_it_does_not_say() -> None:
    match = Match(listener="public", recipient="*@one.example", headers=(("x-app", "crm"),), client=("10.0.0.0/8",))
    router = Router([Route(match=match, providers=("p",))])

    path, assumed = router.guess("a@x", "b@one.example", "")
    assert path.rule == 0
    assert assumed == ("listener public", "client 10.0.0.0/8", "header x-app: crm")
    assert router.guess("a@x", "b@two.example", "")[0] is DEFAULT
    assert router.guess("a@x", "b@one.example", "192.0.2.1")[0] is DEFAULT
