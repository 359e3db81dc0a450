"""Personal: everything about somebody, exported or erased, with evidence.

What is *about* somebody is what has a value in a field (`author` is `mara`), and what refers to
that: records whose fields named as ways (`thread`, `message`) hold the id of one that was found,
and so on. So a conversation goes with its messages, and a message with its attachments. Only fields
that are named are followed, because an id may stand in any text.

Erasing deletes these records on all devices, and with them their words in the index of full text
and, a day later, the blobs to which nothing else refers. A device has proved it when the digests of
the whole database agreed after the deletion. The caches of applications on this device are thrown
away with it, whatever is in them. What erasing does not reach is said each time (`REMAINS`).

The log of events keeps that it was done, in numbers; no event ever held content.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from ...crypto.identity import shown_id
from ...storage import erasure_rows
from ...storage.erasure_rows import (
    UNFINISHED,
    Erasure,
    Left,
    add_erasure,
    end_erasure,
    grow_erasure,
)
from ...storage.errors import StorageError
from ...storage.store import Conn
from ..parameters import Json, UsageError, text
from ..reader import Found
from ..record_requests import Delete, Written, check_place
from ..times import iso_time
from .deleting import delete_parts

if TYPE_CHECKING:
    from ..engine import Engine

ROUNDS_MAX = 16
WAYS_MAX = 16
ERASURES_SHOWN_MAX = 100
REMAINS = (
    "earlier versions stay sealed in the history of every device until that is forgotten, and in"
    " backups; this device shows them no more, others know of a deletion alone; a device that is"
    " away erases when it syncs; caches of applications on other devices may keep what they made of"
    " it for up to 30 days"
)


class About(NamedTuple):
    """What is looked for: a value in a field, or one record; and the fields that refer to it."""

    field: str | None
    value: Any
    record: tuple[str, str] | None
    ways: tuple[str, ...]


Name = tuple[str, str]
"""Collection and id."""


class Personal:
    """Looks, exports and erases in one node."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def names(self, database: str, about: About) -> dict[Name, None]:
        """The records that are about it, in the order in which they were found."""
        check_place(database)
        found: dict[Name, None] = {}
        latest: set[str] = set()
        for turn in range(ROUNDS_MAX):
            fresh: dict[Name, None] = {}
            async for _, record in self._engine.reader.export(database):
                name = record.collection, record.id
                if name not in found and _fits(record, about, latest, is_first=turn == 0):
                    fresh[name] = None
            found |= fresh
            latest = {id for _, id in fresh}
            if not fresh or not about.ways:
                return found
        return found

    async def export(self, database: str | None, about: About) -> AsyncIterator[tuple[str, Found]]:
        """Every record that is about it, of one database or of all, page by page."""
        everywhere = sorted(await self._engine.reader.count())
        for one in everywhere if database is None else [database]:
            names = await self.names(one, about)
            if names:
                async for _, record in self._engine.reader.export(one):
                    if (record.collection, record.id) in names:
                        yield one, record

    async def erase(self, database: str, about: About, *, dry_run: bool) -> Json:
        """Delete every record that is about it; a receipt. With `dry_run` only counts."""
        names = list(await self.names(database, about))
        blobs = await self._engine.database.read(
            lambda conn: erasure_rows.count_blobs(conn, database, names)
        )
        nothing = {"records": len(names), "blobs": blobs, "refused": 0, "receipt": None}
        if dry_run:
            return nothing
        # Nobody knows what applications made of it: also not if this is a second try, which finds
        # nothing. Before anything else, so that a disk that refuses is known in time; and after
        # it, for what was made of the records meanwhile.
        await self._engine.caches.clear_all()
        if not names:
            return nothing
        write, now_ms = self._engine.database.write, self._engine.clock.wall_ms
        # Before anything goes, and grown with each part: whatever ends this half-way, what is gone
        # is counted, and its past is not shown.
        number = await write(lambda conn: add_erasure(conn, database, now_ms(), blobs))
        erased: dict[Name, None] = {}
        refused = 0
        async for part, not_allowed in self._delete(database, names):
            refused += not_allowed
            left = [Left(database, it.collection, it.id, done.version) for it, done in part]
            before = len(erased)
            erased |= {(one.collection, one.id): None for one in left}
            grown = partial(grow_erasure, records=len(erased) - before, left=left)
            await write(partial(grown, erasure_no=number, erased_ms=now_ms()))
        await write(lambda conn: end_erasure(conn, number, digest_of(list(erased))))
        self._engine.tell("erased", {"database": database, "records": len(erased)})
        await self._engine.caches.clear_all()
        with suppress(StorageError):  # Else they go when the records are looked at next.
            await self._engine.vectors.catch_up(database)
        receipt = next(each for each in await self.receipts() if each["number"] == number)
        return {"records": len(erased), "blobs": blobs, "refused": refused, "receipt": receipt}

    async def _delete(
        self, database: str, names: Sequence[Name]
    ) -> AsyncIterator[tuple[list[tuple[Delete, Written]], int]]:
        """Delete these records at every level, part by part; as `delete_parts`.

        A deletion takes the most private of those that devices made apart, so each level has its
        turn. Somebody may bring one back meanwhile; that is found by looking again.
        """
        left = list(names)
        for _ in self._engine.ledger.scopes_of(database):
            gone: list[Name] = []
            deletes = [Delete(*name) for name in left]
            async for part, not_allowed in delete_parts(self._engine, database, deletes):
                gone += [(delete.collection, delete.id) for delete, done in part if done.changed]
                yield part, not_allowed
            left = await self._engine.database.read(
                lambda conn, n=gone: erasure_rows.living(conn, database, n)  # type: ignore[misc]
            )
            if not left:
                return

    async def receipts(self) -> list[Json]:
        """The latest erasures, and which devices have proved them by now."""
        found = await self._erasures()
        if not found:
            return []
        standing = await self._standing()
        if await self._note_proofs(found, standing):
            found = await self._erasures()
        return [self._receipt(each, standing) for each in found]

    async def _erasures(self) -> list[Erasure]:
        return await self._engine.database.read(
            lambda conn: erasure_rows.erasures(conn, ERASURES_SHOWN_MAX)
        )

    async def _note_proofs(
        self, found: Sequence[Erasure], standing: Mapping[bytes, Mapping[str, str]]
    ) -> bool:
        """Keep which devices have proved them now; False if nothing is new."""
        now_ms = self._engine.clock.wall_ms()
        proofs = [
            (each.erasure_no, device)
            for each in found
            for device, databases in standing.items()
            if databases.get(each.database) == "synced"
            and device not in each.proofs
            # Of one that is under way, more goes after whatever is proved now.
            and each.digest != UNFINISHED
            and self._shares_all(device, each.database)
        ]

        def job(conn: Conn) -> None:
            for proof in proofs:
                erasure_rows.add_proof(conn, *proof, now_ms)

        if proofs:
            await self._engine.database.write(job)
        return bool(proofs)

    async def _standing(self) -> Mapping[bytes, Mapping[str, str]]:
        """Device -> database -> how we stand with it; *synced* is said of what is shared."""
        rows = (await self._engine.status())["peers"]
        ids = {shown_id(each): each for each in self._engine.mesh.registry.devices}
        return {
            ids[row["device_id"]]: {each["name"]: each["state"] for each in row["databases"]}
            for row in rows
        }

    def _shares_all(self, device: bytes, database: str) -> bool:
        """Whether a device is given the logs of every author, and so our deletions as well."""
        holdings, sharing = self._engine.ledger.holdings, self._engine.mesh.sharing_with(device)
        tags = [scope.tag for scope in self._engine.ledger.scopes_of(database)]
        shared = [tag for tag in tags if holdings.is_shared(tag, sharing)]
        return all(holdings.heads(tag, sharing) == holdings.heads(tag) for tag in shared)

    def _receipt(self, one: Erasure, standing: Mapping[bytes, Mapping[str, str]]) -> Json:
        devices = self._engine.mesh.registry.devices
        return {
            "number": one.erasure_no,
            "database": one.database,
            "erased_at": iso_time(one.erased_ms),
            "records": one.records,
            "blobs": one.blobs,
            "digest": one.digest.hex(),
            "devices": [
                {
                    "id": shown_id(device),
                    "name": devices[device].name,
                    "proved_at": iso_time(one.proofs[device]) if device in one.proofs else None,
                    "holds_database": databases.get(one.database) != "not-shared",
                }
                for device, databases in sorted(standing.items())
            ],
            "remains": REMAINS,
        }


def digest_of(names: Sequence[Name]) -> bytes:
    """BLAKE2b-256 of collection and id of every record, sorted, each with its length before it."""
    digest = blake2b(digest_size=32)
    for part in (part for name in sorted(names) for part in name):
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(4, "big") + raw)
    return digest.digest()


def about_of(params: Json) -> About:
    """What a caller looks for. Raises UsageError."""
    said, record, ways = params.get("about"), params.get("record"), params.get("via") or []
    is_list = isinstance(ways, list) and all(isinstance(way, str) and way for way in ways)
    if not is_list or len(ways) > WAYS_MAX:
        raise UsageError(f"via: at most {WAYS_MAX} names of fields were expected")
    if (said is None) == (record is None):
        raise UsageError("about: a field and its value were expected, or one record")
    if record is not None:
        if not isinstance(record, dict):
            raise UsageError("record: a collection and an id were expected")
        return About(None, None, (text(record, "collection"), text(record, "id")), tuple(ways))
    if not isinstance(said, dict) or len(said) != 1:
        raise UsageError("about: one field and its value were expected")
    ((field, value),) = said.items()
    if isinstance(value, dict | list) or value is None:
        raise UsageError("about: the value is a text, a number, true or false")
    return About(field, value, None, tuple(ways))


def _fits(record: Found, about: About, latest: set[str], *, is_first: bool) -> bool:
    if is_first:
        if about.record is not None:
            return (record.collection, record.id) == about.record
        assert about.field is not None
        return any(_is_equal(each, about.value) for each in _items(record.value.get(about.field)))
    referred = (each for way in about.ways for each in _items(record.value.get(way)))
    return any(isinstance(each, str) and each in latest for each in referred)


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else (value,)


def _is_equal(one: Any, other: Any) -> bool:
    """True is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


class PersonalMethods:
    """The methods of one open node that erase."""

    def __init__(self, engine: "Engine") -> None:
        self._personal = Personal(engine)

    def table(self) -> dict[str, Callable[[Json], Awaitable[Any]]]:
        return {"erase": self.erase, "erasures": self.receipts}

    async def erase(self, params: Json) -> Json:
        """`{"records", "blobs", "refused", "receipt"}`; with `dry_run` nothing is done."""
        return await self._personal.erase(
            text(params, "database"), about_of(params), dry_run=bool(params.get("dry_run"))
        )

    async def receipts(self, _: Json) -> Json:
        """The latest erasures under `erasures`, the newest first."""
        return {"erasures": await self._personal.receipts()}
