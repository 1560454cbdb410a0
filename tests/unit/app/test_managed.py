"""What people manage, as the relay works with it: joined with the file, opened, reloaded and closed together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from relay.app.build import plan
from relay.app.managed import Managed
from relay.app.plan import Plan
from relay.config.load import Loaded
from relay.config.schema import Config
from relay.db.errors import SpoolError
from relay.events import nobody
from relay.model import Identity
from relay.spool.sqlite import SqliteSpool

NOW = 1_795_000_000.0
OPTIONS = {
    "user": "AHDHSYEE7e73",
    "password": "kjsdfda8asd",
    "host": "email-smtp.us-east-1.amazonaws.com",
    "port": "587",
    "to": "platform-team@example.com",
    "from": "notifier@example.com",
}
MAIL = {"service": "smtp.send_email", "data": {"to": "a@example.org", "subject": "{{ a }}", "body": "b"}}
RULE = {"trigger": {"type": "event", "event": "user.created"}, "actions": [MAIL]}
Opener = Callable[..., AbstractAsyncContextManager[Managed]]


def wanted(folder: Path, **given: Any) -> Plan:
    config = {"spool": {"url": f"sqlite:///{folder}/spool.db"}, "hostname": "relay.test"} | given
    return plan(Loaded(config=Config.model_validate(config), path=None, warnings=()))


@pytest.fixture
def opened(tmp_path: Path) -> Opener:
    @asynccontextmanager
    async def opened(**given: Any) -> AsyncIterator[Managed]:
        by = wanted(tmp_path, **given)
        spool = await SqliteSpool.open(by.spool, lambda submission: (), by.limits, observe=nobody)
        try:
            managed = await Managed.open(spool, by, NOW)
            yield managed
            await managed.close()
        finally:
            await spool.close()

    return opened


async def test_the_server_of_a_registration_is_there_and_is_no_provider_like_the_others(
    opened: Opener, tmp_path: Path
) -> None:
    async with opened() as managed:
        made = await managed.integrations.register("smtp", OPTIONS, NOW)
        assert made.provider.public_only
    async with opened(http={"listen": "127.0.0.1:0", "allow_private_providers": True}) as managed:
        server = managed.providers()["integration/1"]
        assert (server.password, server.reserved, server.public_only) == (OPTIONS["password"], True, False)
        assert managed.registry.empty()
        assert (managed.names(), managed.used(NOW)) == ({}, [])
        assert managed.house(wanted(tmp_path)).fallback == Identity(address="relay@relay.test")
        await managed.integrations.unregister(1)
        assert managed.providers() == {}


async def test_H12_one_rotation_is_for_all_secrets(opened: Opener) -> None:
    async with opened() as managed:
        await managed.integrations.register("smtp", OPTIONS, NOW)
        assert await managed.registry.rotate() == 1
    async with opened() as managed:
        assert managed.integrations.registrations()[0].options == OPTIONS


async def test_workflows_of_the_file_are_those_of_the_last_reload(opened: Opener, tmp_path: Path) -> None:
    async with opened(workflows=[RULE | {"name": "filed"}]) as managed:
        made = await managed.workflows.add("made", RULE, "ann", NOW)
        assert [one.name for one in managed.workflows.listening("user.created")] == ["filed", "made"]
        await managed.adopt(wanted(tmp_path, workflows=[RULE | {"name": "other"}]), NOW)
        assert [one.name for one in managed.workflows.all()] == ["other", "made"]
        clash = wanted(tmp_path, workflows=[RULE | {"name": "made"}], providers=[{"name": "p", "preset": "gmail"}])
        with pytest.raises(SpoolError, match=r"workflow 'made'.*relay workflow remove made"):
            managed.check(clash)
        with pytest.raises(SpoolError, match="workflow 'made'"):
            await managed.adopt(clash, NOW)
        assert [one.name for one in managed.workflows.all()] == ["other", "made"]
        assert managed.providers() == {}
    with pytest.raises(SpoolError, match="workflow 'made'"):
        async with opened(workflows=[RULE | {"name": "made"}]):
            raise AssertionError("it opened")
    async with opened() as managed:
        assert list(managed.workflows.all()) == [made]
