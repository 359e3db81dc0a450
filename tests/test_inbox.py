"""The inbox: what people see of conflicts, how they decide, and that it reaches every device."""

from pathlib import Path
from typing import Any

import pytest

from covey.node.inbox import NotACandidateError, Take, UnknownConflictError, Value
from covey.node.own_rules import RuleRefusedError
from covey.node.wording import words
from covey.storage import conflict_rows
from covey.sync.rules import DoesNotFitError

from .conflict_world import R, apart, call, inbox, rule, settle, two
from .loopback import in_sync, nodes
from .loopback import meet as link
from .memory_world import World, carry, meet, settle_tasks


async def test_what_was_written_apart_is_in_the_inbox_of_both_the_same() -> None:
    """With both values, who wrote them and when, and the rule that decided."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, mood=("glad", "sad"))
        mine, theirs = await inbox(laptop), await inbox(phone)

        assert mine == theirs
        (row,) = mine
        assert (row["database"], row["collection"], row["record"], row["field"]) == (
            "memory",
            "facts",
            "r",
            "mood",
        )
        assert (row["state"], row["rule"], row["value"]) == ("settled", "last-writer-wins", "sad")
        assert [(c["value"], c["device_name"]) for c in row["candidates"]] == [
            ("glad", "laptop"),
            ("sad", "phone"),
        ]
        assert await laptop.values() == await phone.values()


async def test_an_open_conflict_is_marked_in_the_record_and_blocks_nothing() -> None:
    """`get --meta` names the field; find, list and edits of other fields go on."""
    async with World() as world:
        laptop, phone = await two(world)
        await rule(laptop, "rule.facts.mood", "manual")
        await meet(laptop, phone)
        await apart(laptop, phone, mood=("glad", "sad"))
        await phone.collection().put({"n": 5}, id="r")
        record = await call(phone, "get", database="memory", collection="facts", id="r", meta=True)

        assert (record["mood"], record["n"]) == ("sad", 5)
        assert record["_meta"]["conflicts"] == ["mood"]
        assert [row["state"] for row in await inbox(phone)] == ["open"]


async def test_a_decision_without_anybody_near_clears_the_conflict_everywhere() -> None:
    """And stays in the history, with all candidates and who decided."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, mood=("glad", "sad"))
        (row,) = await inbox(phone)
        await phone.engine.inbox.resolve(bytes.fromhex(row["id"]), Take(laptop.id))
        assert await inbox(phone) == [] and len(await inbox(laptop)) == 1
        await meet(laptop, phone)

        assert await inbox(laptop) == []
        assert (await laptop.values())[R]["mood"] == "glad"
        past, theirs = await inbox(laptop, everything=True), await inbox(phone, everything=True)
        assert past == theirs
        assert (past[0]["id"], past[0]["state"], past[0]["resolved_by"]) == (
            row["id"],
            "resolved",
            "phone",
        )


async def test_a_value_of_ones_own_and_what_is_shown_already_both_decide() -> None:
    """To write what is shown is a decision too."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, mood=("glad", "sad"), n=(1, 2))
        by_field = {row["field"]: bytes.fromhex(row["id"]) for row in await inbox(laptop)}
        await laptop.engine.inbox.resolve(by_field["n"], Value(7))
        await laptop.collection().put({"mood": "sad"}, id="r")
        await meet(laptop, phone)

        assert await inbox(phone) == []
        assert (await phone.values())[R] == {"mood": "sad", "n": 7}


async def test_different_decisions_at_once_are_a_conflict_again() -> None:
    """Two people may decide in two rooms."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, mood=("glad", "sad"))
        (row,) = await inbox(laptop)
        for device, value in ((laptop, "one"), (phone, "two")):
            await device.engine.inbox.resolve(bytes.fromhex(row["id"]), Value(value))
        await meet(laptop, phone)

        assert await inbox(laptop) == await inbox(phone)
        (again,) = await inbox(laptop)
        assert sorted(c["value"] for c in again["candidates"]) == ["one", "two"]
        assert again["id"] != row["id"]


async def test_a_decision_can_be_taken_back() -> None:
    """That of a rule for the other value, that of a person for what counted before."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, mood=("glad", "sad"))
        (row,) = await inbox(laptop)
        id = bytes.fromhex(row["id"])
        await laptop.engine.inbox.undo(id)
        assert (await laptop.values())[R]["mood"] == "glad"
        await laptop.engine.inbox.undo(id)
        assert (await laptop.values())[R]["mood"] == "sad"
        await meet(laptop, phone)

        assert await laptop.values() == await phone.values()
        assert await inbox(laptop, everything=True) == await inbox(phone, everything=True)


async def test_a_record_deleted_here_and_edited_there_lives_until_somebody_decides() -> None:
    """Either way can be taken."""
    async with World() as world:
        laptop, phone = await two(world)
        for end, living in ((phone.id, True), (laptop.id, False)):
            await laptop.collection().delete("r")
            await phone.collection().put({"mood": f"here {living}"}, id="r")
            await meet(laptop, phone)
            (row,) = await inbox(laptop)
            assert row == (await inbox(phone))[0]
            assert (row["field"], row["rule"], row["state"]) == ("", "edit-wins", "settled")
            assert (await laptop.values())[R]["mood"] == f"here {living}"
            await laptop.engine.inbox.resolve(bytes.fromhex(row["id"]), Take(end))
            await meet(laptop, phone)

            assert await inbox(phone) == []
            assert (R in await phone.values()) == living
            past = await inbox(phone, everything=True)
            assert past == await inbox(laptop, everything=True)
            assert row["id"] in {each["id"] for each in past if each["state"] == "resolved"}


async def test_other_rules_are_applied_to_what_is_in_dispute_already() -> None:
    """On every device, when it learns of them; and a rule that is taken back as well."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, n=(2, 1))
        for name, expected in (("max", 2), ("sum", 3), ("manual", 1), (None, 1)):
            await rule(laptop, "rule.facts", name)
            await meet(laptop, phone)
            for device in (laptop, phone):
                await settle(device)
                assert (await device.values())[R]["n"] == expected
                (row,) = await inbox(device)
                assert row["state"] == ("open" if name == "manual" else "settled")


async def test_many_conflicts_are_listed_in_pages_and_decided_at_once() -> None:
    """A week apart; nobody reads a thousand rows at once."""
    async with World() as world:
        laptop, phone = await two(world)
        await rule(laptop, "rule", "manual")
        await meet(laptop, phone)
        values = [(f"r{n:03}", {"n": n}) for n in range(120)]
        await laptop.collection().put_many(values)
        await meet(laptop, phone)
        for at, device in enumerate((laptop, phone), 1):
            await device.collection().put_many([(id, {"n": at * 1000}) for id, _ in values])
            device.clock.now_ms += 1
        await meet(laptop, phone)
        seen: list[str] = []
        after = None
        while True:
            page = await call(phone, "conflicts", limit=50, after=after)
            seen += [row["id"] for row in page["conflicts"]]
            after = page["more"]
            if after is None:
                break

        assert len(seen) == len(set(seen)) == 120
        assert seen == [
            row["id"] for row in (await call(laptop, "conflicts", limit=1000))["conflicts"]
        ]
        done = await call(phone, "conflict_resolve_all", database="memory", take="laptop")
        assert done == {"database": "memory", "resolved": 120, "left": 0}
        await meet(laptop, phone)
        assert await inbox(laptop) == []
        assert {record["n"] for id, record in (await laptop.values()).items() if id != R} == {1000}


async def test_what_is_decided_already_or_was_never_there_is_said_so() -> None:
    """A second click, a wrong id, a device that wrote nothing."""
    async with World() as world:
        laptop, phone = await two(world)
        tablet = await world.member(laptop, "tablet")
        await apart(laptop, phone, mood=("glad", "sad"))
        (row,) = await inbox(laptop)
        id = bytes.fromhex(row["id"])
        with pytest.raises(NotACandidateError):
            await laptop.engine.inbox.resolve(id, Take(tablet.id))
        await laptop.engine.inbox.resolve(id, Take(phone.id))
        with pytest.raises(UnknownConflictError, match="does not stand"):
            await laptop.engine.inbox.resolve(id, Take(phone.id))
        for wrong in ("", "xyz", "00" * 10, row["id"] + "00"):
            with pytest.raises(UnknownConflictError):
                await laptop.engine.inbox.find(wrong)


async def test_conflicts_survive_a_restart_and_go_with_their_records() -> None:
    """The inbox is in the store, and made anew with the records."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, mood=("glad", "sad"))
        before = await inbox(laptop)
        laptop = await world.restart(laptop)
        assert await inbox(laptop) == before
        (scope,) = laptop.engine.ledger.scopes()

        from covey.storage.record_rows import wipe_projection

        await laptop.gate.write(lambda conn: wipe_projection(conn, scope.number))
        assert await inbox(laptop) == []
        rows = await laptop.gate.read(lambda c: c.execute("SELECT * FROM conflicts").fetchall())
        assert rows == []


async def test_a_rule_of_the_application_decides_where_it_is_known() -> None:
    """A device without it leaves the conflict to a person: the stricter of the two."""
    async with World() as world:
        laptop, phone = await two(world)

        def longest(candidates: Any, _: bytes) -> Any:
            if any(type(one.value) is not str for one in candidates):
                raise DoesNotFitError
            return max((one.value for one in candidates), key=lambda text: (len(text), text))

        laptop.node.register_rule("longest", longest)
        await rule(laptop, "rule.facts.mood", "longest")
        await meet(laptop, phone)
        await apart(laptop, phone, mood=("a long word", "short"))
        (known,), (unknown,) = await inbox(laptop), await inbox(phone)

        assert (known["state"], known["value"]) == ("settled", "a long word")
        assert (unknown["state"], unknown["value"]) == ("open", "short")
        assert known["because"] == "rule longest decided"
        assert "longest: this device does not know it" in unknown["because"]
        of = {"of": "facts.mood", "rule": "longest", "database": "memory"}
        assert (await call(laptop, "rules"))["rules"] == [{**of, "known": True}]
        assert (await call(phone, "rules"))["rules"] == [{**of, "known": False}]
        phone.node.register_rule("longest", longest)
        await settle(phone)
        assert await inbox(phone) == [known]
        assert await phone.values() == await laptop.values()


async def test_an_open_conflict_says_why_it_is_open() -> None:
    """A person who set a rule asks why it did not decide."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, mood=("glad", "sad"))
        for name, why in (("manual", "a person decides"), ("sum", "does not fit")):
            await rule(laptop, "rule.facts", name)
            await settle(laptop)
            (row,) = await inbox(laptop)
            assert row["state"] == "open"
            assert why in row["because"] and "not know" not in row["because"]


async def test_the_log_says_that_a_rule_is_not_known() -> None:
    """Live and in the log: an older version somewhere must not be found out by chance."""
    async with World() as world:
        laptop, phone = await two(world)
        laptop.node.register_rule("first", lambda candidates, _: min(c.hlc for c in candidates))
        await rule(laptop, "rule.facts", "first")
        await rule(laptop, "rule.facts.$deleted", "newest")
        await meet(laptop, phone)
        await apart(laptop, phone, mood=("glad", "sad"))
        await phone.collection().delete("r")
        await laptop.collection().put({"n": 3}, id="r")
        await meet(laptop, phone)
        told = {}
        for device in (laptop, phone):
            rows = [line async for line in device.engine.directory.journal_rows()]
            disputed = [line for line in rows if line["event"] == "disputed"]
            told[device] = {name for line in disputed for name in line.get("unknown_rules", ())}
            spoken = "".join(words("disputed", line) for line in disputed)
            assert all(name in spoken for name in told[device])

        assert told == {laptop: {"newest"}, phone: {"first", "newest"}}
        assert words("disputed", {"database": "d", "unknown_rules": ["x"]}).endswith(
            "; rule x is not known on this device"
        )
        assert words("conflict", {"database": "d", "unknown_rule": "x"}).endswith(
            "; rule x is not known on this device"
        )
        assert words("conflict", {"database": "d"}).endswith(" in d")


async def test_what_was_resolved_is_listed_as_long_as_the_log_is_kept() -> None:
    """The history is bounded by what a person said of the log; open ones are of any age."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, mood=("glad", "sad"), n=(1, 2))
        by_field = {row["field"]: row["id"] for row in await inbox(laptop)}
        await call(laptop, "conflict_resolve", conflict=by_field["mood"], take="phone")
        for days, listed in ((30, 2), (10, 1), (0, 2)):
            await call(laptop, "log_keep", days=days)
            world.clock.now_ms += 11 * 86_400_000 * (days == 30)
            found = (await call(laptop, "conflicts", all=True))["conflicts"]
            assert len(found) == listed
            assert by_field["n"] in {row["id"] for row in found}

        await call(laptop, "log_keep", days=10)
        assert (await call(laptop, "conflict_show", conflict=by_field["mood"]))["state"] == (
            "resolved"
        )
        assert (await call(laptop, "conflict_undo", conflict=by_field["mood"]))["value"] == "sad"


async def test_a_page_of_the_inbox_is_read_in_the_order_of_its_index() -> None:
    """With ten thousand conflicts a page must cost what is on it, and not what is in the store."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, mood=("glad", "sad"))
        seen: list[str] = []

        def job(conn: Any) -> None:
            class Explained:
                def execute(self, sql: str, values: Any) -> Any:
                    plan = conn.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
                    seen.extend(str(row[3]) for row in plan)
                    return conn.execute(sql, values)

            found = conflict_rows.page(Explained(), [0, 1, 2], None, (1, 2**62, b""), 10)  # type: ignore[arg-type, list-item]
            assert len(found) == 1

        await laptop.gate.read(job)
        looked = [line.partition(" (")[0] for line in seen if " f " in line]
        sorted_by = {line for line in seen if "ORDER BY" in line}

        assert looked == ["SEARCH f USING INDEX conflicts_by_state"] * 2
        # Only those of one time are sorted.
        assert all("OF ORDER BY" in line for line in sorted_by), sorted_by


def by_chance() -> Any:
    count = iter(range(10**6))
    return lambda candidates, _: next(count)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("first", lambda candidates, _: candidates[0].value),
        ("chance", by_chance()),
        ("crash", lambda candidates, _: candidates[0].value + 1),
        ("object", lambda candidates, _: object()),
        ("max", lambda candidates, _: 1),
        ("", lambda candidates, _: 1),
    ],
)
async def test_a_rule_that_would_part_devices_is_not_taken(name: str, own: Any) -> None:
    """It is tried on samples, in every order, before it decides anything."""
    async with World() as world:
        laptop = await world.founder("laptop")
        with pytest.raises(RuleRefusedError):
            laptop.node.register_rule(name, own)
        assert laptop.engine.own_rules == {}


async def test_conflicts_are_told_live_and_summed_up_in_the_log(tmp_path: Path) -> None:
    """Without a word of what is in dispute."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        await laptop.facts.put({"mood": "secret"}, id="r")
        await link(laptop, phone)
        await phone.close()
        opened.open_devices.remove(phone)
        await laptop.facts.put({"mood": "secret one"}, id="r")
        phone = await opened.make("phone")
        await phone.facts.put({"mood": "secret two"}, id="r")
        await phone.online()
        await link(laptop, phone)
        await in_sync(laptop, phone)
        event = await laptop.event("conflict", database="memory")
        (row,) = await laptop.node.conflicts()
        rows = [line async for line in laptop.engine.directory.journal_rows()]

        assert event["id"] == row["id"] and event["state"] == "settled"
        assert next(line for line in rows if line["event"] == "disputed")["settled"] == 1
        assert "secret" not in str(rows) and "secret" not in str(event)
        await laptop.node.resolve(row["id"], "said")
        await in_sync(laptop, phone)
        assert (await phone.facts.get("r")) == {"mood": "said"}


async def test_a_conflict_with_what_a_removed_device_wrote_unseen_goes_with_it() -> None:
    """The record is built again without it, and so is what was in dispute (seed 9 of `trust`)."""
    async with World() as world:
        laptop, phone = await two(world)
        tablet = await world.member(laptop, "tablet")
        await meet(laptop, phone, tablet)
        await phone.collection().put({"mood": "stolen"}, id="r")
        await laptop.collection().put({"mood": "calm again"}, id="r")
        await carry(phone, tablet)
        await carry(laptop, tablet)
        assert len(await inbox(tablet)) == 1
        await laptop.engine.trust.revoke(phone.id)
        await settle_tasks(laptop)
        await meet(laptop, tablet)
        await settle_tasks(tablet)

        assert await inbox(tablet, everything=True) == await inbox(laptop, everything=True) == []
        assert (await tablet.values())[R]["mood"] == "calm again"
