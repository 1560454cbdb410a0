"""Workflows of the file and those made over HTTP, with what they were before, over a real spool file."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace

from relay.config import workflows as rules
from relay.db.errors import SpoolError, StorageFull
from relay.model import Workflow
from relay.ports import NameTaken, Outdated, ReadOnly, TooMany, Workflows
from relay.store.workflow_rows import KEPT
from relay.store.workflows import MOST, WorkflowInBoth
from tests.unit.db.disks import Disk
from tests.unit.store.keeping import NOW, Keeping


def document(event: str = "user.created", subject: str = "Welcome", **more: Any) -> dict[str, Any]:
    mail = {"to": "{{ user.email }}", "subject": subject, "body": "Hello {{ user.name }}, ä."}
    return {
        "trigger": {"type": "event", "event": event},
        "actions": [{"service": "smtp.send_email", "data": mail}],
        **more,
    }


def filed(name: str, event: str = "user.created") -> Workflow:
    return rules.workflow(rules.parse(document(event, "of the file")), name=name)


def listed(kept: Keeping) -> list[str]:
    return [one.name for one in kept.workflows.all()]


# What outlives a restart


async def test_a_workflow_outlives_the_process_as_it_was_made(kept: Keeping) -> None:
    await kept.open()
    given = document(**{"if": "user.email"})
    workflows: Workflows = kept.workflows
    made = await workflows.add("welcome", given, "ann", NOW)
    assert (made.name, made.event, made.origin, made.version) == ("welcome", "user.created", "api", 1)
    assert (made.changed_at, made.changed_by, made.condition, made.document) == (NOW, "ann", "user.email", given)
    assert made.actions[0].mail.text == "Hello {{ user.name }}, ä."
    await kept.reopen()
    assert kept.workflows.find("welcome") == made
    assert list(kept.workflows.listening("user.created")) == [made]
    assert kept.workflows.listening("user.removed") == ()


async def test_those_of_the_file_come_first_then_the_others_by_age(kept: Keeping) -> None:
    kept.rules = [filed("z"), filed("b", "other")]
    await kept.open()
    for name in ("y", "a"):
        await kept.workflows.add(name, document(), "", NOW)
    for _ in range(2):
        assert listed(kept) == ["z", "b", "y", "a"]
        assert [one.name for one in kept.workflows.listening("user.created")] == ["z", "y", "a"]
        await kept.reopen()


async def test_a_name_is_made_of_the_event_and_differs_from_all(kept: Keeping) -> None:
    kept.rules = [filed("user.created")]
    await kept.open()
    made = [await kept.workflows.add("", document(), "", NOW) for _ in range(2)]
    made.append(await kept.workflows.add("", {"actions": document()["actions"]}, "", NOW))
    assert [one.name for one in made] == ["user.created-2", "user.created-3", "workflow"]
    assert made[2].event == ""
    assert kept.workflows.listening("") == ()
    await kept.reopen()
    assert listed(kept) == ["user.created", "user.created-2", "user.created-3", "workflow"]


async def test_what_was_asked_for_is_done_even_if_nobody_waits_for_it(kept: Keeping) -> None:
    await kept.open()
    asked = asyncio.create_task(kept.workflows.add("a", document(), "", NOW))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await kept.workflows.close()
    assert listed(kept) == ["a"]
    await kept.reopen()
    assert listed(kept) == ["a"]


async def test_of_two_who_want_a_name_at_once_one_has_it(kept: Keeping) -> None:
    await kept.open()
    asked = [kept.workflows.add("a", document(subject=str(n)), "", NOW) for n in range(3)]
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one).__name__ for one in done] == ["Workflow", "NameTaken", "NameTaken"]


# Versions


async def test_each_change_is_a_version_and_those_before_are_kept(kept: Keeping) -> None:
    await kept.open()
    made = [
        await kept.workflows.add("a", document(subject="1"), "ann", NOW),
        await kept.workflows.change("a", document("other", "2"), "bob", NOW + 2, version=1),
        await kept.workflows.change("a", document("other", "3"), "eve", NOW + 3, version=2),
    ]
    for _ in range(2):
        assert list(await kept.workflows.versions("a")) == made[::-1]
        assert kept.workflows.find("a") == made[-1]
        assert kept.workflows.listening("user.created") == ()
        assert list(kept.workflows.listening("other")) == [made[-1]]
        await kept.reopen()


async def test_who_changes_what_somebody_else_changed_meanwhile_is_told_and_changes_nothing(kept: Keeping) -> None:
    await kept.open()
    await kept.workflows.add("a", document(), "ann", NOW)
    asked = [kept.workflows.change("a", document(subject=who), who, NOW, version=1) for who in ("bob", "eve")]
    first, second = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(first, Workflow)
    assert isinstance(second, Outdated)
    assert (second.version, str(second)) == (2, "it is at version 2")
    assert kept.workflows.find("a") == first
    unasked = await kept.workflows.change("a", document(subject="whatever"), "eve", NOW)
    assert unasked.version == 3


async def test_a_hundred_versions_are_kept(kept: Keeping) -> None:
    await kept.open()
    await kept.workflows.add("a", document(subject="1"), "", NOW)
    await kept.workflows.add("b", document(subject="1"), "", NOW)
    for n in range(2, KEPT + 4):
        await kept.workflows.change("a", document(subject=str(n)), "", NOW)
    found = await kept.workflows.versions("a")
    assert [one.version for one in found] == list(range(KEPT + 3, 3, -1))
    assert [one.actions[0].mail.subject for one in found] == [str(one.version) for one in found]
    assert await kept.ask("SELECT count(*) FROM workflow_version") == [(KEPT - 1,)]
    assert [one.version for one in await kept.workflows.versions("b")] == [1]


async def test_a_removed_name_is_free_and_begins_anew(kept: Keeping) -> None:
    await kept.open()
    await kept.workflows.add("a", document(), "", NOW)
    await kept.workflows.change("a", document(subject="2"), "", NOW)
    with pytest.raises(Outdated):
        await kept.workflows.remove("a", version=1)
    await kept.workflows.remove("a", version=2)
    assert (listed(kept), kept.workflows.find("a"), kept.workflows.listening("user.created")) == ([], None, ())
    assert await kept.ask("SELECT (SELECT count(*) FROM workflow), count(*) FROM workflow_version") == [(0, 0)]
    again = await kept.workflows.add("a", document(), "", NOW)
    assert list(await kept.workflows.versions("a")) == [again]
    assert await kept.ask("SELECT id FROM workflow") == [(2,)]
    await kept.workflows.remove("a")
    await kept.reopen()
    assert listed(kept) == []


async def test_what_is_not_there_is_said(kept: Keeping) -> None:
    await kept.open()
    for asked in (
        kept.workflows.change("a", document(), "", NOW),
        kept.workflows.remove("a"),
        kept.workflows.versions("a"),
    ):
        with pytest.raises(LookupError):
            await asked


# The file


async def test_those_of_the_file_are_changed_there(kept: Keeping) -> None:
    kept.rules = [filed("a")]
    await kept.open()
    with pytest.raises(ReadOnly):
        await kept.workflows.change("a", document(), "", NOW, version=1)
    with pytest.raises(ReadOnly):
        await kept.workflows.remove("a")
    with pytest.raises(NameTaken):
        await kept.workflows.add("a", document(), "", NOW)
    assert list(await kept.workflows.versions("a")) == [kept.rules[0]]


async def test_a_reload_replaces_those_of_the_file_only(kept: Keeping) -> None:
    kept.rules = [filed("a"), filed("b")]
    await kept.open()
    made = await kept.workflows.add("c", document(), "", NOW)
    kept.workflows.adopt([filed("b", "other"), filed("d")])
    assert listed(kept) == ["b", "d", "c"]
    assert [one.name for one in kept.workflows.listening("user.created")] == ["d", "c"]
    kept.workflows.adopt([])
    assert list(kept.workflows.all()) == [made]


async def test_a_name_in_the_file_and_made_by_hand_is_refused_with_both_ways_out(kept: Keeping) -> None:
    await kept.open()
    await kept.workflows.add("on boarding", document(), "", NOW)
    wanted = [filed("new"), filed("on boarding")]
    with pytest.raises(WorkflowInBoth, match=r"'on boarding'.*rename it in the.*relay workflow remove 'on boarding'"):
        kept.workflows.check(wanted)
    assert listed(kept) == ["on boarding"]
    kept.rules = wanted
    with pytest.raises(SpoolError, match="on boarding"):
        await kept.reopen()
    kept.rules = wanted[:1]
    await kept.open()
    assert listed(kept) == ["new", "on boarding"]


async def test_one_made_while_the_file_was_read_is_not_in_force_beside_the_files(kept: Keeping) -> None:
    await kept.open()
    await kept.workflows.add("a", document(), "", NOW)
    kept.workflows.adopt([filed("a")])
    assert [one.origin for one in kept.workflows.all()] == ["file"]
    assert [one.origin for one in kept.workflows.listening("user.created")] == ["file"]
    kept.workflows.adopt([])
    assert [one.origin for one in kept.workflows.all()] == ["api"]


async def test_there_may_be_so_many_those_of_the_file_too(kept: Keeping) -> None:
    kept.rules = [replace(filed("f"), name=f"f{n}") for n in range(MOST - 1)]
    await kept.open()
    await kept.workflows.add("last", document(), "", NOW)
    with pytest.raises(TooMany, match="there are 1,000 workflows"):
        await kept.workflows.add("more", document(), "", NOW)
    await kept.workflows.change("last", document(subject="2"), "", NOW)
    await kept.workflows.remove("last")
    await kept.workflows.add("more", document(), "", NOW)


# Damage


@pytest.mark.parametrize(
    "damage",
    [
        "document = CAST(x'7b22fe' AS TEXT)",
        "document = substr(document, 1, 40)",
        "document = replace(document, 'smtp.', 'smtq.')",
        "document = '[]', changed_at = 'x', version = x'00'",
        "document = x'00ff', changed_by = x'ff'",
        "document = '" + "[" * 100_000 + "'",
    ],
    ids=["flipped", "cut", "another word", "a list", "bytes", "deep"],
)
async def test_G6_a_damaged_document_is_shown_as_such_and_spoils_no_other(kept: Keeping, damage: str) -> None:
    await kept.open()
    await kept.workflows.add("broken", document(), "", NOW)
    whole = await kept.workflows.add("whole", document(), "", NOW)
    await kept.spoil(f"UPDATE workflow SET {damage} WHERE id = 1")
    await kept.open()
    broken, other = kept.workflows.listening("user.created")
    assert (broken.name, broken.actions, other) == ("broken", (), whole)
    assert "damaged; set all of it again, or remove it" in broken.damaged
    mended = await kept.workflows.change("broken", document(subject="2"), "", NOW, version=broken.version)
    assert (mended.damaged, mended.version) == ("", broken.version + 1)
    old = (await kept.workflows.versions("broken"))[1]
    assert (old.name, old.version, bool(old.damaged)) == ("broken", broken.version, True)
    await kept.reopen()
    assert kept.workflows.find("broken") == mended


@pytest.mark.parametrize("name", ["x'ff'", "'whole\x01'", "''", "'a/b'", "'preview'"])
async def test_G6_a_damaged_name_is_replaced_by_one_that_can_be_asked_for(kept: Keeping, name: str) -> None:
    await kept.open()
    await kept.workflows.add("whole", document(), "", NOW)
    await kept.workflows.add("broken", document(), "", NOW)
    await kept.spoil(f"UPDATE workflow SET name = {name} WHERE id = 2")
    await kept.open()
    assert listed(kept) == ["whole", "damaged-2"]
    assert [bool(one.damaged) for one in kept.workflows.all()] == [False, True]
    mended = await kept.workflows.change("damaged-2", document(), "", NOW)
    await kept.reopen()
    assert kept.workflows.find("damaged-2") == mended
    await kept.workflows.remove("damaged-2")
    await kept.reopen()
    assert listed(kept) == ["whole"]


async def test_G6_a_page_that_cannot_be_read_costs_one_document(kept: Keeping) -> None:
    """A long one lies on pages of its own; the pages before it keep its name."""
    await kept.open()
    await kept.workflows.add("whole", document(), "", NOW)
    await kept.workflows.add("long", document(subject="x" * 60_000), "", NOW)
    await kept.close()
    connection = apsw.Connection(str(kept.path))
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close()
    whole = kept.path.read_bytes()
    size = int.from_bytes(whole[16:18], "big")
    place = next(n for n in range(0, len(whole), size) if whole[n + 4 : n + size] == b"x" * (size - 4))
    kept.path.write_bytes(whole[:place] + b"\xff\xff\xff\xff" + whole[place + 4 :])  # the next page is none
    await kept.open()
    assert listed(kept) == ["whole", "damaged-2"]
    assert kept.workflows.find("damaged-2") == Workflow(
        name="damaged-2", event="", actions=(), origin="api", damaged=kept.workflows.all()[1].damaged
    )


async def test_G4_what_a_full_disk_refuses_has_not_happened(disk: Disk, kept: Keeping) -> None:
    await kept.open()
    await kept.workflows.add("a", document(), "", NOW)
    before = list(kept.workflows.all())
    disk.full = True
    for asked in (
        kept.workflows.add("b", document(), "", NOW),
        kept.workflows.change("a", document("other"), "", NOW),
        kept.workflows.remove("a"),
    ):
        with pytest.raises(StorageFull):
            await asked
    assert list(kept.workflows.all()) == before
    assert list(kept.workflows.listening("user.created")) == before
    disk.full = False
    await kept.reopen()
    assert list(kept.workflows.all()) == before


# What it costs

_LAZY = """
import asyncio, sys
from pathlib import Path
from tests.unit.store.keeping import Keeping

def loaded():
    print(*(name in sys.modules for name in ("pydantic", "jinja2", "cryptography", "jsonschema")))

async def main():
    kept = Keeping(Path(sys.argv[1]))
    await kept.open()
    loaded()
    mail = {"to": "a@example.org", "subject": "{{ a }}", "body": "{{ b }}"}
    await kept.workflows.add("", {"actions": [{"service": "smtp.send_email", "data": mail}]}, "", 1.0)
    await kept.reopen()
    loaded()
    await kept.close()

asyncio.run(main())
"""


def test_a_relay_without_workflows_loads_nothing_for_them_and_with_them_no_engine(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LAZY, str(tmp_path / "var")], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["False False False False", "True False False False"]
