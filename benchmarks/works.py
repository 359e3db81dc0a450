"""The work that is measured, one function each: homes and processes in, measures out.

`WORKS` names them in the order in which they run. Budgets are in `budgets.py`.
"""

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from covey.simulations.planning import plan_of
from covey.simulations.runner import run_plan
from covey.simulations.scenarios import SCENARIOS

from .analytics import measure_analytics
from .blobs import measure_cuts, measure_stream
from .budgets import Measure
from .caching import measure_cache
from .commands import measure_command
from .companion import measure_companion
from .disk import measure_disk
from .folding import measure_fold
from .homes import Home
from .lifecycle import measure_lifecycle
from .process import PeerProcess
from .queries import measure_queries
from .searching import measure_search
from .simulating import simulated_apart
from .stage import Stage
from .vectors import measure_vectors
from .views import measure_views
from .workload import RECORD_BYTES, queries

KIB_PER_MIB = 1024
TRANSACTION_PUTS = 500
APART_CHANGED = 500
APART_CONFLICTING = 100
LIVE_PAUSE_S = 0.005
LIVE_WARMING = 50
RECONNECT_FEW = 100
SETTLE_S = 3.0
FOLDED_OPERATIONS = 1_000


def disk(stage: Stage) -> list[Measure]:
    return measure_disk(stage.folder)


def writes(stage: Stage) -> list[Measure]:
    """Durable local puts on a node without a peer."""
    (home,) = stage.homes("laptop")
    count, many = stage.sizes.puts, stage.sizes.puts * 10
    with PeerProcess(home) as peer:
        # The first write of a database makes its scope and key.
        peer.ask("fill", first=0, count=100, in_flight=1)
        alone = peer.ask("fill", first=1_000_000, count=count, in_flight=1)["seconds"]
        together = peer.ask("fill", first=2_000_000, count=count * 3, in_flight=64)["seconds"]
        whole = peer.ask("transact", first=3_000_000, count=many, size=TRANSACTION_PUTS)["seconds"]
    return [
        Measure("put_alone", count / alone, f"{alone / count * 1e6:.0f} us each"),
        Measure("put_together", count * 3 / together, f"{together / count / 3 * 1e6:.0f} us each"),
        Measure("put_transactions", many / whole, f"{whole / many * 1e6:.0f} us each"),
    ]


def cold_small(stage: Stage) -> list[Measure]:
    records = stage.sizes.small
    _, cold = stage.synced(records)
    each = cold.received_bytes / records
    return [
        Measure("cold_small", cold.seconds, _per_record(records, cold.seconds)),
        Measure("cold_wire", each / RECORD_BYTES, f"{each:.0f} bytes"),
    ]


def cold_large(stage: Stage) -> list[Measure]:
    records = stage.sizes.large
    _, cold = stage.synced(records)
    (before, peak), (_, sender_peak) = cold.receiver, cold.sender
    return [
        Measure("cold_large", cold.seconds, _per_record(records, cold.seconds)),
        Measure("cold_peak_receiver", peak / KIB_PER_MIB, f"{before / KIB_PER_MIB:.0f} before"),
        Measure("cold_growth_receiver", (peak - before) / KIB_PER_MIB),
        Measure(
            "cold_peak_sender",
            sender_peak / KIB_PER_MIB,
            f"{cold.sender[0] / KIB_PER_MIB:.0f} before",
        ),
    ]


def live(stage: Stage) -> list[Measure]:
    """From the call of put here until the record is durable and told to a watcher there."""
    homes = stage.homes("laptop", "phone")
    count = stage.sizes.live + LIVE_WARMING
    with PeerProcess(homes[0]) as writer, PeerProcess(homes[1]) as reader:
        writer.ask("fill", first=0, count=1, in_flight=1)
        _link(writer, reader)
        reader.ask("look")
        reader.tell("seen", count=count)
        began = writer.ask("put_slowly", first=1, count=count, pause_s=LIVE_PAUSE_S)["began"]
        seen = reader.hear()["seen"]
    taken = [(seen[id] - began[id]) * 1e3 for id in list(began)[LIVE_WARMING:]]
    return [
        Measure("live_p50", statistics.median(taken)),
        Measure("live_p99", _percentile(taken, 99), f"worst {max(taken):.1f} ms"),
    ]


def reconnect(stage: Stage) -> list[Measure]:
    """A device comes back and nothing has changed."""
    measures = []
    for name, records in (("few", RECONNECT_FEW), ("many", stage.sizes.small)):
        homes, _ = stage.synced(records)
        proofs = []
        with PeerProcess(homes[0]) as stayed:
            port = stayed.ask("serve")["port"]
            for _ in range(stage.sizes.rounds):
                with PeerProcess(homes[1]) as returning:
                    returning.ask("link", port=port)
                    proofs.append(returning.ask("proved"))
        taken = [(p["proved_at"] - p["linked_at"]) * 1e3 for p in proofs]
        note = f"{records:,} records"
        measures += [
            Measure(f"reconnect_{name}_trips", max(p["trips"] for p in proofs), note),
            Measure(f"reconnect_{name}_bytes", max(p["bytes"] for p in proofs), note),
            Measure(
                f"reconnect_{name}", statistics.median(taken), f"{note}, {max(taken):.1f} worst"
            ),
        ]
    return measures


def apart(stage: Stage) -> list[Measure]:
    """Two devices that agreed change records while apart, some of them both, and meet again."""
    homes = stage.homes("laptop", "phone")
    with PeerProcess(homes[0]) as one, PeerProcess(homes[1]) as other:
        one.ask("fill", first=0, count=1, in_flight=1)
        one.ask("fill", first=1, count=stage.sizes.small - 1, in_flight=64)
        _link(one, other)
    with PeerProcess(homes[0]) as one, PeerProcess(homes[1]) as other:
        one.ask("change", first=0, count=APART_CHANGED, field="thread", value="moved")
        one.ask("change", first=600, count=APART_CONFLICTING, field="author", value="one")
        other.ask("change", first=600, count=APART_CONFLICTING, field="author", value="other")
        _, proofs = _link(one, other)
    taken = max(p["proved_at"] for p in proofs) - min(p["linked_at"] for p in proofs)
    return [Measure("apart", taken, f"of {stage.sizes.small:,} records")]


def conflicts(stage: Stage) -> list[Measure]:
    """A week apart in which both changed every record: other fields of them, or the same field."""
    records = stage.sizes.small
    merged, _ = _met_again(stage, ("thread", "author"))
    clashed, pages = _met_again(stage, ("author", "author"))
    note = f"{records:,} records"
    return [
        Measure("merged", merged, _per_record(records, merged)),
        Measure("conflicts", clashed / merged, _per_record(records, clashed)),
        Measure("inbox_page", pages[0], note),
        Measure("inbox_deep", pages[1], note),
    ]


def _met_again(stage: Stage, fields: tuple[str, str]) -> tuple[float, list[float]]:
    """The seconds until both proved that they hold the same, and the ms of pages of the inbox."""
    records = stage.sizes.small
    homes = stage.homes("laptop", "phone")
    with PeerProcess(homes[0]) as one, PeerProcess(homes[1]) as other:
        one.ask("fill", first=0, count=1, in_flight=1)
        one.ask("fill", first=1, count=records - 1, in_flight=64)
        _link(one, other)
    with PeerProcess(homes[0]) as one, PeerProcess(homes[1]) as other:
        for peer, field in zip((one, other), fields, strict=True):
            value = "one" if peer is one else "other"
            peer.ask("change", first=0, count=records, field=field, value=value)
        _, proofs = _link(one, other)
        taken = max(p["proved_at"] for p in proofs) - min(p["linked_at"] for p in proofs)
        inbox = other.ask("inbox", skips=[0, records // 2])
    expected = records if len(set(fields)) == 1 else 0
    if inbox["conflicts"] != expected:
        raise RuntimeError(f"{inbox['conflicts']} conflicts of {expected}: not a measurement")
    return taken, inbox["ms"]


def at_rest(stage: Stage) -> list[Measure]:
    """A large store: its size, opening it, searching it."""
    records = stage.sizes.large
    homes, _ = stage.synced(records)
    each = homes[1].store_bytes() / records
    opened = []
    for _ in range(stage.sizes.rounds):
        with PeerProcess(homes[1]) as peer:
            opened.append(peer.opened_ms)
            taken = peer.ask("search", texts=queries(stage.sizes.searches))["ms"]
    written = homes[0].store_bytes() / records
    note = f"{records:,} records"
    return [
        Measure(
            "disk_record",
            max(each, written) / RECORD_BYTES,
            f"{each:.0f} bytes where received, {written:.0f} where written",
        ),
        Measure("open", statistics.median(opened), f"{note}, {max(opened):.0f} worst"),
        Measure(
            "search_p95",
            _percentile(taken, 95),
            f"{note}, median {statistics.median(taken):.1f} ms, worst {max(taken):.0f}",
        ),
    ]


def idle(stage: Stage) -> list[Measure]:
    """Connected, in sync, and nobody does anything."""
    peers = stage.sizes.idle_peers
    homes = stage.homes("laptop", *(f"peer-{n}" for n in range(peers)))
    return [
        _idle("idle_one", homes[:2], stage.sizes.idle_s),
        _idle("idle_ten", homes, stage.sizes.idle_s),
    ]


def _idle(name: str, homes: Sequence[Home], seconds: float) -> Measure:
    with ExitStack() as stack:
        first, *others = [stack.enter_context(PeerProcess(home)) for home in homes]
        port = first.ask("serve")["port"]
        for other in others:
            other.ask("link", port=port)
        for other in others:
            other.ask("proved")
        first.ask("idle", seconds=min(seconds, SETTLE_S))
        used = first.ask("idle", seconds=seconds)
    if used["links"] < len(others):
        raise RuntimeError(f"{used['links']} of {len(others)} peers linked: not a measurement")
    share = used["cpu_s"] / used["seconds"] * 100
    return Measure(name, share, f"{len(others)} linked, {used['seconds']:.0f} s, without mDNS")


def command(stage: Stage) -> list[Measure]:
    return measure_command(stage.homes("laptop")[0], stage.sizes.rounds * 3)


def fold(stage: Stage) -> list[Measure]:
    return measure_fold(FOLDED_OPERATIONS, stage.sizes.rounds * 3)


def simulated(stage: Stage) -> list[Measure]:
    """Whole runs of the simulator: five devices, 60 operations, every kind of fault."""
    scenario = SCENARIOS["mixed"]
    seeds = stage.sizes.seeds
    outcomes = [run_plan(plan_of(scenario, seed)) for seed in range(1, seeds + 1)]
    spent_s = sum(outcome.cpu_s for outcome in outcomes)
    failed = sum(not outcome.ok for outcome in outcomes)
    note = f"{seeds} seeds, {spent_s / seeds * 1e3:.0f} ms each, {failed} violated"
    return [Measure("simulated", seeds / spent_s * 3_600, note)]


def crowd(stage: Stage) -> list[Measure]:
    """Fifty devices at one place, all linked to all."""
    return _scenario("crowd", SCENARIOS["crowd"].hours)


def commuter(stage: Stage) -> list[Measure]:
    """A month in which a phone goes to the office and back."""
    return _scenario("commuter", stage.sizes.commuter_hours)


def _scenario(name: str, hours: float) -> list[Measure]:
    run = simulated_apart(name, 1, hours)
    note = f"{run['devices']} devices, {run['hours']:,.3g} h, {run['violated']} violated"
    return [
        Measure(f"{name}_cpu", run["cpu_s"], note),
        Measure(f"{name}_peak", run["peak_kib"] / KIB_PER_MIB, note),
    ]


def _link(one: PeerProcess, other: PeerProcess) -> tuple[int, list[dict[str, float]]]:
    """Let the other dial the one, until both have proved that they hold the same."""
    port = one.ask("serve")["port"]
    one.tell("proved")
    other.ask("link", port=port)
    return port, [other.ask("proved"), one.hear()]


def _percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]


def _per_record(records: int, seconds: float) -> str:
    return f"{records:,} records, {seconds / records * 1e6:.0f} us each"


WORKS: dict[str, Callable[[Stage], list[Measure]]] = {
    "disk": disk,
    "writes": writes,
    "live": live,
    "cold_small": cold_small,
    "reconnect": reconnect,
    "apart": apart,
    "conflicts": conflicts,
    "cold_large": cold_large,
    "at_rest": at_rest,
    "queries": measure_queries,
    "idle": idle,
    "command": command,
    "blobs": measure_stream,
    "blob_cuts": measure_cuts,
    "lifecycle": measure_lifecycle,
    "vectors": measure_vectors,
    "companion": measure_companion,
    "views": measure_views,
    "search": measure_search,
    "analytics": measure_analytics,
    "cache": measure_cache,
    "fold": fold,
    "simulated": simulated,
    "crowd": crowd,
    "commuter": commuter,
}
