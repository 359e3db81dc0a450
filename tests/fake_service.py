"""A service with no engine: what the command line and the local API are tested against.

It keeps records in a dict, answers with the shapes of docs/cli.md, and can be told to fail. Run as
a program it is a node with a real socket: `python tests/fake_service.py HOME`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covey import CoveyError
from covey.node.local_api import serve

HOSTILE = "eve\x1b[2J\x9b1m\u202etxt.exe\u200b[red]"
"""A name no terminal may see as it is: escape sequences, bidi override, zero width, rich markup."""

DEVICE = {"id": "K7QF-3M2X-0001", "short_id": "K7QF-3M2X", "name": "laptop", "type": "laptop"}
PICTURE = (
    "covey1:NVWW23LNNVWW23LNNVWW23LNNVZXG43TONZXG43TONZXG43TONZXG43TONZXG43TONZXG43TO"
    "NZXG5DUOR2HI5DUOR2HI5DUOR2HI5ABATAAAAQHDXTLRSXHJI"
)
PHONE = {"id": "9RTB-C400-0002", "short_id": "9RTB-C400", "name": HOSTILE, "type": "phone"}


REPORT: dict[str, Any] = {
    "store": {"bytes": 4096, "free": 2048, "text": 10, "dictionaries": 0, "rest": 5},
    "blobs": 7,
    "caches": 9,
    "collections": [
        {
            "database": "memory",
            "collection": HOSTILE,
            "records": 3,
            "deleted": 1,
            "bytes": 60,
            "values": 20,
            "documents": 30,
            "warm": 1,
            "cold": 2,
            "packed": 10,
            "packed_from": 40,
        }
    ],
    "history": [{"database": None, "entries": 3, "bytes": 1024}],
    "rules": [
        {"database": "memory", "collection": "facts", "expires": HOSTILE, "days": 3}
        | {"warm": 30, "cold": 180}
    ],
    "could_free": {"expired": 2, "packable": 5, "packable_bytes": 30, "free_pages": 2048},
}
"""What `storage` answers."""
RECEIPT: dict[str, Any] = {
    "number": 1,
    "database": "memory",
    "erased_at": "2026-01-01T10:00:00Z",
    "records": 2,
    "blobs": 1,
    "digest": "5d" * 32,
    "devices": [
        {**PHONE, "proved_at": "2026-01-01T10:00:01Z", "holds_database": True},
        {"id": "x", "name": "tablet", "proved_at": None, "holds_database": True},
        {"id": "y", "name": "guest", "proved_at": None, "holds_database": False},
    ],
    "remains": "the history",
}
"""What `erasures` answers, once."""


class FakeError(CoveyError):
    """What the service says no with."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class FakeService:
    """Records what it was asked in `asked`; `failing` maps a method to the error it raises."""

    records: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    failing: dict[str, BaseException] = field(default_factory=dict)
    synced: bool = True
    connected: bool = True
    alone: bool = False
    pairing_failure: dict[str, Any] | None = None
    first_sync_end: dict[str, Any] | None = field(default_factory=lambda: {"event": "synced"})
    verified: dict[str, Any] = field(
        default_factory=lambda: {
            "ok": True,
            "events": 1234,
            "from": {"event": 501, "time": "2026-01-01T10:00:00Z"},
            "forgotten": 500,
            "at": 1734,
            "head": "5d" * 32,
        }
    )
    """What was found of the audit log."""
    erasable: int = 2
    """How many records are about whoever is asked for."""
    human_step_over: bool = False
    """If set, nobody waits any more for what a person answers."""
    rekeyed_scopes: int | None = 3
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    answers: dict[str, asyncio.Future[bool]] = field(default_factory=dict)
    hold: asyncio.Event | None = None
    """If set, every call waits for it after it was asked and before it acts."""
    streams_open: int = 0

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        self.asked.append((method, params))
        if self.hold is not None:
            await self.hold.wait()
        if method in self.failing:
            raise self.failing[method]
        result = getattr(self, f"on_{method}")(params)
        self.asked.append((f"{method} done", {}))
        return result

    async def stream(self, method: str, params: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        self.asked.append((method, params))
        self.streams_open += 1
        try:
            if method in self.failing:
                raise self.failing[method]
            async for item in getattr(self, f"stream_{method}")(params):
                yield item
        finally:
            self.streams_open -= 1

    def on_device(self, d: dict[str, Any]) -> Any:
        return {"device": DEVICE, "mesh": "00" * 16}

    def _conflict(self) -> dict[str, Any]:
        text = self.records.get(("memory", "facts", "tea"), {}).get("text", "x")
        candidate = {"value": text, "device": PHONE["id"], "device_name": PHONE["name"]}
        return {
            "id": "0f" * 10,
            "database": "memory",
            "collection": "facts",
            "record": "tea",
            "field": text,
            "rule": "manual",
            "state": "open",
            "because": "rule manual: a person decides",
            "value": text,
            "candidates": [{**candidate, "time": "2026-01-01T00:00:00Z"}],
            "reembed": False,
        }

    def on_conflicts(self, d: dict[str, Any]) -> Any:
        return {"conflicts": [self._conflict()], "more": None}

    def on_conflict_show(self, d: dict[str, Any]) -> Any:
        return self._conflict()

    def on_conflict_resolve(self, d: dict[str, Any]) -> Any:
        return self._conflict()

    def on_conflict_resolve_all(self, d: dict[str, Any]) -> Any:
        return {"database": d["database"], "resolved": 2, "left": 1}

    def on_conflict_undo(self, d: dict[str, Any]) -> Any:
        return self._conflict()

    def on_rules(self, d: dict[str, Any]) -> Any:
        rows = [
            {"database": "", "of": "", "rule": "manual", "known": True},
            {"database": "memory", "of": HOSTILE, "rule": "ours", "known": False},
        ]
        return {"rules": rows, "otherwise": "x"}

    def on_rule_set(self, d: dict[str, Any]) -> Any:
        return {"database": d["database"], "of": "facts", "rule": d["rule"]}

    def on_settings(self, d: dict[str, Any]) -> Any:
        return {"data": "auto"}

    def on_settings_set(self, d: dict[str, Any]) -> Any:
        return d["set"]

    def on_similar(self, d: dict[str, Any]) -> Any:
        hit = {"id": "tea", "score": 0.5, "record": {"text": "likes tea"}}
        model = {"field": "embedding", "model": "minilm", "version": "2", "exact": True}
        return {"records": [hit], "left_out": [], **model}

    def on_sql(self, d: dict[str, Any]) -> Any:
        rows = [["tea", 2, None], [HOSTILE, 1.5, {"a": [HOSTILE]}], ["=1+1", True, 'a "b", c']]
        return {"columns": ["text", HOSTILE, "j"], "rows": rows, "whole": "LIMIT" in d["query"]}

    def on_cache_stats(self, _: dict[str, Any]) -> Any:
        one = {"name": HOSTILE, "values": 2, "bytes": 900, "hits": 3, "misses": 1}
        dropped = {"expired": 4, "evicted": 5, "unreadable": 1, "failed": 0}
        whole = {"kept": "on the disk", "values": 2, "bytes": 900, "bytes_max": 2**28}
        return {**whole, "caches": [one], **dropped}

    def on_cache_clear(self, d: dict[str, Any]) -> Any:
        return {"name": d["name"], "values": None if d["name"] is None else 2}

    def on_vectors(self, d: dict[str, Any]) -> Any:
        return {"fields": []}

    def on_vectors_declare(self, d: dict[str, Any]) -> Any:
        return d

    def on_vectors_forget(self, d: dict[str, Any]) -> Any:
        return {"forgotten": True}

    def on_fetch(self, d: dict[str, Any]) -> Any:
        row = {"device": PHONE["id"], "name": PHONE["name"], "complete": True}
        return {"database": d["database"], "complete": True, "entries": 3, "from": [row]}

    def on_devices(self, d: dict[str, Any]) -> Any:
        return {"devices": [_row(DEVICE, True), _row(PHONE, False)]}

    def on_device_show(self, d: dict[str, Any]) -> Any:
        if d["device"] not in ("laptop", DEVICE["id"]):
            raise FakeError(f"no device {d['device']!r}: `covey devices` lists them", 1)
        return _row(DEVICE, True) | {"addresses": ["192.0.2.7:7654"]}

    def on_device_rename(self, d: dict[str, Any]) -> Any:
        return _row({**DEVICE, "name": d["name"]}, True)

    def on_device_level(self, d: dict[str, Any]) -> Any:
        return _row(PHONE, False) | {"trust_level": d["level"]}

    def on_device_role(self, d: dict[str, Any]) -> Any:
        return _row(PHONE, False) | {"role": d["role"]}

    def on_device_describe(self, d: dict[str, Any]) -> Any:
        return _row(PHONE, False)

    def on_device_objectors(self, d: dict[str, Any]) -> Any:
        senior = [{"id": PHONE["id"], "name": "phone"}] if d["device"] == "senior" else []
        named = {"id": PHONE["id"], "name": "phone"}
        return {"device": named, "self": False, "objectors": senior, "paper_key": False}

    def on_device_revoke(self, d: dict[str, Any]) -> Any:
        return _row(PHONE, False) | {"status": "revoked", "contested": False}

    def on_device_adopt(self, d: dict[str, Any]) -> Any:
        return _row(PHONE, False) | {"adopted": 2}

    def on_shelf(self, d: dict[str, Any]) -> Any:
        row = {"device_id": PHONE["id"], "device_name": "phone", "database": "memory"}
        return {"shelf": [{**row, "entries": 2}]}

    def on_requests(self, d: dict[str, Any]) -> Any:
        named = {"device_id": PHONE["id"], "short_id": PHONE["id"][:9], "device_name": "new"}
        rest = {"device_type": "phone", "trust_level": "full", "carried_by": "tablet"}
        rest["expires_at"] = "2026-01-01T10:00:00Z"
        return {"requests": [{**named, **rest}]}

    def on_request_approve(self, d: dict[str, Any]) -> Any:
        return _row(PHONE, False)

    def on_keys_rotate(self, d: dict[str, Any]) -> Any:
        return {"scopes": 3}

    def on_device_rekey(self, d: dict[str, Any]) -> Any:
        return _row(DEVICE, True) | {"scopes": self.rekeyed_scopes}

    def on_policy_show(self, d: dict[str, Any]) -> Any:
        settings = {
            "mode": {"value": "full", "from": "the default"},
            "blobs": {"value": "thumbnail", "from": HOSTILE},
        }
        named = {"device_id": PHONE["id"], "device_name": HOSTILE}
        row = {"database": d["database"] or "media", **named, "policy": "full"}
        tag = {"database": "*", "tag": HOSTILE, "level": "private", "from": "everything"}
        return {"policies": [{**row, "settings": settings}], "tags": [tag]}

    def on_policy_set(self, d: dict[str, Any]) -> Any:
        said = dict(pair.split("=") for pair in d["settings"])
        nothing = {"records": 0, "entries": 0, "bytes": 0}
        stops = {"records": 3, "entries": 4, "bytes": 2048}
        amounts = {"starts": nothing, "stops": stops}
        change = {"database": d["database"], "device": d["device"], "set": said}
        return {
            "changes": [{**change, "text": " ".join(d["settings"])}],
            "changed": not d["dry_run"],
            "dry_run": d["dry_run"],
            "warnings": [f"odd: {HOSTILE}"],
            "preview": {
                "devices": [{"device": HOSTILE, **amounts}],
                **amounts,
                "narrows": said.get("mode") == "on-demand",
            },
        }

    def on_policy_profile(self, d: dict[str, Any]) -> Any:
        return {"toml": f"# {HOSTILE}\n[tags]\n"}

    def on_policy_load(self, d: dict[str, Any]) -> Any:
        settings = [line for line in d["text"].splitlines() if "=" in line]
        return self.on_policy_set(
            {"database": "media", "device": None, "settings": settings, "dry_run": d["dry_run"]}
        )

    def on_policy_explain(self, d: dict[str, Any]) -> Any:
        decision = {"allowed": False, "rule": "on-demand", "because": "it takes it when it asks"}
        return {
            **decision,
            "device": {"id": PHONE["id"], "name": HOSTILE, "level": "full"},
            "back": {"allowed": True, "rule": "full", "because": "nothing stands against it"},
            "record": {
                "privacy": "private",
                "bucket": 0,
                "author": HOSTILE,
                "authors": [HOSTILE, "laptop"],
                "tags": [HOSTILE],
                "tag_rule": {"tag": HOSTILE, "level": "device", "from": "everything"},
                "too_wide": True,
            },
            "others": [{"author": HOSTILE, **decision}],
            "settings": [
                {"device": HOSTILE, "key": "mode", "value": "on-demand", "from": HOSTILE},
                {"device": "laptop", "key": "mode", "value": "full", "from": "the default"},
            ],
            "conditions": [{"device": HOSTILE, "key": "charging", "value": "yes"}],
            "proved": True,
            "proved_at": "2026-01-01T10:00:00Z",
        }

    def on_databases(self, d: dict[str, Any]) -> Any:
        names = sorted({database for database, _, _ in self.records})
        return {"databases": [{"name": n, "policy": "full", "records": 1} for n in names]}

    def on_database_create(self, d: dict[str, Any]) -> Any:
        return {"name": d["name"], "policy": d["policy"] or "full", "records": 0}

    def on_database_show(self, d: dict[str, Any]) -> Any:
        return {"name": d["name"], "policy": "full", "records": 0}

    def on_put(self, d: dict[str, Any]) -> Any:
        record_id = d["id"] or f"made-{len(self.records)}"
        place = (d["database"], d["collection"], record_id)
        old = {} if d["replace"] else self.records.get(place, {})
        self.records[place] = old | d["value"]
        return {"id": record_id, "version": f"v{len(self.asked)}"}

    def on_put_many(self, d: dict[str, Any]) -> Any:
        written = 0
        for item in d["items"]:
            place = (d["database"], d["collection"], item["id"])
            written += self.records.get(place) != item["value"]
            self.records[place] = item["value"]
        return {"written": written, "unchanged": len(d["items"]) - written}

    def on_get(self, d: dict[str, Any]) -> Any:
        record = self._record(d)
        return record | {"_meta": {"device": HOSTILE}} if d["meta"] else record

    def on_erase(self, d: dict[str, Any]) -> Any:
        receipt = None if d.get("dry_run") else RECEIPT | {"devices": []}
        return {"records": self.erasable, "blobs": 1, "refused": 1, "receipt": receipt}

    def on_erasures(self, _: dict[str, Any]) -> Any:
        return {"erasures": [RECEIPT]}

    def on_storage(self, _: dict[str, Any]) -> Any:
        return REPORT

    def on_storage_keep(self, _: dict[str, Any]) -> Any:
        return REPORT["rules"][0]

    def on_storage_tidy(self, _: dict[str, Any]) -> Any:
        return {"expired": 2, "refused": 1, "packed": 5, "before": 90, "after": 30}

    def on_delete(self, d: dict[str, Any]) -> Any:
        self._record(d)
        del self.records[d["database"], d["collection"], d["id"]]
        return {"id": d["id"], "deleted": True}

    def on_move(self, d: dict[str, Any]) -> Any:
        self._record(d)
        moved = d["privacy"] != "private"
        told = {"id": d["id"], "moved": moved, "from": "private", "to": d["privacy"]}
        return {**told, "remains": f"{HOSTILE} may keep copies"} if moved else told

    def on_list(self, d: dict[str, Any]) -> Any:
        return {
            "records": [
                {"collection": collection, "id": record_id, **value}
                for (database, collection, record_id), value in self.records.items()
                if database == d["database"] and d["collection"] in (None, collection)
            ][: d["limit"]]
        }

    def on_find(self, d: dict[str, Any]) -> Any:
        return {
            "records": [
                {"id": record_id, **value}
                for (_, _, record_id), value in self.records.items()
                if all(value.get(name) == wanted for name, wanted in d["where"].items())
            ]
        }

    def on_blob_put(self, d: dict[str, Any]) -> Any:
        face = {"id": "ab" * 32, "size": 300_000, "type": d["type"], "name": HOSTILE}
        return {"id": d["id"], "version": "v1", "blob": face}

    def on_blob_get(self, d: dict[str, Any]) -> Any:
        given = [{"device": HOSTILE, "chunks": 2}]
        return {"file": d["file"], "bytes": 300_000, "id": "ab" * 32, "from": given}

    def on_blob_list(self, d: dict[str, Any]) -> Any:
        place = {"database": "memory", "collection": "facts", "id": HOSTILE, "field": "photo"}
        place |= {"variant": "", "privacy": "private", "type": "image/png", "name": HOSTILE}
        row = {"id": "ab" * 32, "size": 300_000, "here": 1, "chunks": 2, "held_by": [HOSTILE]}
        return {"blobs": [{**row, "places": [place]}], "used": 262_144, "quota": 0}

    def on_blob_quota(self, d: dict[str, Any]) -> Any:
        return {"quota": d.get("bytes", 0), "used": 262_144}

    async def stream_blob_read(self, d: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        yield {"data": "AP9o"}
        yield {"data": "aQ=="}

    def on_sync(self, d: dict[str, Any]) -> Any:
        return self.on_status(d)

    def on_status(self, d: dict[str, Any]) -> Any:
        database = {"name": "memory", "state": "synced", "behind": 0, "ahead": 0, "bytes_left": 0}
        proof = {"proved_at": "2026-01-01T10:00:00Z"}
        if not self.synced:
            database |= {"state": "behind", "behind": 3, "bytes_left": 2048}
            proof = {"proved_at": None}  # type: ignore[dict-item]
        peer = {
            "device_id": PHONE["id"],
            "name": HOSTILE,
            "state": "connected" if self.connected else "away",
            "path": "lan" if self.connected else None,
            "address": "192.0.2.7:7654" if self.connected else None,
            "databases": [database | proof],
        }
        return {
            "device": {"id": DEVICE["id"], "name": "laptop"},
            "mesh": "00" * 16,
            "peers": [] if self.alone else [peer],
            "alarms": [] if self.synced else [f"the log of {HOSTILE} forked"],
            "reachable_all_synced": self.synced,
        }

    def on_backup(self, d: dict[str, Any]) -> Any:
        made = {"file": d["file"], "bytes": 4096, "made_at": "2026-01-01T10:00:00Z"}
        return made | {"blobs_only_here": 2}

    def on_log_verify(self, d: dict[str, Any]) -> Any:
        return self.verified

    def on_log_keep(self, d: dict[str, Any]) -> Any:
        return {"days": 365 if d["days"] is None else d["days"], "events": d["events"] or 100_000}

    def on_down(self, d: dict[str, Any]) -> Any:
        self.stopped.set()
        return {"stopping": True}

    def on_pair_answer(self, d: dict[str, Any]) -> Any:
        return self._answered("pair", d["accept"])

    def on_join_answer(self, d: dict[str, Any]) -> Any:
        return self._answered("join", d["accept"])

    async def stream_watch(self, d: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        change = {"collection": "facts", "id": "tea", "origin": HOSTILE}
        yield {"op": "put", **change, "record": {"text": HOSTILE}}
        yield {"op": "delete", **change, "record": None}
        yield {"op": "lost", "count": 3}
        if d["collection"] == "forever":
            await self.stopped.wait()

    async def stream_export(self, d: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        for (database, collection, record_id), value in self.records.items():
            if d["database"] in (None, database):
                yield {
                    "database": database,
                    "collection": collection,
                    "id": record_id,
                    "record": value,
                }
        if "after export" in self.failing:
            raise self.failing["after export"]

    async def stream_import_chat(self, d: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        counts = {"conversations": 2, "read": 7, "written": 5, "unchanged": 1}
        counts |= {"deleted": 1, "blobs": 1, "broken": 1}
        yield {"event": "broken", "where": f"c.json: {HOSTILE}", "why": "no id"}
        yield {"event": "progress", **counts}
        yield {"event": "done", **counts}

    async def stream_log(self, d: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        yield {"time": "2026-01-01T10:00:00Z", "event": "enrolled", "device": PHONE}

    async def stream_events(self, d: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        yield {"event": "ready", "port": 7654, "device": DEVICE}
        yield {"event": "peer-connected", "device": HOSTILE}
        await self.stopped.wait()

    async def stream_pair(self, d: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        yield {
            "event": "code",
            "code": "amber-clock-river",
            "qr": PICTURE,
            "port": 7654,
            "expires_in": 300,
            "tag": "k7qf",
            "addresses": ["192.0.2.7:7654"],
        }
        if self.pairing_failure is not None:
            yield {"event": "failed", **self.pairing_failure}
            return
        device = {**PHONE, "level": d["level"]}
        if d["ask"]:
            answer = self._question("pair")
            yield {"event": "confirm", "device": device}
            if not await answer:
                yield {"event": "failed", "reason": "declined", "message": "declined here"}
                return
        yield {"event": "enrolled", "device": device}
        self.asked.append(("pair lasted", {}))

    async def stream_join(self, d: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        yield {"event": "searching"}
        if self.pairing_failure is not None:
            yield {"event": "failed", **self.pairing_failure}
            return
        if d["ask"]:
            answer = self._question("join")
            yield {
                "event": "confirm",
                "mesh_name": HOSTILE,
                "level": "full",
                "enrolled_by": PHONE,
            }
            if not await answer:
                yield {"event": "failed", "reason": "declined", "message": "declined here"}
                return
        yield {"event": "joined", "mesh": "00" * 16, "enrolled_by": PHONE}
        yield {"event": "progress", "behind": 3, "bytes_left": 2048}
        if self.first_sync_end is not None:
            yield self.first_sync_end

    def _answered(self, what: str, accept: bool) -> Any:
        if what not in self.answers:
            raise FakeError("nobody is waiting for an answer", 2)
        self.answers.pop(what).set_result(accept)
        return {"accepted": accept}

    def _question(self, what: str) -> asyncio.Future[bool]:
        answer = self.answers[what] = asyncio.get_running_loop().create_future()
        if self.human_step_over:
            self.answers.pop(what).set_result(False)
        return answer

    def _record(self, d: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.records[d["database"], d["collection"], d["id"]]
        except KeyError:
            raise FakeError(f"no record {d['collection']}/{d['id']}", 1) from None


def _row(device: dict[str, Any], is_self: bool) -> dict[str, Any]:
    return {
        "device_id": device["id"],
        "short_id": device["short_id"],
        "device_name": device["name"],
        "device_type": device["type"],
        "trust_level": "full",
        "expires_at": None,
        "role": "admin",
        "last_seen": None,
        "status": "active",
        "sync_policy": "full",
        "self": is_self,
    }


async def _run(home: Path) -> None:
    service = FakeService()
    service.records["memory", "facts", "tea"] = {"text": "likes tea"}
    async with serve(home, service):
        print("ready", flush=True)
        await service.stopped.wait()


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1])))
