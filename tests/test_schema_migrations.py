"""Migrations of records: all of a step or none, the same on every device, and nothing lost."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from covey.node.conflict_methods import STANDING
from covey.node.data import remaking
from covey.node.data.drift import SchemaDriftError
from covey.node.data.reading import SchemaError
from covey.node.data.steps import Migration, MigrationError
from covey.storage.backup_file import BackupExistsError
from covey.storage.errors import StoreFullError
from covey.sync.errors import BadValueError
from covey.sync.values import Counter, Text, Vector

from .memory_world import Device, World, meet
from .schema_world import RENAME, first, notes, schema, second

COUNT = 25


async def old_records(device: Device, count: int = COUNT) -> None:
    await device.node.install(first())
    await device.collection().put_many([(f"r{n:02}", {"body": f"b{n}"}) for n in range(count)])


async def facts(device: Device) -> dict[str, Any]:
    found = await device.values()
    return {name.split("/")[2]: value for name, value in found.items() if "/facts/" in name}


def texts(count: int = COUNT, name: str = "text") -> dict[str, Any]:
    return {f"r{n:02}": {name: f"b{n}"} for n in range(count)}


def shout(record: dict[str, Any]) -> dict[str, Any] | None:
    record["text"] = str(record.pop("body", record.get("text"))).upper()
    return record


def whisper(record: dict[str, Any]) -> dict[str, Any] | None:
    return {"body": str(record.get("text", record.get("body"))).lower()}


async def test_records_go_up_and_down_and_up_again() -> None:
    """A version that proves wrong has to be left again, with the data."""
    async with World() as world:
        laptop = await world.founder("laptop")
        await old_records(laptop)

        up = await laptop.node.install(second())
        assert (up["at"], up["migrated"]["steps"]) == (2, [{"step": 2, "changed": COUNT}])
        assert await facts(laptop) == texts()

        down = await laptop.node.migrate("memory", 1)
        assert (down["from"], down["to"]) == (2, 1)
        assert await facts(laptop) == texts(name="body")

        await laptop.node.migrate("memory")
        assert await facts(laptop) == texts()
        actions = [row["action"] for row in await laptop.engine.schemas.history("memory", 9)]
        assert actions == ["up", "down", "up", "installed", "installed"]


async def test_a_function_of_an_application_migrates_both_ways() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        await old_records(laptop, 3)

        await laptop.node.install(second(Migration(2, "facts", shout, whisper)))
        assert await facts(laptop) == {f"r0{n}": {"text": f"B{n}"} for n in range(3)}

        await laptop.node.migrate("memory", 1)
        assert await facts(laptop) == texts(3, "body")


async def test_values_of_every_kind_survive_a_step_up_and_down() -> None:
    """What a step does not name is not touched: also counters, vectors and texts that merge."""
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.node.install(first())
        value = {
            "body": "b",
            "n": Counter(3),
            "v": Vector([1.0, 2.0]),
            "t": Text("long"),
            "deep": {"a": [1, {"b": None}]},
            "raw": b"\x00\xff",
        }
        await laptop.collection().put(value, id="r")

        await laptop.node.install(second())
        up = await laptop.collection().get("r")
        await laptop.node.migrate("memory", 1)

        rest = {name: item for name, item in value.items() if name != "body"}
        assert up == {**rest, "text": "b"}
        assert await laptop.collection().get("r") == value


async def test_a_step_that_fails_on_one_record_changes_none() -> None:
    """It is tried on all of them before anything is written."""

    def fussy(record: dict[str, Any]) -> dict[str, Any] | None:
        if record.get("body") == "b24":
            raise KeyError("the content")
        return shout(record)

    async with World() as world:
        laptop = await world.founder("laptop")
        await old_records(laptop)

        with pytest.raises(MigrationError, match="facts/r24: failed with KeyError") as error:
            await laptop.node.install(second(Migration(2, "facts", fussy)))

        assert "the content" not in str(error.value)
        assert await facts(laptop) == texts(name="body")
        assert (await laptop.node.schemas())[0]["at"] == 1


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda record: {"text": record.get("text", "") + "!"}, "done twice"),
        (lambda record: ["no", "record"], "gave list"),
        (lambda record: {"text": float("nan")}, "failed with ValueError"),
        (lambda record: {"text": object()}, "failed with BadValueError"),
        (lambda record: {"$x": 1}, "must not start with"),
    ],
)
async def test_a_function_that_spoils_records_is_refused(function: Any, why: str) -> None:
    """Before it has written anything: two devices would differ, or a record be lost."""
    async with World() as world:
        laptop = await world.founder("laptop")
        await old_records(laptop, 2)

        with pytest.raises(MigrationError, match=why):
            await laptop.node.install(second(Migration(2, "facts", function, checksum="of a test")))

        assert await facts(laptop) == texts(2, "body")


async def test_a_crash_in_the_middle_leaves_the_old_version_or_the_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The power may go after any write. What is here then is gone on with, and ends the same."""
    monkeypatch.setattr(remaking, "SLICE_RECORDS", 7)
    async with World() as world:
        laptop = await world.founder("laptop")
        await old_records(laptop)
        for writes in range(12):
            device = await world.restart(laptop, crash=True)
            device.gate.fail_after = writes
            done = False
            try:
                await device.node.install(second())
                done = True
            except StoreFullError:
                pass
            device.gate.fail_after = None
            device = await world.restart(device, crash=True)
            for id, value in (await facts(device)).items():
                assert value in ({"text": f"b{int(id[1:])}"}, {"body": f"b{int(id[1:])}"})

            await device.node.install(second())

            assert await facts(device) == texts()
            (row,) = await device.node.schemas()
            assert (row["at"], row["running"]) == (2, None)
        assert done, "the last crash came after the end"


async def test_a_small_step_is_one_change_set_with_its_news() -> None:
    """A crash leaves all of the old version or all of the new, here and on other devices."""
    async with World() as world:
        laptop = await world.founder("laptop")
        await old_records(laptop)
        for writes in range(8):
            device = await world.restart(laptop, crash=True)
            device.gate.fail_after = writes
            with suppress(StoreFullError):
                await device.node.install(second())
            device.gate.fail_after = None
            device = await world.restart(device, crash=True)

            said = await device.engine.schemas.news.said(second())
            is_new = said[device.engine.shown_id(device.id)].at == 2
            assert await facts(device) == (texts() if is_new else texts(name="body"))


async def test_a_step_that_was_cut_off_can_be_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the records are new; down has to find those as well."""
    monkeypatch.setattr(remaking, "SLICE_RECORDS", 7)
    async with World() as world:
        laptop = await world.founder("laptop")
        await old_records(laptop)
        await laptop.node.install(second(), migrate=False)
        laptop.gate.fail_after = 4
        with pytest.raises(StoreFullError):
            await laptop.node.migrate("memory")
        laptop.gate.fail_after = None
        laptop = await world.restart(laptop, crash=True)
        assert sum("text" in value for value in (await facts(laptop)).values()) in (7, 14)

        await laptop.node.migrate("memory", 1)

        assert await facts(laptop) == texts(name="body")


async def test_a_step_that_was_edited_after_it_was_applied_is_refused() -> None:
    """The records are as the old text made them; nobody knows what the new one would have done."""
    async with World() as world:
        laptop = await world.founder("laptop")
        await old_records(laptop, 2)
        await laptop.node.install(second())
        edited = second(Migration(2, "facts", changes=[{"rename": "body", "to": "words"}]))

        with pytest.raises(SchemaDriftError, match="step 2 was applied in another form"):
            await laptop.node.install(edited)

        assert await facts(laptop) == texts(2)


async def test_a_definition_that_changed_without_a_version_is_refused() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.node.install(first())

        with pytest.raises(SchemaDriftError, match="another version"):
            await laptop.node.install(schema(1, collections=notes(body="integer")))


async def test_an_older_program_does_not_take_over_newer_records() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        await old_records(laptop, 2)
        await laptop.node.install(second())

        with pytest.raises(SchemaDriftError, match="takes them down first"):
            await laptop.node.install(first())

        await laptop.node.migrate("memory", 1)
        await laptop.node.install(first())
        assert await facts(laptop) == texts(2, "body")


async def test_two_devices_that_migrate_apart_come_to_the_same_without_a_conflict() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await old_records(laptop)
        await meet(laptop, phone)

        await laptop.node.install(second())
        await phone.node.install(second())
        await meet(laptop, phone)

        assert await facts(laptop) == await facts(phone) == texts()
        open_ones = [one for one in await phone.node.conflicts() if one["state"] == "open"]
        assert open_ones == []


async def test_a_second_device_does_not_do_the_work_again() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await old_records(laptop)
        await laptop.node.install(second())
        await meet(laptop, phone)

        done = await phone.node.install(second())

        assert (done["at"], done["migrated"]) == (2, None)
        assert await facts(phone) == texts()


async def test_devices_on_two_versions_keep_syncing_and_lose_nothing() -> None:
    """The old one goes on writing bodies; the new one brings them up when it starts."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await old_records(laptop, 3)
        await meet(laptop, phone)
        await phone.node.install(first())
        await laptop.node.install(second())
        await laptop.collection().put({"lang": "en"}, id="r00")
        await meet(laptop, phone)

        await phone.collection().put({"body": "of the phone"}, id="new")
        await phone.collection().put({"body": "edited"}, id="r01")
        await phone.collection().put({"mood": "calm"}, id="r00")
        await meet(laptop, phone)
        await laptop.node.install(second())
        await meet(laptop, phone)

        wanted = {
            "new": {"text": "of the phone"},
            "r00": {"text": "b0", "lang": "en", "mood": "calm"},
            "r01": {"text": "edited"},
            "r02": {"text": "b2"},
        }
        assert await facts(laptop) == await facts(phone) == wanted
        assert (await phone.node.schemas())[0]["version"] == 1


async def test_on_the_way_down_what_an_older_device_wrote_since_is_not_lost() -> None:
    """With both names there the old one was written later, whichever way the records go."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await old_records(laptop, 2)
        await laptop.node.install(second())
        await meet(laptop, phone)
        await phone.collection().put({"body": "older and later"}, "r00")
        await meet(laptop, phone)

        down = await laptop.node.migrate("memory", 1)

        assert await facts(laptop) == {"r00": {"body": "older and later"}, "r01": {"body": "b1"}}
        assert down["caught_up"] == 1


async def test_a_newer_version_of_another_device_is_told_and_refuses_nothing() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await meet(laptop, phone)
        await phone.node.install(first())
        await laptop.node.install(second())
        await laptop.collection().put({"text": "new"}, id="r")
        await meet(laptop, phone)

        status = await phone.node.status()
        await phone.engine.audit.flush()
        log = [row async for row in phone.engine.directory.journal_rows()]

        newer = {"schema": "memory", "database": "memory", "ours": 1, "newest": 2}
        assert status["schemas_newer"] == [{**newer, "devices": ["laptop"]}]
        assert [row for row in log if row.get("event") == "schema_newer"] != []
        assert await facts(phone) == {"r": {"text": "new"}}
        await phone.collection().put({"body": "old"}, id="r")
        assert await phone.collection().get("r") == {"text": "new", "body": "old"}


async def test_records_that_were_taken_down_elsewhere_are_not_brought_up_unasked() -> None:
    """Two devices that disagree would else write the same records for ever."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await old_records(laptop, 2)
        await laptop.node.install(second())
        await meet(laptop, phone)
        await phone.node.install(second())
        laptop.clock.now_ms += 5_000
        await laptop.node.migrate("memory", 1)
        await meet(laptop, phone)

        await phone.node.install(second())
        assert await facts(phone) == texts(2, "body")

        await phone.node.migrate("memory")
        assert await facts(phone) == texts(2)


async def test_another_step_of_another_device_is_refused() -> None:
    """One number with two meanings: the records would differ by who came first."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await old_records(laptop, 2)
        await laptop.node.install(second())
        await meet(laptop, phone)
        other = second(Migration(2, "facts", changes=[{"rename": "body", "to": "words"}]))

        with pytest.raises(SchemaDriftError, match="applied another step 2"):
            await phone.node.install(other)

        assert await facts(phone) == texts(2)


async def test_a_migration_decides_no_conflict() -> None:
    """What is in dispute is for a person; a step writes only what it changes."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.node.install(first())
        await laptop.engine.trust.set_policy(b"", "memory", {"rule.facts.mood": "manual"})
        await laptop.collection().put({"body": "b", "mood": "?"}, id="r")
        await meet(laptop, phone)
        await laptop.collection().put({"mood": "calm"}, id="r")
        await phone.collection().put({"mood": "wild"}, id="r")
        await meet(laptop, phone)
        before = await laptop.engine.inbox.page(STANDING)

        await laptop.node.install(second())

        after = await laptop.engine.inbox.page(STANDING)
        assert len(before) == 1 and [one.conflict_id for one in after] == [before[0].conflict_id]
        assert (await laptop.collection().get("r") or {})["text"] == "b"


async def test_a_step_without_a_way_back_says_so() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        await old_records(laptop, 1)
        await laptop.node.install(second(Migration(2, "facts", shout)))

        with pytest.raises(SchemaError, match="step 2 has no way back"):
            await laptop.node.migrate("memory", 1)
        with pytest.raises(SchemaError, match="no version 3"):
            await laptop.node.migrate("memory", 3)


async def test_functions_that_are_not_here_are_named_and_data_steps_need_none() -> None:
    """After a restart without the application the command line may still be asked to migrate."""
    async with World() as world:
        laptop = await world.founder("laptop")
        await old_records(laptop, 1)
        await laptop.node.install(second(Migration(2, "facts", shout, whisper)), migrate=False)
        laptop = await world.restart(laptop)
        with pytest.raises(SchemaError, match="the functions of step 2 are not here"):
            await laptop.node.migrate("memory")

        other = await world.founder("other")
        await old_records(other, 1)
        await other.node.install(second(), migrate=False)
        other = await world.restart(other)
        await other.node.migrate("memory")

        assert await facts(other) == texts(1)


async def test_a_backup_is_made_before_and_never_overwritten() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        await old_records(laptop, 1)
        made: list[str] = []

        async def back_up(path: Path, force: bool) -> dict[str, Any]:
            assert not force and await facts(laptop) == texts(1, "body")
            if path.name in made or not made:
                made.append(path.name)
                if len(made) == 1:
                    raise BackupExistsError(path)
            return {"file": str(path)}

        laptop.engine.back_up = back_up
        done = await laptop.node.install(second())

        assert made == ["memory.before-memory-1-to-2.backup"]
        assert done["migrated"]["backup"] == "memory.before-memory-1-to-2-2.backup"
        (row, *_) = await laptop.engine.schemas.history("memory", 1)
        assert row["backup"] == "memory.before-memory-1-to-2-2.backup"


async def test_large_records_are_migrated_in_slices_that_fit() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.node.install(first())
        for n in range(4):
            await laptop.collection().put({"body": "ä" * 200_000, "n": n}, id=f"r{n}")

        done = await laptop.node.install(second())

        assert done["migrated"]["steps"] == [{"step": 2, "changed": 4}]
        assert all(set(value) == {"text", "n"} for value in (await facts(laptop)).values())


async def test_a_write_between_the_try_and_the_change_is_not_lost() -> None:
    """The function is given the record as it is when its turn comes."""
    async with World() as world:
        laptop = await world.founder("laptop")
        await old_records(laptop, 1)
        await laptop.node.install(second(), migrate=False)
        writer = laptop.engine.writer
        write = writer.write

        async def write_after_another(database: str, requests: Any) -> Any:
            writer.write = write  # type: ignore[method-assign]
            await write(database, [type(requests[0])("facts", "r00", {"body": "x"}, None, False)])
            return await write(database, requests)

        writer.write = write_after_another  # type: ignore[method-assign]
        await laptop.node.migrate("memory")

        assert await facts(laptop) == {"r00": {"text": "x"}}


async def test_what_does_not_fit_the_new_version_is_kept_and_listed() -> None:
    async with World() as world:
        laptop = await world.founder("laptop")
        await laptop.node.install(first())
        await laptop.collection().put({"body": "far too long"}, id="r")
        narrow = schema(
            2,
            collections=notes(text={"type": "string", "max_length": 3}),
            migrations=[Migration(2, "facts", changes=[RENAME])],
        )

        await laptop.node.install(narrow)

        assert await facts(laptop) == {"r": {"text": "far too long"}}
        found = await laptop.engine.schemas.check("memory", 10)
        fault = {"collection": "facts", "id": "r", "field": "text"}
        assert found["faults"] == [{**fault, "why": "12 characters, 3 allowed"}]
        with pytest.raises(BadValueError, match="facts/new: text: 4 characters, 3 allowed"):
            await laptop.collection().put({"text": "long"}, id="new")


async def test_a_schema_that_was_removed_comes_again_with_the_steps_that_were_applied() -> None:
    """Its records stayed as the old step made them, and nobody else knows of it."""
    edited = second(Migration(2, "facts", changes=[{"rename": "body", "to": "words"}]))
    async with World() as world:
        laptop = await world.founder("laptop")
        await old_records(laptop, 2)
        await laptop.node.install(second())
        await laptop.node.uninstall("memory")

        with pytest.raises(SchemaDriftError, match="step 2 was applied in another form before"):
            await laptop.node.install(edited)
        with pytest.raises(SchemaDriftError, match=r"left at version 2 .* this is version 1"):
            await laptop.node.install(first())

        assert await laptop.node.schemas() == []
        done = await laptop.node.install(second())
        assert (done["at"], done["migrated"]) == (2, None)
        assert await facts(laptop) == texts(2)


async def test_a_schema_that_was_removed_with_its_records_begins_anew() -> None:
    """There is nothing that another step could have changed."""
    edited = second(Migration(2, "facts", changes=[{"rename": "body", "to": "words"}]))
    async with World() as world:
        laptop = await world.founder("laptop")
        await old_records(laptop, 2)
        await laptop.node.install(second())
        await laptop.node.uninstall("memory", records=True)

        assert (await laptop.node.install(edited))["at"] == 2


async def test_what_was_taken_down_before_it_was_removed_may_go_another_way() -> None:
    edited = second(Migration(2, "facts", changes=[{"rename": "body", "to": "words"}]))
    async with World() as world:
        laptop = await world.founder("laptop")
        await old_records(laptop, 2)
        await laptop.node.install(second())
        await laptop.node.migrate("memory", 1)
        await laptop.node.uninstall("memory")
        await laptop.node.install(edited)

        assert await facts(laptop) == texts(2, "words")
