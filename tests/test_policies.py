"""What people see of policies: tables, previews, refusals and reasons, on devices in memory."""

from pathlib import Path
from typing import Any

import pytest

from covey import CoveyError
from covey.crypto.identity import shown_id
from covey.node.happenings import NodeEvent
from covey.node.mesh_view import NotAdminError
from covey.node.parameters import UsageError
from covey.node.policies import SaysNothingError
from covey.node.policy_explaining import NoRecordError
from covey.node.service import Service
from covey.node.trust import TrustRefusedError
from covey.node.wording import words
from covey.storage.errors import StoreFullError
from covey.sync.errors import BadValueError
from covey.sync.policy_text import PolicyTextError

from .memory_world import Device, World, meet


def ask(device: Device, method: str, /, **params: Any) -> Any:
    return Service(device.engine, lambda: None).call(method, params)


async def put_policy(device: Device, database: str, *settings: str, on: str | None = None) -> Any:
    return await ask(device, "policy_set", database=database, device=on, settings=list(settings))


async def two(world: World, level: str = "full") -> tuple[Device, Device]:
    laptop = await world.founder("laptop")
    phone = await world.member(laptop, "phone", level)
    await meet(laptop, phone)
    return laptop, phone


def names(device: Device) -> dict[str, str]:
    """What was said, in words: place to settings."""
    registry = device.engine.mesh.registry
    return {
        f"{database or '*'} {registry.devices[id].name if id else '*'}": repr(dict(said))
        for (id, database), said in registry.settings.items()
    }


# Show --------------------------------------------------------------------------------------------


async def test_each_setting_is_shown_with_where_it_comes_from() -> None:
    """A person has to find the word that they want to change."""
    async with World() as world:
        laptop, phone = await two(world)
        await put_policy(laptop, "media", "mode=summary")
        await put_policy(laptop, "media", "bandwidth=1MiB/s", on="phone")
        await put_policy(laptop, "*", "charging=yes", on="phone")
        await put_policy(laptop, "*", "narrowed=remove")
        (row,) = (await ask(phone, "policy_show", database="media", device="phone"))["policies"]
        await meet(laptop, phone)
        (row,) = (await ask(phone, "policy_show", database="media", device="phone"))["policies"]

        said = {key: (each["value"], each["from"]) for key, each in row["settings"].items()}
        assert said["mode"] == ("summary", "media")
        assert said["bandwidth"] == ("1MiB/s", "phone and media")
        assert said["charging"] == ("yes", "phone")
        assert said["narrowed"] == ("remove", "everything")
        assert said["blobs"] == ("thumbnail", "the profile")
        assert said["direction"] == ("both", "the default")
        assert (row["device_id"], row["policy"]) == (shown_id(phone.id), "summary")


async def test_the_table_has_every_database_and_device_and_the_rules_of_tags() -> None:
    """Those that are here, and those of which only something was said."""
    async with World() as world:
        laptop, _phone = await two(world)
        await laptop.collection().put({"a": 1})
        await put_policy(laptop, "later", "priority=low", "tag.cats=family")
        shown = await ask(laptop, "policy_show")

        assert [(r["database"], r["device_name"]) for r in shown["policies"]] == [
            *(("later", "laptop"), ("later", "phone")),
            *(("memory", "laptop"), ("memory", "phone")),
        ]
        assert [(r["database"], r["tag"], r["level"], r["from"]) for r in shown["tags"]] == [
            ("*", "confidential", "device", "the profile, of everything"),
            ("*", "personal", "private", "the profile, of everything"),
            ("later", "cats", "family", "database later"),
        ]


async def test_lists_of_databases_and_devices_show_the_policy_that_counts() -> None:
    """`full` for everything was a lie as soon as there were policies."""
    async with World() as world:
        laptop, _phone = await two(world)
        await laptop.collection().put({"a": 1})
        await laptop.node.database("cache").collection("c").put({"a": 1})
        await put_policy(laptop, "memory", "direction=receive", on="phone")
        await put_policy(laptop, "*", "consent=no", on="phone")
        rows = {r["device_name"]: r for r in (await ask(laptop, "devices"))["devices"]}
        databases = (await ask(laptop, "databases"))["databases"]
        await put_policy(laptop, "*", "consent=default", on="phone")
        later = {r["device_name"]: r for r in (await ask(laptop, "devices"))["devices"]}

        assert rows["laptop"]["sync_policy"] == "full; cache: local-only"
        assert rows["phone"]["sync_policy"] == "no consent"
        assert later["phone"]["sync_policy"] == (
            "full; cache: local-only; memory: full, receive only"
        )
        assert {d["name"]: d["policy"] for d in databases} == {
            "cache": "local-only",
            "memory": "full",
        }


# Set ---------------------------------------------------------------------------------------------


async def test_a_change_is_one_operation_and_what_is_so_already_is_none() -> None:
    """Operations are kept for ever."""
    async with World() as world:
        laptop = await world.founder("laptop")
        first = await put_policy(laptop, "media", "mode=window", "window=30d", "consent=yes")
        heads = laptop.engine.mesh.registry.heads
        again = await put_policy(laptop, "media", "mode=window", "window=30d", "quiet=default")

        assert first["changes"] == [
            {
                "database": "media",
                "device": None,
                "set": {"mode": "window", "window": "30d", "consent": "yes"},
                "text": "mode=window window=30d consent=yes",
            }
        ]
        assert (first["changed"], again["changed"], again["changes"]) == (True, False, [])
        assert laptop.engine.mesh.registry.heads == heads
        back = await put_policy(laptop, "media", "mode=default", "window=default")
        assert back["changed"]
        assert names(laptop) == {"media *": "{'consent': True}"}


async def test_a_dry_run_counts_what_would_start_and_stop_and_changes_nothing() -> None:
    """For each device, and in sum; of what is here."""
    async with World() as world:
        laptop, phone = await two(world)
        tablet = await world.member(laptop, "tablet")
        for number in range(3):
            await laptop.collection().put({"n": number}, id=f"l{number}")
        await phone.collection().put({"n": 9}, id="p")
        await laptop.collection().put({"n": 9}, id="own", privacy="device")
        await meet(laptop, phone, tablet)
        place = {"database": "memory", "settings": ["mode=on-demand"], "dry_run": True}
        found = await ask(laptop, "policy_set", device="phone", **place)

        amounts = {r["device"]: r for r in found["preview"]["devices"]}
        assert set(amounts) == {"phone"}
        assert amounts["phone"]["stops"]["records"] == 3
        assert amounts["phone"]["stops"]["entries"] == 3
        assert amounts["phone"]["stops"]["bytes"] > 300
        assert amounts["phone"]["starts"] == {"records": 0, "entries": 0, "bytes": 0}
        assert found["preview"]["narrows"] and found["dry_run"] and not found["changed"]
        assert names(laptop) == {}
        everybody = (await ask(laptop, "policy_set", **place))["preview"]
        stopped = {r["device"]: r["stops"]["records"] for r in everybody["devices"]}
        assert stopped == {"laptop": 1, "phone": 3, "tablet": 4}
        assert everybody["stops"]["records"] == 8
        await put_policy(laptop, "memory", "mode=on-demand", on="phone")
        back = await ask(
            laptop,
            "policy_set",
            database="memory",
            device="phone",
            settings=["mode=default"],
            dry_run=True,
        )
        assert back["preview"]["starts"]["records"] == 3
        assert not back["preview"]["narrows"]


async def test_copies_that_would_be_removed_are_named_before() -> None:
    """It is the one change that takes something away from a device."""
    async with World() as world:
        laptop, _ = await two(world)
        await laptop.collection().put({"a": 1})
        await put_policy(laptop, "*", "narrowed=remove", on="phone")
        narrower = {"database": "memory", "settings": ["mode=on-demand"], "dry_run": True}
        phones = await ask(laptop, "policy_set", **narrower)
        laptops = await ask(laptop, "policy_set", device="laptop", **narrower)
        wider = {**narrower, "settings": ["mode=full"]}

        (warning,) = phones["warnings"]
        assert warning.startswith("phone removes its copy of memory")
        assert laptops["warnings"] == []
        assert (await ask(laptop, "policy_set", **wider))["warnings"] == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["window=30d"], "mode is not window"),
        (["mode=local-only", "consent=yes"], "nothing travels"),
        (["mode=metadata", "blobs=all"], "without their blobs"),
    ],
)
async def test_what_says_nothing_is_refused(settings: list[str], told: str) -> None:
    """With the sentence that tells what to do; and nothing of it is written."""
    async with World() as world:
        laptop = await world.founder("laptop")
        with pytest.raises(SaysNothingError, match=told) as refused:
            await put_policy(laptop, "memory", *settings)

        assert refused.value.exit_code == 2
        assert names(laptop) == {}


async def test_a_window_of_everything_counts_where_some_database_has_that_mode() -> None:
    """Judged by what comes of it, not by how it is spelled."""
    async with World() as world:
        laptop = await world.founder("laptop")
        await put_policy(laptop, "diary", "mode=window")
        await put_policy(laptop, "*", "window=30d")

        assert laptop.engine.mesh.policy(laptop.id, "diary").window_days == 30


async def test_a_policy_is_about_a_member_that_reads() -> None:
    """An unknown device, one that was removed, a mailbox, and a tag of a device."""
    async with World() as world:
        laptop, _ = await two(world)
        await world.member(laptop, "box", "mailbox")
        with pytest.raises(Exception, match="no device 'fone'") as unknown:
            await put_policy(laptop, "memory", "mode=full", on="fone")
        assert getattr(unknown.value, "exit_code", None) == 1
        with pytest.raises(SaysNothingError, match="box is a mailbox"):
            await put_policy(laptop, "memory", "priority=low", on="box")
        with pytest.raises(SaysNothingError, match=r"tag\.x is about records"):
            await put_policy(laptop, "memory", "tag.x=private", on="phone")
        await ask(laptop, "device_revoke", device="phone")
        with pytest.raises(TrustRefusedError, match="does not belong") as removed:
            await put_policy(laptop, "memory", "priority=low", on="phone")
        assert removed.value.exit_code == 3
        shown = await ask(laptop, "policy_show", database="memory")
        assert [row["device_name"] for row in shown["policies"]] == ["laptop"]


async def test_a_member_decides_about_itself_and_is_told_who_decides_the_rest() -> None:
    """A refusal that names nobody sends people searching; the fold would ignore it in silence."""
    async with World() as world:
        laptop, phone = await two(world)
        await put_policy(phone, "memory", "mode=on-demand", "unmetered=yes", on="phone")
        for settings, on, told in (
            (["mode=full"], None, "other devices: do it on laptop, or say it of phone alone"),
            (["mode=full"], "laptop", "other devices: do it on laptop, or say it of phone alone"),
            (["consent=yes"], "phone", "about consent: do it on laptop$"),
            (["tag.x=public"], None, r"about tag\.x: do it on laptop$"),
        ):
            with pytest.raises(NotAdminError, match=told) as refused:
                await put_policy(phone, "memory", *settings, on=on)
            assert refused.value.exit_code == 3
        await meet(laptop, phone)

        assert names(laptop) == {"memory phone": "{'mode': 'on-demand', 'unmetered': True}"}


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"database": "memory", "settings": []}, PolicyTextError),
        ({"database": "memory", "settings": "mode=full"}, UsageError),
        ({"database": "memory", "settings": [1]}, UsageError),
        ({"database": "memory", "settings": ["mode=full"] * 129}, UsageError),
        ({"database": "", "settings": ["mode=full"]}, BadValueError),
        ({"database": "a\n", "settings": ["mode=full"]}, BadValueError),
        ({"database": 7, "settings": ["mode=full"]}, UsageError),
        ({"database": "memory", "device": 7, "settings": ["mode=full"]}, UsageError),
        ({"settings": ["mode=full"]}, UsageError),
    ],
)
async def test_what_a_caller_sends_is_checked(
    params: dict[str, Any], error: type[Exception]
) -> None:
    """The local API passes on what it was sent."""
    async with World() as world:
        laptop = await world.founder("laptop")
        with pytest.raises(error):
            await ask(laptop, "policy_set", **params)
        assert names(laptop) == {}


async def test_every_change_is_told_in_words_on_every_device_with_who_made_it() -> None:
    """Nobody should find out by what is missing."""
    async with World() as world:
        laptop, phone = await two(world)
        heard = [device.engine.board.subscribe(NodeEvent) for device in (laptop, phone)]
        await put_policy(laptop, "media", "blobs=thumbnail", on="phone")
        await put_policy(phone, "media", "charging=yes", on="phone")
        await put_policy(laptop, "*", "tag.work=private")
        await meet(laptop, phone)
        await put_policy(laptop, "media", "blobs=default", on="phone")
        await meet(laptop, phone)
        told = []
        for device, events in zip((laptop, phone), heard, strict=True):
            await device.engine.audit.flush()
            rows = [row async for row in device.engine.directory.journal_rows()]
            logged = [words(r["event"], r) for r in rows if r["event"] == "policy"]
            events.close()
            posted = [
                words(e.kind, e.detail)
                async for e in events
                if isinstance(e, NodeEvent) and e.kind == "policy"
            ]
            told.append(sorted(logged))
            assert sorted(posted) == sorted(logged)

        assert (
            told[0]
            == told[1]
            == [
                "laptop: media goes to phone as thumbnails only",
                "laptop: nothing is said any more of blobs of media on phone",
                "laptop: records tagged work are private at most",
                "phone: media goes to phone only while it charges",
            ]
        )


# Create ------------------------------------------------------------------------------------------


async def test_a_database_is_created_with_a_mode_for_every_device() -> None:
    """`db create --policy` says what the profile would not."""
    async with World() as world:
        laptop, phone = await two(world)
        made = await ask(laptop, "database_create", name="notes", policy="on-demand")
        plain = await ask(laptop, "database_create", name="cache", policy="local-only")
        with pytest.raises(UsageError, match=r"did you mean full\?"):
            await ask(laptop, "database_create", name="other", policy="fulll")
        await meet(laptop, phone)
        with pytest.raises(NotAdminError, match="do it on laptop"):
            await ask(phone, "database_create", name="mine", policy="on-demand")
        mine = await ask(phone, "database_create", name="mine", policy="full")

        assert made == {"name": "notes", "policy": "on-demand", "records": 0}
        assert plain["policy"] == "local-only"
        assert mine["policy"] == "full"
        assert names(laptop) == {"notes *": "{'mode': 'on-demand'}"}
        assert "other" not in phone.engine.ledger.databases()


# Explain -----------------------------------------------------------------------------------------


async def test_an_explanation_names_the_rule_the_reason_and_the_word_that_made_it_so() -> None:
    """B5: why does, or doesn't, this item travel to that device."""
    async with World() as world:
        laptop, _phone = await two(world)
        await laptop.collection().put({"a": 1, "tags": ["personal"]}, id="x")
        await put_policy(laptop, "memory", "mode=on-demand", "charging=yes", on="phone")
        place = {"database": "memory", "collection": "facts", "id": "x"}
        found = await ask(laptop, "policy_explain", device="phone", **place)
        here = await ask(laptop, "policy_explain", device="laptop", **place)

        assert (found["allowed"], found["rule"]) == (False, "on-demand")
        assert found["because"] and found["back"]["rule"] == "on-demand"
        assert found["settings"] == [
            {"device": "laptop", "key": "mode", "value": "full", "from": "the default"},
            {"device": "phone", "key": "mode", "value": "on-demand", "from": "phone and memory"},
        ]
        assert found["conditions"] == [{"device": "phone", "key": "charging", "value": "yes"}]
        assert found["record"] == {
            "privacy": "private",
            "bucket": 0,
            "author": "laptop",
            "authors": ["laptop"],
            "tags": ["personal"],
            "tag_rule": {
                "tag": "personal",
                "level": "private",
                "from": "the profile, of everything",
            },
            "too_wide": False,
        }
        assert (found["proved"], found["proved_at"]) == (False, None)
        assert (here["allowed"], here["rule"]) == (True, "here")


async def test_changes_of_several_devices_are_explained_each() -> None:
    """A record that two devices wrote lies in two logs, and these may travel otherwise."""
    async with World() as world:
        laptop, phone = await two(world)
        await laptop.collection().put({"a": 1}, id="x")
        await meet(laptop, phone)
        await phone.collection().put({"b": 1}, id="x")
        await meet(laptop, phone)
        await put_policy(laptop, "memory", "direction=send", on="phone")
        found = await ask(
            laptop,
            "policy_explain",
            database="memory",
            collection="facts",
            id="x",
            device="phone",
        )

        assert found["record"]["authors"] == ["phone", "laptop"]
        assert (found["allowed"], found["rule"]) == (True, "full")
        (other,) = found["others"]
        assert (other["author"], other["allowed"], other["rule"]) == ("laptop", False, "direction")


async def test_who_somebody_is_comes_before_what_they_want() -> None:
    """A limited device, a removed one, and what never leaves."""
    async with World() as world:
        laptop, _ = await two(world, "limited")
        await laptop.collection().put({"a": 1}, id="mine")
        await laptop.collection().put({"a": 1}, id="here", privacy="device")
        await laptop.collection().put({"a": 1, "tags": ["old"]}, id="ours", privacy="family")
        await put_policy(laptop, "*", "tag.old=private")

        async def rule(id: str) -> Any:
            place = {"database": "memory", "collection": "facts", "id": id}
            return await ask(laptop, "policy_explain", device="phone", **place)

        assert (await rule("mine"))["rule"] == "trust-level"
        assert (await rule("here"))["rule"] == "privacy"
        ours = await rule("ours")
        assert (ours["allowed"], ours["record"]["too_wide"]) == (True, True)
        await ask(laptop, "device_revoke", device="phone")
        assert (await rule("ours"))["rule"] == "membership"


async def test_a_record_that_is_not_here_is_not_explained() -> None:
    """Nothing is known of it: not that it exists, nor how private it is."""
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.collection().put({"a": 1}, id="x")
        await laptop.collection().delete("x")
        for id, told in (("x", "was deleted"), ("y", "is not on this device")):
            with pytest.raises(NoRecordError, match=told) as refused:
                await ask(
                    laptop,
                    "policy_explain",
                    database="memory",
                    collection="facts",
                    id=id,
                    device="laptop",
                )
            assert refused.value.exit_code == 1


# Profiles ----------------------------------------------------------------------------------------

PROFILE = """\
[tags]
work = "private"
[databases.media]
mode = "summary"
[devices.phone.databases.media]
charging = true
"""


async def load(device: Device, text: str, **more: Any) -> Any:
    return await ask(device, "policy_load", text=text, file="p.toml", **more)


async def test_a_profile_is_loaded_as_a_whole_and_again_without_effect() -> None:
    """One transaction; and a file that is loaded daily costs the log nothing."""
    async with World() as world:
        laptop, _ = await two(world)
        looked = await load(laptop, PROFILE, dry_run=True)
        before, writes = names(laptop), laptop.gate.writes
        done = await load(laptop, PROFILE)
        committed = laptop.gate.writes - writes
        heads = laptop.engine.mesh.registry.heads
        again = await load(laptop, PROFILE)

        assert before == {} and not looked["changed"]
        assert looked["changes"] == done["changes"]
        assert names(laptop) == {
            "* *": "{'tag.work': 'private'}",
            "media *": "{'mode': 'summary'}",
            "media phone": "{'charging': True}",
        }
        assert committed == 1
        assert (again["changes"], laptop.engine.mesh.registry.heads) == ([], heads)


async def test_what_the_profile_shows_can_be_loaded_and_changes_nothing() -> None:
    """What is printed is true, and what is said already is not said again."""
    async with World() as world:
        laptop, _ = await two(world)
        await load(laptop, PROFILE)
        shown = (await ask(laptop, "policy_profile"))["toml"]
        again = await load(laptop, shown)
        fresh = await world.founder("fresh")
        await world.member(fresh, "phone")
        carried = await load(fresh, shown)

        assert again["changes"] == []
        assert len(carried["changes"]) == 3
        assert names(fresh) == names(laptop)


@pytest.mark.parametrize(
    ("text", "told", "code"),
    [
        (PROFILE + '[devices.fone]\nmode = "full"', "p.toml:7: no device 'fone'", 1),
        (PROFILE + '[databases.x]\nwindow = "9d"', "p.toml:7: window=9d says nothing", 2),
        (PROFILE + '[databases.x]\nmode = "fulll"', "p.toml:8: mode='fulll'", 2),
        (PROFILE + '[devices.phone]\nmode = "full"\nmode = "full"', "p.toml:9: it is no TOML", 2),
        (PROFILE + '[devices."ID".databases.media]\ncharging = false', "was named before", 2),
        (PROFILE + '[devices.box]\npriority = "low"', "p.toml:7: box is a mailbox", 2),
    ],
)
async def test_one_wrong_line_and_nothing_of_a_profile_is_said(
    text: str, told: str, code: int
) -> None:
    """Half a profile is a policy that nobody wrote."""
    async with World() as world:
        laptop, phone = await two(world)
        await world.member(laptop, "box", "mailbox")
        with pytest.raises(CoveyError) as refused:
            await load(laptop, text.replace("ID", shown_id(phone.id)))

        assert told in str(refused.value)
        assert refused.value.exit_code == code
        assert names(laptop) == {}


async def test_a_full_disk_leaves_nothing_of_a_profile() -> None:
    """All or none, also when the store decides."""
    async with World() as world:
        laptop, _ = await two(world)
        laptop.gate.fail = StoreFullError(Path("memory"))
        with pytest.raises(StoreFullError):
            await load(laptop, PROFILE)
        laptop.gate.fail = None

        assert names(laptop) == {}
        await load(laptop, PROFILE)
        assert len(names(laptop)) == 3


async def test_a_member_loads_what_is_about_itself() -> None:
    """And is told in which line it is not."""
    async with World() as world:
        _, phone = await two(world)
        with pytest.raises(NotAdminError, match=r"p\.toml:1: .*do it on laptop"):
            await load(phone, PROFILE)
        shown = (await ask(phone, "policy_profile"))["toml"]
        assert (await load(phone, shown))["changes"] == []
        await load(phone, '[devices.phone]\nunmetered = "yes"')

        assert names(phone) == {"* phone": "{'unmetered': True}"}


async def test_the_example_profile_loads() -> None:
    """It is what people copy from."""
    async with World() as world:
        laptop = await world.founder("laptop")
        example = Path(__file__).parent.parent / "examples" / "profile.toml"
        done = await load(laptop, example.read_text(encoding="utf-8"))

        assert len(done["changes"]) >= 5
        assert done["warnings"] == []
