"""Lifecycle: records that reach their time are deleted, and documents of old ones packed.

**Expiry** follows from the record alone: from the time in a field of it, or from the time of its
latest change. So every device that has the rule comes to the same, whenever it looks. The device
that wrote the latest change deletes it at once, the others a day later if nobody did, so that a
device that is gone leaves nothing behind and two rarely delete the same. It is a deletion like any
other: whoever edited the record apart keeps it alive, and if the edit did not give it more time, it
goes when both are known. What was edited here meanwhile is judged by what it says now.

**Tiers** are of this store alone (`covey.storage.pack_rows`). Nothing of a record is lost, nothing
that a peer may ask for is touched: entries stay as they are, and so do the rows of deletions, by
which later changes are merged.

Times are milliseconds since 1970 by the wall clock. A clock that is ahead deletes too early: it is
the one thing here that is not in the record.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ...storage import lifecycle_rows, pack_rows, record_rows
from ...storage.errors import StorageError
from ...storage.lifecycle_rows import Living, RuleRow
from ...storage.pack_rows import Age, Packed, Tier
from ...storage.store import Conn
from ...sync.errors import BadValueError
from ...sync.limits import NAME_BYTES_MAX, TIMESTAMP_MS_MAX
from ..parameters import DAY_MS
from ..projection import Key
from ..record_requests import Delete, check_place
from .deleting import delete_all

if TYPE_CHECKING:
    from ...sync.record_state import RecordState
    from ..engine import Engine

WARM_DAYS, COLD_DAYS = 30, 180
"""Of collections of which nothing was said."""
DAYS_MAX = 36_500
OTHERS_WAIT_MS = DAY_MS
EVERY_MS = 3_600_000
WALK_RECORDS = 2_000
PACK_RECORDS = 200
"""In one transaction: writers wait for it."""

_TIME = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII
)
"""ISO 8601 as people write it. The library reads more as times: 13 digits, which are milliseconds
of today, as a day of the year 1801, and what expires is deleted.
"""


class Swept(NamedTuple):
    """What one sweep did, or would do. Sizes are bytes of documents."""

    expired: int
    refused: int
    """Expired, and this device may not delete them."""
    packed: int
    before: int
    after: int


class Lifecycle:
    """The rules of one node, and who follows them."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def rules(self) -> list[RuleRow]:
        return await self._engine.database.read(lifecycle_rows.rules)

    async def declare(
        self,
        database: str,
        collection: str,
        *,
        expires_field: str | None = None,
        keep_days: int | None = None,
        warm_days: int = WARM_DAYS,
        cold_days: int = COLD_DAYS,
    ) -> RuleRow:
        """Say how records of a collection age on this device; it replaces what was said before.

        `expires_field` names the field with the time at which a record goes: a datetime, a text in
        ISO 8601 or milliseconds. `keep_days` counts from its latest change. Raises BadValueError.
        """
        rule = RuleRow(database, collection, expires_field, keep_days, warm_days, cold_days)
        _check(rule)
        await self._engine.database.write(lambda conn: lifecycle_rows.set_rule(conn, rule))
        return rule

    async def withdraw(self, database: str, collection: str) -> bool:
        """Forget what was said of a collection; False if nothing was."""
        return await self._engine.database.write(
            lambda conn: lifecycle_rows.drop_rule(conn, database, collection)
        )

    def start(self) -> None:
        """Sweep every hour from now on, until the node closes."""
        self._engine.spawn(self._run(), "lifecycle")

    async def _run(self) -> None:
        while not self._engine.closing:
            await self._engine.clock.sleep_ms(EVERY_MS)
            with suppress(StorageError):  # A full disk is told by whoever writes for a person.
                await self.sweep()

    async def sweep(self, *, dry_run: bool = False) -> Swept:
        """Delete what has reached its time and pack what is old. `dry_run` only counts."""
        rules = {rule[:2]: rule for rule in await self.rules()}
        names = await self._engine.database.read(record_rows.places_of)
        of = {number: rules[name] for number, name in names.items() if name in rules}
        expired, refused = await self._expire(of, dry_run)
        packed = await self._pack(of, dry_run)
        return Swept(expired, refused, *packed)

    # Expiry ------------------------------------------------------------------------------------

    async def _expire(self, rules: Mapping[int, RuleRow], dry_run: bool) -> tuple[int, int]:
        expiring = {
            number: rule
            for number, rule in rules.items()
            if rule.expires_field is not None or rule.keep_days is not None
        }
        after, done, refused = 0, 0, 0
        while expiring and (
            page := await self._engine.database.read(
                lambda conn, a=after: lifecycle_rows.living(conn, [*expiring], a, WALK_RECORDS)  # type: ignore[misc]
            )
        ):
            after = page[-1].record_no
            due: dict[RuleRow, list[str]] = {}
            for record in page:
                rule = expiring[record.coll_no]
                if self._is_due(record, rule):
                    due.setdefault(rule, []).append(record.id)
            for rule, ids in due.items():
                made = (len(ids), 0) if dry_run else await self._delete(rule, ids)
                done, refused = done + made[0], refused + made[1]
        return done, refused

    def _is_due(self, record: Living, rule: RuleRow) -> bool:
        """As far as the row tells; `_delete` asks the record itself."""
        at = due_ms(json.loads(record.value), record.hlc, rule)
        now_ms = self._engine.clock.wall_ms()
        if at is None or at > now_ms:
            return False
        author = self._engine.ledger.log_numbered(record.log_no).author
        return author == self._engine.keys.sig_pk or at + OTHERS_WAIT_MS <= now_ms

    async def _delete(self, rule: RuleRow, ids: Sequence[str]) -> tuple[int, int]:
        """Delete those of them that are due; how many were, and how many this device may not."""
        database, collection = rule.database, rule.collection

        def still(key: Key, state: "RecordState") -> bool:
            # Stamps of all changes, not of the one that came last: that differs between devices.
            hlc = max((times[-1] for times in state.stamps.values()), default=0)
            resolution = self._engine.shelf.judge.resolution(key, state)
            value = state.value if resolution is None else resolution.value
            at = None if value is None else due_ms(value, hlc, rule)
            return at is not None and at <= self._engine.clock.wall_ms()

        deletes = [Delete(collection, id, still) for id in ids]
        results, refused = await delete_all(self._engine, database, deletes)
        done = sum(written.changed for _, written in results)
        if done:
            self._engine.audit.tally("aged", {"database": database, "records": done})
        return done, refused

    # Tiers -------------------------------------------------------------------------------------

    async def _pack(self, rules: Mapping[int, RuleRow], dry_run: bool) -> Packed:
        after, done = 0, Packed(0, 0, 0)
        while page := await self._engine.database.read(
            lambda conn, a=after: pack_rows.ages(conn, a, WALK_RECORDS)  # type: ignore[misc]
        ):
            after = page[-1].record_no
            wanted: dict[tuple[int, Tier], list[Age]] = {}
            for age in page:
                tier = self._tier(age, rules.get(age.coll_no))
                if tier > age.tier and (age.plain or age.tier):
                    wanted.setdefault((age.coll_no, tier), []).append(age)
            for (coll_no, tier), found in wanted.items():
                made = Packed(len(found), sum(age.plain for age in found), 0)
                if not dry_run:
                    made = await self._pack_all(tier, coll_no, [age.record_no for age in found])
                done = done.plus(made)
        if not dry_run:
            await self._engine.database.write(pack_rows.drop_idle_dictionaries)
        return done

    def _tier(self, age: Age, rule: RuleRow | None) -> Tier:
        days = (self._engine.clock.wall_ms() - (age.hlc >> 16)) / DAY_MS
        warm, cold = (WARM_DAYS, COLD_DAYS) if rule is None else (rule.warm_days, rule.cold_days)
        # Nobody reads a deletion but to merge a late change with it.
        if days >= cold or (age.deleted and days >= warm):
            return Tier.COLD
        return Tier.WARM if days >= warm else Tier.HOT

    async def _pack_all(self, tier: Tier, coll_no: int, numbers: Sequence[int]) -> Packed:
        done = Packed(0, 0, 0)
        for start in range(0, len(numbers), PACK_RECORDS):
            part = numbers[start : start + PACK_RECORDS]

            def job(conn: Conn, part: Sequence[int] = part) -> Packed:
                return pack_rows.pack(conn, tier, coll_no, part)

            done = done.plus(await self._engine.database.write(job))
        return done


def due_ms(value: Mapping[str, Any], hlc: int, rule: RuleRow) -> int | None:
    """When a record goes, the earlier of its field and its age; None if never.

    `value` is its JSON or its fields, `hlc` the stamp of its latest change.
    """
    times = []
    if rule.expires_field is not None:
        field = time_ms(value.get(rule.expires_field))
        times += [] if field is None else [field]
    if rule.keep_days is not None:
        times.append((hlc >> 16) + rule.keep_days * DAY_MS)
    return min(times, default=None)


def time_ms(field: object) -> int | None:
    """A time in a field as milliseconds; None for anything else: what is no time never expires."""
    match field:
        case bool():
            return None
        case int():
            return field if 0 < field <= TIMESTAMP_MS_MAX else None
        case datetime():
            return _of(field)
        case {"$time": str(text)} | str(text) if _TIME.fullmatch(text):
            with suppress(ValueError):
                return _of(datetime.fromisoformat(text))
    return None


def _of(time: datetime) -> int | None:
    try:
        return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    except (OverflowError, ValueError, OSError):
        return None


def _check(rule: RuleRow) -> None:
    check_place(rule.database, rule.collection)
    field = rule.expires_field
    if field is not None and (not field or len(field.encode("utf-8", "replace")) > NAME_BYTES_MAX):
        raise BadValueError(f"expires: the name of a field, at most {NAME_BYTES_MAX} bytes")
    for name, days, least in (
        ("keep", rule.keep_days, 1),
        ("warm", rule.warm_days, 0),
        ("cold", rule.cold_days, 0),
    ):
        is_absent = days is None and name == "keep"
        if not is_absent and (type(days) is not int or not least <= days <= DAYS_MAX):
            raise BadValueError(f"{name}: a number of days from {least} to {DAYS_MAX}")
    if rule.warm_days > rule.cold_days:
        raise BadValueError(
            f"cold after {rule.cold_days} days, warm after {rule.warm_days}: warm comes first"
        )
