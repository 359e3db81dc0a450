"""Requests: a device that pairs with a member that is no admin, and the admin who answers."""

import asyncio
from pathlib import Path

import pytest

from covey.crypto.errors import FormatError
from covey.crypto.identity import short_id, shown_id
from covey.node.mesh_view import NotAdminError
from covey.node.pairing import PairingWindow
from covey.node.pairing_frames import PairingRefusedError, Refusal
from covey.node.parameters import DAY_MS, UsageError
from covey.node.requests import NoSuchRequestError
from covey.node.service import Service
from covey.node.times import iso_time
from covey.node.trust_methods import TrustMethods

from .loopback import Device, Nodes, Window, in_sync, join, meet, nodes, until

MINUTE_MS = 60_000


async def carrier_and_admin(made: Nodes) -> tuple[Device, Device, Device]:
    """An admin and a member that are linked, and a device that wants in."""
    admin, member = await made.mesh("admin", "member")
    await meet(member, admin)
    return admin, member, await (await made.make("new", kind="tablet")).online()


async def asked(member: Device, new: Device) -> tuple[Window, "asyncio.Task[object]"]:
    """A window on the member, at which the new device has asked and waits."""
    window = Window(PairingWindow(member.engine, "limited", MINUTE_MS, None))
    code = await window.open()
    joining = asyncio.create_task(join(new, code, member.address))
    await until(lambda: member.engine.mesh.registry.requests or joining.done())
    return window, joining


async def test_an_admin_who_answers_at_once_lets_the_join_go_through(tmp_path: Path) -> None:
    async with nodes(tmp_path) as made:
        admin, member, new = await carrier_and_admin(made)
        await admin.facts.put({"a": 1}, "family", privacy="family")
        await in_sync(admin, member)
        window, joining = await asked(member, new)
        await until(lambda: admin.engine.mesh.registry.requests)
        (row,) = admin.engine.requests.rows()
        assert (row["device_name"], row["device_type"]) == ("new", "tablet")
        assert (row["trust_level"], row["carried_by"]) == ("limited", "member")
        assert row["device_id"] == shown_id(new.keys.sig_pk)
        assert new.keys.sig_pk not in admin.engine.mesh.registry.devices

        await admin.engine.requests.approve(row["device_id"].lower(), None)
        await joining
        told = [event["event"] for event in await window.ended()]

        assert told == ["code", "requested", "enrolled"]
        assert new.engine.our_device().level == "limited"
        assert await new.facts.get("family") == {"a": 1}
        assert admin.engine.requests.rows() == []
        await until(lambda: member.engine.requests.rows() == [])


async def test_an_admin_who_answers_later_is_found_when_the_device_joins_again(
    tmp_path: Path,
) -> None:
    async with nodes(tmp_path) as made:
        admin, member, new = await carrier_and_admin(made)
        window, joining = await asked(member, new)
        await window.close()
        await until(lambda: admin.engine.requests.rows())
        joining.cancel()
        await asyncio.gather(joining, return_exceptions=True)
        await admin.engine.requests.approve(shown_id(new.keys.sig_pk), "full")
        await in_sync(admin, member)
        again = Window(PairingWindow(member.engine, "guest", MINUTE_MS, None))
        code = await again.open()
        told = await join(new, code, member.address)
        shown = await again.ended()

        assert new.engine.our_device().level == "full", "what the admin said counts"
        assert shown[-1]["device"]["level"] == "full"
        assert next(e["level"] for e in told if e["event"] == "confirm") == "full"
        assert {d.name for d in new.engine.mesh.registry.active()} == {"admin", "member", "new"}


async def test_the_least_that_was_asked_for_is_given_unless_the_admin_says_more(
    tmp_path: Path,
) -> None:
    """A carrier may ask for more while the admin still thinks about what was shown before."""
    async with nodes(tmp_path) as made:
        admin, member, new = await carrier_and_admin(made)
        window, joining = await asked(member, new)
        (request,) = member.engine.mesh.registry.requests
        details = {"cert": request.cert, "name": "new", "type": "phone", "level": "full"}
        await member.engine.mesh.write([("request", details)])
        await until(lambda: len(admin.engine.requests.rows()) == 2)

        await admin.engine.requests.approve(shown_id(new.keys.sig_pk), None)
        await joining
        await window.ended()

        assert admin.engine.mesh.registry.devices[new.keys.sig_pk].level == "limited"


async def test_a_request_carries_the_days_and_an_admin_may_give_others(tmp_path: Path) -> None:
    """A guest whom a member lets in for a day must not stay because another device said yes."""
    async with nodes(tmp_path) as made:
        admin, member, new = await carrier_and_admin(made)
        before_ms = member.engine.clock.wall_ms()
        window = Window(PairingWindow(member.engine, "guest", MINUTE_MS, None, days=2))
        code = await window.open()
        joining = asyncio.create_task(join(new, code, member.address))
        await until(lambda: admin.engine.mesh.registry.requests or joining.done())
        (asked_for,) = admin.engine.mesh.registry.requests
        assert asked_for.expires_ms is not None
        assert 0 <= asked_for.expires_ms - before_ms - 2 * DAY_MS < MINUTE_MS
        assert admin.engine.requests.rows()[0]["expires_at"] == iso_time(asked_for.expires_ms)
        longer = {"cert": asked_for.cert, "name": "new", "type": "phone", "level": "guest"}
        await member.engine.mesh.write([("request", longer)])
        await until(lambda: len(admin.engine.requests.rows()) == 2)

        await admin.engine.requests.approve(shown_id(new.keys.sig_pk))
        told = await joining
        await window.ended()

        for device in (admin, member, new):
            known = device.engine.mesh.registry.devices[new.keys.sig_pk]
            assert (known.level, known.expires_ms) == ("guest", asked_for.expires_ms)
        assert "joined" in [event["event"] for event in told]


async def test_the_days_that_an_admin_gives_count_whatever_was_asked_for(tmp_path: Path) -> None:
    """Fewer or more: the admin decides."""
    async with nodes(tmp_path) as made:
        admin, member, new = await carrier_and_admin(made)
        window, joining = await asked(member, new)
        await until(lambda: admin.engine.mesh.registry.requests)
        params = {"id": shown_id(new.keys.sig_pk), "days": 3}

        answer = await TrustMethods(admin.engine).table()["request_approve"](params)
        await joining
        await window.ended()

        expires_ms = admin.engine.mesh.registry.devices[new.keys.sig_pk].expires_ms
        assert expires_ms is not None and answer["expires_at"] == iso_time(expires_ms)
        assert 0 <= admin.engine.clock.wall_ms() + 3 * DAY_MS - expires_ms < MINUTE_MS


@pytest.mark.parametrize("days", [0, -1, 3651, 1.5, "2", True])
async def test_days_that_are_none_admit_nobody(tmp_path: Path, days: object) -> None:
    """The local API passes on what it was sent, and no days would mean for good."""
    async with nodes(tmp_path) as made:
        admin = await made.make("admin")
        service = Service(admin.engine, lambda: None)

        with pytest.raises(UsageError, match="1 to 3650"):
            await anext(service.stream("pair", {"days": days, "ask": False}))
        with pytest.raises(UsageError, match="1 to 3650"):
            await service.call("request_approve", {"id": "x", "days": days})
        with pytest.raises(UsageError, match="1 to 3650"):
            await service.call("device_level", {"device": "admin", "level": "full", "days": days})


async def test_only_an_admin_answers_and_only_to_a_whole_id(tmp_path: Path) -> None:
    """A name, or the beginning of an id, is easily made to look right."""
    async with nodes(tmp_path) as made:
        admin, member, new = await carrier_and_admin(made)
        window, joining = await asked(member, new)
        await until(lambda: admin.engine.requests.rows())
        id = shown_id(new.keys.sig_pk)
        with pytest.raises(NotAdminError):
            await member.engine.requests.approve(id, None)
        for text in ("new", short_id(new.keys.sig_pk), id[:-1] + ("0" if id[-1] != "0" else "1")):
            with pytest.raises(FormatError):
                await admin.engine.requests.approve(text, None)
        with pytest.raises(NoSuchRequestError):
            await admin.engine.requests.approve(shown_id(admin.keys.sig_pk), None)
        with pytest.raises(NoSuchRequestError, match="no level"):
            await admin.engine.requests.approve(id, "owner")
        assert new.keys.sig_pk not in admin.engine.mesh.registry.devices
        joining.cancel()
        await asyncio.gather(joining, return_exceptions=True)
        await window.close()


async def test_who_is_not_answered_is_told_what_to_do(tmp_path: Path) -> None:
    async with nodes(tmp_path) as made:
        admin, member, new = await carrier_and_admin(made)
        pending = PairingRefusedError(Refusal.PENDING)

        async def nobody_answers(*_: object) -> None:
            raise pending

        window = PairingWindow(member.engine, "full", MINUTE_MS, None)
        window._ask_an_admin = nobody_answers  # type: ignore[assignment, method-assign]
        shown = Window(window)
        code = await shown.open()
        with pytest.raises(PairingRefusedError, match="compare it there") as caught:
            await join(new, code, member.address)
        await shown.ended()

        assert shown_id(new.keys.sig_pk) in str(caught.value)
        assert caught.value.refusal is Refusal.PENDING
        assert new.engine.mesh.id != admin.engine.mesh.id
        assert new.members() == {new.keys.sig_pk}
