"""Budgets: what each measured number may be at most, or must be at least, and what is aimed at.

They hold for two cores, loopback and two processes. A number without a budget is shown because
another one is read beside it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    work: str
    unit: str
    limit: float | None = None
    aim: float | None = None
    at_least: bool = False

    def met_by(self, value: float) -> bool | None:
        """None if nothing was promised."""
        if self.limit is None:
            return None
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Measure:
    """One number. `name` is a key of `BUDGETS`."""

    name: str
    value: float
    note: str = ""


BUDGETS = {
    "disk_sync": Budget("4 KiB over old blocks + fdatasync, median", "us"),
    "put_alone": Budget("put, one caller that awaits each", "/s", 5_000, 10_000, True),
    "put_together": Budget("put, one caller with 64 in flight", "/s", 5_000, 10_000, True),
    "put_transactions": Budget("put, transactions of 500", "/s", 20_000, 50_000, True),
    "cold_small": Budget("cold sync, small", "s", 0.6, 0.33),
    "cold_large": Budget("cold sync, large", "s"),
    "cold_wire": Budget("wire bytes a record, by its JSON", "x", 1.1, 1.0),
    "cold_peak_receiver": Budget("cold sync, large: peak of the receiver", "MiB", 120),
    "cold_growth_receiver": Budget("cold sync, large: growth of the receiver", "MiB"),
    "cold_peak_sender": Budget("cold sync, large: peak of the sender", "MiB", 120),
    "live_p50": Budget("write seen on the peer, median", "ms", 2, 1),
    "live_p99": Budget("write seen on the peer, 99 of 100", "ms", 10),
    "reconnect_few_trips": Budget("reconnect in sync, few: round trips", "", 1),
    "reconnect_few_bytes": Budget("reconnect in sync, few: bytes", "B", 1024),
    "reconnect_few": Budget("reconnect in sync, few", "ms", 10),
    "reconnect_many_trips": Budget("reconnect in sync, many: round trips", "", 1),
    "reconnect_many_bytes": Budget("reconnect in sync, many: bytes", "B", 1024),
    "reconnect_many": Budget("reconnect in sync, many", "ms", 10),
    "apart": Budget("500 changed, 100 conflicting after apart", "s", 0.1),
    "merged": Budget("a week apart, no conflicts", "s"),
    "conflicts": Budget("the same, all in conflict", "x", 2, 1),
    "inbox_page": Budget("first page of the inbox", "ms", 50),
    "inbox_deep": Budget("a page after half of it", "ms", 50),
    "disk_record": Budget("disk a record at rest, by its JSON", "x", 4),
    "open": Budget("opening a store", "ms", 300, 100),
    "search_p95": Budget("full-text search, 95 of 100", "ms", 50),
    "query_walked": Budget("fifty newest of a thread, no index", "ms"),
    "query_recent_cold": Budget("fifty newest of a thread, cold", "ms", 150),
    "query_recent": Budget("fifty newest of a thread", "ms", 150),
    "query_recent_kept": Budget("the same, asked before", "ms"),
    "query_filtered_cold": Budget("by two fields, cold", "ms", 100),
    "query_filtered": Budget("by two fields", "ms", 100),
    "query_filtered_kept": Budget("the same, asked before", "ms"),
    "query_words_cold": Budget("by words, cold", "ms", 200),
    "query_words": Budget("by words", "ms", 200),
    "query_words_kept": Budget("the same, asked before", "ms"),
    "index_bytes": Budget("what an index adds to the store", "%", 20),
    "index_filled": Budget("filling an index", "s"),
    "idle_one": Budget("idle node, one peer", "% core", 0.5),
    "idle_ten": Budget("idle node, ten peers", "% core", 0.5),
    "blob_put": Budget("blob: put, durable", "MiB/s"),
    "blob_fetch": Budget("blob: fetched from a peer, durable", "MiB/s"),
    "blob_read": Budget("blob: read and opened", "MiB/s"),
    "blob_growth_sender": Budget("blob: growth of the sender", "MiB", 40),
    "blob_growth_receiver": Budget("blob: growth of the receiver", "MiB", 40),
    "blob_cuts": Budget("blob: sent again, by a link cut five times", "chunks a cut", 1),
    "warm_saved": Budget("warm records: saved of document and history", "%"),
    "cold_saved": Budget("cold records: saved of document and history", "%", 60, None, True),
    "cold_freed": Budget("the same, in pages of the store", "MiB"),
    "cold_rate": Budget("records made cold", "/s"),
    "edit_hot": Budget("state of a record loaded to be changed, hot", "ms"),
    "edit_cold": Budget("the same, cold", "ms"),
    "vectors_recall": Budget("vectors: of the nearest ten, found", "", 0.95, 0.99, True),
    "vectors_taken": Budget("vectors: taken from a record into rows", "us"),
    "vectors_disk": Budget("vectors: store a vector, rows and sketches", "KiB"),
    "vectors_warm": Budget("vectors: rows to warm index", "s"),
    "vectors_memory": Budget("vectors: memory a vector", "KiB", 7),
    "vectors_cold": Budget("vectors: nearest ten, cold", "ms", 500, 150),
    "vectors_cold_filtered": Budget("vectors: nearest ten with a condition, cold", "ms", 500, 150),
    "vectors_found": Budget("vectors: nearest ten, warm, median", "ms", 200, 50),
    "vectors_filtered": Budget("vectors: nearest ten with a condition, warm", "ms", 500, 200),
    "view_made": Budget("view: made of all records", "s"),
    "view_replayed": Budget("view: replayed from nothing", "s", 60),
    "view_newest_cold": Budget("view: 50 newest of a thread, cold", "ms", 150),
    "view_newest": Budget("view: 50 newest of a thread, warm", "ms", 150),
    "view_unread": Budget("view: unread in each thread", "ms", 150),
    "view_followed": Budget("view: a change taken in and counted", "ms", 100),
    "view_store": Budget("view: bytes of two, by the store", "%"),
    "ranked_cold": Budget("search, the best first, cold", "ms", 200),
    "ranked_p95": Budget("search, the best first, 95 of 100", "ms", 200),
    "ranked_common": Budget("search for the commonest word", "ms", 200),
    "sql_filled": Budget("SQL: a table filled from nothing", "s", 20),
    "sql_memory": Budget("SQL: memory of a table", "MiB", 500),
    "sql_grouped": Budget("SQL: counts by thread", "ms", 1_000),
    "sql_followed": Budget("SQL: 100 changes taken in and counted", "ms", 250),
    "cache_put": Budget("cache: a small value put, median", "us", 1_000),
    "cache_hit": Budget("cache: a small value got, median", "us", 1_000),
    "cache_miss": Budget("cache: nothing there, median", "us", 1_000),
    "cache_full": Budget("cache: large values put into a full one", "MiB/s"),
    "cache_room": Budget("cache: its folder, of its bound", "times", 2.5),
    "cache_open": Budget("cache: a full one opened", "ms", 2_000),
    "walk_cold": Budget("links: three steps, cold", "s", 2),
    "walk": Budget("links: three steps, warm", "s", 2),
    "walk_back_first": Budget("links: the first way back", "s"),
    "walk_back": Budget("links: three steps back", "ms", 2_000),
    "fold": Budget("fold of 1,000 membership operations", "CPU ms", 50),
    "fold_again": Budget("the same, its certificates verified before", "CPU ms"),
    "fold_decode": Budget("decoding them", "CPU ms"),
    "simulated": Budget("seeds of the simulator, five devices", "/CPU h", 20_000, None, True),
    "crowd_cpu": Budget("simulator, fifty devices", "CPU s", 60, 20),
    "crowd_peak": Budget("simulator, fifty devices: memory", "MiB", 400),
    "commuter_cpu": Budget("simulator, commuter of thirty days", "CPU s", 60, 20),
    "commuter_peak": Budget("simulator, commuter of thirty days: memory", "MiB", 200),
    "companion_context": Budget("companion: last 20 messages", "ms", 100),
    "companion_recent": Budget("companion: 50 recent messages", "ms", 150),
    "companion_personas": Budget("companion: active personas", "ms", 100),
    "companion_text": Budget("companion: full text over messages", "ms", 200),
    "companion_recall": Budget("companion: by meaning, with field filters", "ms", 500),
    "companion_question": Budget("companion: by meaning, over all memories", "ms", 500),
    "companion_walk": Budget("companion: links to depth 3", "ms", 2_000),
    "companion_hot": Budget("companion: last 20 messages, kept", "ms", 100),
    "companion_start": Budget("companion: cold start with encryption", "s", 2),
    "command": Budget("one command against a running node", "ms", 150, 80),
}
