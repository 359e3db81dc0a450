"""The checkers: each of them tells when its claim is broken, and none of them otherwise.

Every test runs a small plan on the real node. At one moment of it something is broken by hand, in
memory or on a disk, as a defect would break it; and the claim that stands against it must be told.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from covey.crypto.entry import CONTROL_SCOPE
from covey.crypto.identity import make_certificate
from covey.node import switchboard
from covey.node.status import Standing
from covey.simulations.checkers import CHECKERS, bounds, convergence, holds
from covey.simulations.checkers.ages import AgeChecker
from covey.simulations.checkers.derived import DerivedChecker
from covey.simulations.checkers.memories import MemoryChecker
from covey.simulations.checkers.migrations import MigrationChecker
from covey.simulations.checkers.wire import spellings
from covey.simulations.doings import DOINGS
from covey.simulations.doings.user_doings import in_device
from covey.simulations.pairings import Attempt
from covey.simulations.plan import Plan, Step
from covey.simulations.reference import claims
from covey.simulations.run import Run
from covey.simulations.runner import run_plan
from covey.simulations.sim_device import SimDevice
from covey.simulations.sim_disk import _Inode
from covey.simulations.sim_network import Machine, Tampering
from covey.simulations.templates import mallory_keys
from covey.simulations.witness import CANARY, Write
from covey.simulations.world import Violation
from covey.storage import membership_rows
from covey.sync import registry
from covey.sync.sharing import NOTHING

from .simulated import GUEST, LAPTOP, PHONE

Breakage = Callable[[Run], object]

BREAK_MS = 4_000
END_MS = 5_000
CAST = (LAPTOP, PHONE, GUEST)
DATA_CHECKERS = (DerivedChecker, MemoryChecker, MigrationChecker, AgeChecker)
"""Their claims are broken in test_data_checkers.py."""


def put(at_ms: int, device: str, privacy: str, id: str, **fields: str) -> Step:
    """A write, as a plan has it."""
    args = {
        "device": device,
        "database": "memory",
        "collection": "facts",
        "privacy": privacy,
        "id": f"{privacy}-{id}",
        "fields": {name: f"{CANARY} {value}" for name, value in fields.items()},
    }
    return Step(at_ms, "put", args)


PLAN = Plan(
    "by hand",
    seed=1,
    cast=CAST,
    law="lan",
    places=("home",) * 3,
    faults=(),
    steps=(
        put(1_500, "laptop", "private", "1", text="one"),
        put(1_600, "laptop", "family", "1", text="two"),
        put(1_700, "phone", "public", "1", text="three", mood="four"),
        put(1_800, "phone", "device", "1", text="five"),
        put(2_500, "laptop", "public", "1", text="six"),
        put(2_600, "laptop", "public", "3", text="eight"),
        put(3_000, "guest", "public", "2", text="seven"),
    ),
    end_ms=END_MS,
)


def outcome_of(
    monkeypatch: pytest.MonkeyPatch, breakage: Breakage | None = None, plan: Plan = PLAN
) -> list[Violation]:
    """What is told of the plan, with something broken at `BREAK_MS`."""
    if breakage is not None:
        broken = breakage
        monkeypatch.setitem(DOINGS, "break", lambda run, args: broken(run))
        plan = replace(plan, steps=(*plan.steps, Step(BREAK_MS, "break", {})))
    return run_plan(plan).violations


def told(violations: list[Violation], claim: str, device: str, part: str) -> bool:
    return any(v.claim == claim and v.device == device and part in v.message for v in violations)


def device_of(run: Run, name: str) -> SimDevice:
    found = run.device(name)
    assert found is not None
    return found


def change_store(run: Run, name: str, *statements: str, parameters: tuple[Any, ...] = ()) -> None:
    """Change what is in a device's store, behind its back."""
    for statement in statements:
        device_of(run, name).store._conn.execute(statement, parameters)


def of_scope(privacy: int) -> str:
    """The collection of the facts of one privacy level."""
    return f"SELECT coll_no FROM collections JOIN scopes USING (scope_no) WHERE privacy = {privacy}"


# All of them -----------------------------------------------------------------------------------


def test_nothing_is_told_of_a_plan_in_which_nothing_is_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A checker that cries wolf is switched off."""
    assert outcome_of(monkeypatch, lambda run: None) == []


def test_every_claim_of_a_checker_is_broken_by_a_test_of_this_file() -> None:
    """A claim that no test breaks may be one that cannot be told."""
    claimed = {name for checker in CHECKERS for name in checker.claims}
    of_data = {name for checker in DATA_CHECKERS for name in checker.claims}

    assert claimed - of_data == {claim for claim, *_ in BREAKAGES.values()}
    assert claims().keys() == claimed | {"I14"}


# Breakages -------------------------------------------------------------------------------------


def lose_a_record(run: Run) -> None:
    change_store(run, "phone", f"DELETE FROM records WHERE coll_no IN ({of_scope(2)})")


def show_another_value(run: Run) -> None:
    statement = f'UPDATE records SET value = \'{{"text":"x"}}\' WHERE coll_no IN ({of_scope(2)})'
    change_store(run, "phone", statement)


def take_back_a_name(run: Run) -> None:
    devices = device_of(run, "phone").engine.mesh.registry.devices
    key = device_of(run, "guest").engine.keys.sig_pk
    devices[key] = replace(devices[key], name="nobody")  # type: ignore[index]


def forget_to_send(run: Run) -> None:
    """Nobody gets through to the phone, whatever is mended, and it writes something."""
    phone = run.world.network.machines["phone"]
    goes = run.world.network.goes

    def never(source: Machine, target: Machine) -> bool:
        return phone not in (source, target) and goes(source, target)

    run.world.network.goes = never  # type: ignore[method-assign]
    DOINGS["put"](run, {**PLAN.steps[0].args, "device": "phone", "id": "private-9"})


def chatter(run: Run) -> None:
    """Somebody says something every second, for ever."""
    loop = run.world.loop

    def speak() -> None:
        run.world.network.watch("phone", "laptop", b"still here")
        if not loop.is_closed():
            loop.call_later(0.5, speak)

    speak()


def claim_more(run: Run) -> None:
    """An author was told that an entry is durable which nobody has."""
    (key, (seq, id)), *_ = (each for each in run.witness.held.items() if each[0][0] == "guest")
    run.witness.held[key] = (seq + 1, id)


def claim_another(run: Run) -> None:
    (key, (seq, _)), *_ = (each for each in run.witness.held.items() if each[0][0] == "guest")
    run.witness.held[key] = (seq, bytes(32))


def a_write_by_hand(run: Run, value: str) -> Write:
    """A write that the witness puts down, and the node never heard of."""
    laptop = device_of(run, "laptop")
    write = run.witness.tries(
        "laptop", laptop.engine, ("memory", "facts", "public-1"), {"text": value}, privacy="public"
    )
    run.witness.acknowledges(write, laptop.engine)
    return write


def lose_a_write(run: Run) -> None:
    """Of a field that nobody else ever wrote."""
    write = a_write_by_hand(run, "lost")
    write.fields = {"note": "lost"}


def bring_back_a_write(run: Run) -> None:
    """Somebody who had the present value wrote another one, and it is not shown."""
    a_write_by_hand(run, "newer")


def shorten_a_log(run: Run) -> None:
    log = next(log for log in device_of(run, "phone").engine.ledger.logs() if log.head_seq > 1)
    # Once the checker has looked, and before it looks again.
    run.world.loop.call_later(0.6, setattr, log, "head_seq", log.head_seq - 1)


def say_it_in_the_clear(run: Run) -> None:
    run.world.network.watch("phone", "laptop", b"...." + f"{CANARY} one".encode() + b"....")


def leave_it_in_a_file(run: Run) -> None:
    device_of(run, "guest").disk.files["crash.log"] = _Inode(
        f"{CANARY} one".encode().hex().encode()
    )


def leave_a_chunk(run: Run) -> None:
    """Of a blob that no record refers to, and the store never heard of."""
    run.done["put-blob"] += 1
    device_of(run, "phone").disk.files["0" * 64] = _Inode(b"sealed")


def take_a_key(run: Run) -> None:
    """The guest comes by the key of what is private."""
    for key in device_of(run, "laptop").store.look(membership_rows.scope_keys):
        scope = device_of(run, "laptop").engine.ledger.scope(key.scope_tag)
        if scope is not None and scope.privacy == 1:
            membership_rows.add_scope_key(device_of(run, "guest").store._conn, key)


def take_a_record(run: Run, privacy: int, name: str) -> None:
    """A record comes to a device that has none like it."""
    change_store(
        run,
        name,
        "INSERT INTO collections (scope_no, name)"
        f" SELECT scope_no, 'stolen' FROM scopes WHERE privacy = {privacy} AND database = 'memory'",
        "INSERT INTO records (coll_no, id, value, hlc, log_no, seq, item)"
        " SELECT coll_no, 'x', '{}', 1, 1, 1, 0 FROM collections WHERE name = 'stolen'",
    )


def make_a_gap(run: Run) -> None:
    """The first entry of a log is gone."""
    change_store(
        run,
        "phone",
        "DELETE FROM entries WHERE seq = 1 AND log_no IN (SELECT log_no FROM logs JOIN scopes"
        " USING (scope_no) WHERE privacy = 3)",
    )


def wait_for_nothing(run: Run) -> None:
    log = next(
        log for log in device_of(run, "phone").engine.ledger.logs()
        if log.scope.tag != CONTROL_SCOPE
    )  # fmt: skip
    log.unapplied.add(log.head_seq + 5)


def hurry_ahead(run: Run) -> None:
    """A tail that no commit is on its way for."""
    log = next(iter(device_of(run, "phone").engine.ledger.logs()))
    log.tail_seq += 1


def forget_the_time(run: Run) -> None:
    """Later entries of a log look older than the ones before."""
    change_store(run, "phone", "UPDATE records SET hlc = 1000000 - seq")


def use_a_nonce_again(run: Run) -> None:
    """One place, salt and key, and another entry there."""
    change_store(
        run, "phone", "UPDATE entries SET entry_id = zeroblob(32) WHERE seq = 1 AND log_no = 1"
    )


def forget_an_operation(run: Run) -> None:
    change_store(run, "guest", "DELETE FROM operations WHERE operation_no = 2")


def undo_what_is_heard_again(run: Run) -> None:
    """A batch that holds nothing new takes something away."""
    for name in ("laptop", "phone", "guest"):
        ingest = device_of(run, name).engine.ingest
        store = ingest.store

        async def stores(prepared: Any, name: str = name, store: Any = store) -> Any:
            if run.over:
                change_store(run, name, f"DELETE FROM records WHERE coll_no IN ({of_scope(3)})")
            return await store(prepared)

        ingest.store = stores  # type: ignore[method-assign]


def break_an_index(run: Run) -> None:
    """The store is not whole when it is opened again."""
    change_store(
        run,
        "phone",
        "PRAGMA writable_schema = ON",
        "DELETE FROM sqlite_schema WHERE name = 'records_deleted'",
    )
    device_of(run, "phone").crash()
    run.devices["phone"].begin()


def stay_full(run: Run) -> None:
    """The disk has no room, though somebody says that he made some."""
    disk = device_of(run, "phone").disk
    disk.heal = lambda: setattr(disk, "is_full", True)  # type: ignore[method-assign]


def prove_what_is_not_so(run: Run) -> None:
    for link in device_of(run, "phone").engine.switchboard.links.values():
        knowledge = link.state.knowledge._replace(proved=(bytes(32), bytes(32)))
        link.state = link.state._replace(knowledge=knowledge)


def deny_what_is_so(run: Run) -> None:
    """The phone never believes that anybody is in sync with it."""
    engine = device_of(run, "phone").engine
    standing = engine.standing_with

    def unproved(device: bytes) -> Standing:
        return replace(standing(device), proved=False)

    engine.standing_with = unproved  # type: ignore[method-assign]


def let_in_by_a_wrong_code(run: Run) -> None:
    attempt = Attempt(run, "laptop", ("phone",), "full", wrong=True)
    attempt.enrolled, attempt.is_over = ["somebody"], True


def start_from_a_copy(run: Run) -> None:
    """The rule of instances is fooled: the store takes the file of a copy for its own."""
    phone, copied = device_of(run, "phone"), run.world.fresh_identity()
    name = copied.to_bytes(24, "big")
    change_store(
        run, "phone", "UPDATE meta SET value = ? WHERE key = 'instance.file'", parameters=(name,)
    )
    phone.crash()
    phone.disk = phone.disk.copy("phone", copied)
    phone.begin()


def forget_the_token(run: Run) -> None:
    phone = device_of(run, "phone")
    change_store(run, "phone", "UPDATE meta SET value = x'' WHERE key = 'instance.tokens'")
    phone.crash()
    phone.begin()


def take_what_nobody_signed(run: Run) -> None:
    change_store(
        run, "phone", "UPDATE entries SET signature = zeroblob(64) WHERE signature IS NOT NULL"
    )


def take_what_a_guest_may_not_write(run: Run) -> None:
    """A log of what is private is the guest's."""
    guest = device_of(run, "guest").engine.keys.sig_pk
    change_store(
        run,
        "phone",
        "UPDATE logs SET author = ? WHERE scope_no IN (SELECT scope_no FROM scopes WHERE privacy"
        " = 1)",
        parameters=(guest,),
    )


def forget_what_was_applied(run: Run) -> None:
    change_store(run, "phone", "UPDATE entries SET state = 1 WHERE seq = 2")


def ask_nobody(run: Run) -> None:
    """The phone knows that the laptop holds more of a log, and leaves it at that."""
    board = device_of(run, "phone").engine.switchboard
    (link,) = board.links_to(device_of(run, "laptop").engine.keys.sig_pk)
    known = link.state.knowledge
    scope = next(scope for scope, heads in known.theirs.items() if scope != CONTROL_SCOPE and heads)
    instance, head = next(iter(known.theirs[scope].items()))
    more = {**known.theirs[scope], instance: head._replace(seq=head.seq + 3)}
    theirs = {**known.theirs, scope: more}
    known = known._replace(theirs=theirs, wanting=frozenset((scope,)))
    link.state = link.state._replace(knowledge=known)


def send_what_is_held(run: Run) -> None:
    """The phone holds a database, and a moment later an entry of it has gone all the same."""
    board = device_of(run, "phone").engine.switchboard
    (link,) = board.links_to(device_of(run, "laptop").engine.keys.sig_pk)
    scope = next(scope for scope in link.traffic.entries_by_scope if scope != CONTROL_SCOPE)
    timing = link.state.timing
    held = timing.schedule._replace(held=frozenset({board.holdings.database(scope)}))
    link.state = link.state._replace(timing=timing._replace(schedule=held))
    run.world.loop.call_later(0.5, link.traffic.moved, scope, 1)


def read_on(run: Run) -> None:
    """The phone has taken three messages from where somebody changed the first."""
    run.world.network.tamper("laptop", "phone", Tampering.DROP)
    for pipe in run.world.network.meddled_pipes():
        pipe.wrong_taken = 3
    run.world.network.watch("laptop", "phone", b"another message")


def renew_keys_for_the_thief(run: Run) -> None:
    """The laptop removes the guest, and the guest comes by the keys that are made then."""
    run.done["revoke"] += 1
    laptop, guest = device_of(run, "laptop").engine, device_of(run, "guest").engine
    statement = "INSERT OR IGNORE INTO scope_keys VALUES (?, zeroblob(16), 9, ?)"

    async def act() -> None:
        await laptop.trust.revoke(guest.keys.sig_pk)
        for id in sorted(laptop.mesh.held_keys()):
            change_store(run, "guest", statement, parameters=(id, laptop.mesh.key(id)))

    laptop.spawn(act(), "thief")


def write_on_after_its_removal(run: Run) -> None:
    """What the guest wrote names, on the laptop, heads that tell of its removal."""
    laptop, guest = device_of(run, "laptop").engine, run.ids["guest"]

    async def act() -> None:
        await laptop.trust.revoke(guest)
        heads = b"".join(sorted(laptop.mesh.registry.heads))
        heading = "INSERT INTO headings (kind, key_id, heads) SELECT 1, zeroblob(32), ?"
        change_store(run, "laptop", heading, parameters=(heads,))
        entries = (
            "UPDATE entries SET heading_no = (SELECT max(heading_no) FROM headings)"
            " WHERE log_no IN (SELECT log_no FROM logs WHERE author = ?)"
        )
        change_store(run, "laptop", entries, parameters=(guest,))

    laptop.spawn(act(), "late")


def remove_without_a_cut(run: Run) -> None:
    """The laptop has what the guest wrote, and its removal does not say so."""
    trust = device_of(run, "laptop").engine.trust
    trust._cut_of = lambda device: [[]]  # type: ignore[method-assign]
    DOINGS["revoke"](run, {"device": "laptop", "target": "guest"})


def admit_a_stranger(run: Run) -> None:
    """A device that is none of this run belongs."""
    engine = device_of(run, "laptop").engine
    certificate = make_certificate(mallory_keys(0, "stranger"), engine.mesh.id, 1)
    in_device(run, "laptop", lambda _: engine.mesh.enroll(certificate, "nobody", "phone", "full"))


def limit_somebody(run: Run) -> None:
    """The phone may read less, and nobody has decided that."""
    engine, phone = device_of(run, "laptop").engine, run.ids["phone"]
    in_device(run, "laptop", lambda _: engine.trust.set_level(phone, "limited"))


def withdraw_consent(run: Run, name: str) -> None:
    """A device knows of a policy, its links do not, and the laptop writes."""
    settings: Any = device_of(run, name).engine.mesh.registry.settings
    settings[b"", "memory"] = {"consent": False}
    DOINGS["put"](run, {**PLAN.steps[0].args, "id": "private-9"})


def share_nothing(run: Run) -> None:
    """All devices mistake the policies alike, and one writes what then goes nowhere."""
    for name in ("laptop", "phone", "guest"):
        engine = device_of(run, name).engine
        engine.mesh.sharing_with = lambda *_: NOTHING  # type: ignore[method-assign]
        engine.switchboard.membership_changed()
    DOINGS["put"](run, {**PLAN.steps[0].args, "device": "phone", "id": "private-9"})


def ask_for_ever(run: Run) -> None:
    engine = device_of(run, "laptop").engine
    for link in engine.switchboard.links.values():
        link.asks = (bytes(16),)


def say_what_nobody_said(run: Run) -> None:
    settings: Any = device_of(run, "phone").engine.mesh.registry.settings
    settings[b"", "notes"] = {"unmetered": True}


BREAKAGES: dict[str, tuple[str, str, str, Breakage]] = {
    "a record is lost": ("I1", "phone", "unlike laptop: more [], less [(", lose_a_record),
    "a record is another": ("I1", "phone", "other [(", show_another_value),
    "a member is another": ("I1", "phone", "other members than laptop knows", take_back_a_name),
    "entries do not come": ("I2", "", "hold different entries", forget_to_send),
    "somebody chatters": ("I2", "", "messages in a minute in which nothing happened", chatter),
    "an entry is lost": ("I3", "laptop", "of guest (1 held), which was acknowledged", claim_more),
    "an entry is another": ("I3", "phone", "has another entry 1 of guest than", claim_another),
    "a value is lost": ("I3", "phone", "facts/public-1.note: write 7 of laptop", lose_a_write),
    "a value came back": ("I3", "guest", "though laptop had it and wrote 7", bring_back_a_write),
    "a log got shorter": ("I12", "phone", "a log went from", shorten_a_log),
    "plaintext on the wire": ("I4", "phone", "plaintext in a message", say_it_in_the_clear),
    "plaintext in a file": ("I4", "guest", "plaintext in the file crash.log", leave_it_in_a_file),
    "a chunk is left": ("I23", "phone", "a blob that the store does not know", leave_a_chunk),
    "a thief has new keys": ("I5", "guest", "of the membership in the", renew_keys_for_the_thief),
    "a key too many": ("I6", "guest", "has a key of privacy 1", take_a_key),
    "a record too many": (
        *("I6", "guest", "a record of privacy 1 at level guest"),
        lambda run: take_a_record(run, 1, "guest"),
    ),
    "a record of another device": (
        *("I6", "phone", "a record of level device of another device"),
        lambda run: take_a_record(run, 0, "phone"),
    ),
    "a gap in a log": ("I7", "phone", "entries from 2 to", make_a_gap),
    "an entry waits that is not there": ("I7", "phone", "an entry waits that", wait_for_nothing),
    "a clock that went back": ("I7", "phone", "of a log is stamped no later", forget_the_time),
    "a tail without a commit": ("I7", "phone", "at rest, a log of", hurry_ahead),
    "a nonce comes twice": ("I9", "phone", "a nonce of", use_a_nonce_again),
    "an operation is forgotten": ("I8", "guest", "not the fold of its", forget_an_operation),
    "a stranger belongs": ("I8", "phone", "whom nobody admitted", admit_a_stranger),
    "somebody is limited": ("I8", "guest", "phone is not what it was", limit_somebody),
    "what is heard again counts again": ("I10", "", "again changed", undo_what_is_heard_again),
    "what one holds another refuses": (
        *("I10", "", "refuses what phone holds"),
        take_what_nobody_signed,
    ),
    "a queue is too long": ("I11", "phone", "records in memory", lambda run: None),
    "a store is not whole": ("I13", "phone", "the store is not whole", break_an_index),
    "a store takes no write": ("I13", "phone", "takes no write: StoreFullError", stay_full),
    "a proof of what never was": ("I15", "phone", "a proof of what", prove_what_is_not_so),
    "a wrong code opens": ("I16", "laptop", "a wrong code let a device in", let_in_by_a_wrong_code),
    "a copy keeps its instance": ("I17", "phone", "a copy of a store goes on", start_from_a_copy),
    "an instance is lost": ("I17", "phone", "another instance, and nobody", forget_the_token),
    "an entry is not signed": ("I18", "phone", "is not signed by its", take_what_nobody_signed),
    "an entry is by whom it may not be": (
        *("I18", "phone", "entries of privacy 1 by somebody who may not write there"),
        take_what_a_guest_may_not_write,
    ),
    "who was removed writes on": (
        *("I18", "laptop", "by a device that says itself that it does not belong"),
        write_on_after_its_removal,
    ),
    "a removal has seen nothing": (
        *("I3", "phone", "a removal says less than its author had seen"),
        remove_without_a_cut,
    ),
    "nobody may give this name": ("I8", "phone", "a member is called nobody", take_back_a_name),
    "what was applied is not": ("I7", "phone", "applied in memory is not", forget_what_was_applied),
    "nobody is asked": ("I19", "phone", "asks nobody for entry", ask_nobody),
    "what was changed is passed over": ("I19", "phone", "goes on to read what laptop", read_on),
    "what was withdrawn leaves": (
        *("I20", "laptop", "sends private entries of laptop in memory"),
        lambda run: withdraw_consent(run, "laptop"),
    ),
    "what was withdrawn is taken": (
        *("I20", "phone", "in spite of consent"),
        lambda run: withdraw_consent(run, "phone"),
    ),
    "what is shared does not come": ("I21", "laptop", "has other private", share_nothing),
    "somebody asks for ever": ("I22", "laptop", "is taken to ask for a database", ask_for_ever),
    "a policy that nobody set": ("I8", "phone", "by nobody who may", say_what_nobody_said),
    "what is held goes": ("I24", "phone", "of a held database travelled", send_what_is_held),
    "a proof that is missing": ("I15", "phone", "and does not say so", deny_what_is_so),
}
"""What is broken: the claim that tells of it, of which device, in which words; and how."""


@pytest.mark.parametrize("what", BREAKAGES)
def test_what_is_broken_is_told(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checker that misses what it is there for is worse than none: people rely on it."""
    claim, device, part, breakage = BREAKAGES[what]
    if claim == "I11":
        monkeypatch.setattr(bounds, "RECORDS_KEPT_MAX", 0)
    if claim == "I24":
        monkeypatch.setattr(holds, "GRACE_MS", -1)

    violations = outcome_of(monkeypatch, breakage)

    assert any(
        v.claim == claim and device in ("", v.device) and part in v.message for v in violations
    ), [str(v) for v in violations]


# Single claims, more closely -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "what"),
    [
        ("TASKS_MAX", "tasks"),
        ("TASKS_PER_PEER_MAX", "tasks"),
        ("LINKS_PER_DEVICE_MAX", "links"),
        ("WAITING_ENTRIES_MAX", "waiting entries"),
        ("RECORDS_KEPT_MAX", "records in memory"),
        ("OUTGOING_BYTES_MAX", "bytes to send"),
        ("CREDIT_BYTES", "bytes to store"),
        ("TASKS_PER_LINK_MAX", "tasks of a link"),
        ("IGNORED_MAX", "ignored"),
        ("VECTOR_ROWS_MAX", "rows of a vector"),
        ("BACKOFF_MS_MAX", "ms until an address is tried"),
    ],
)
def test_each_limit_is_looked_at(limit: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that nobody holds against anything is none."""
    monkeypatch.setattr(bounds, limit, -(10**9))

    violations = outcome_of(monkeypatch)

    assert {v.claim for v in violations} == {"I11"}
    assert any(v.message.startswith(f"{what}: ") for v in violations)


def test_a_program_that_mistakes_the_levels_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checker that asked the program what a guest may read would agree with it."""
    monkeypatch.setitem(registry.LEVELS, "guest", frozenset((1, 2, 3)))

    violations = outcome_of(monkeypatch)

    assert told(violations, "I6", "guest", "a device of level guest has a key of privacy 1")
    assert told(violations, "I6", "guest", "a record of privacy 1 at level guest")


def test_an_entry_that_overtook_an_earlier_one_of_its_log_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Devices would differ by the order in which they got the same entries."""
    again = put(2_700, "laptop", "public", "3", text="nine")

    violations = outcome_of(
        monkeypatch, forget_what_was_applied, replace(PLAN, steps=(*PLAN.steps, again))
    )

    assert told(violations, "I7", "phone", "entry 3 of a log is applied, though its entry 2 waits")


def test_a_store_that_was_put_back_or_lost_its_token_may_have_another_instance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That is what the rule of instances is there for."""

    def break_it(run: Run) -> None:
        DOINGS["keep-image"](run, {"device": "phone", "image": "now"})
        DOINGS["put-back"](run, {"device": "phone", "image": "now"})
        DOINGS["rot"](run, {"device": "laptop", "file": "instance.token"})
        device_of(run, "laptop").crash()
        run.devices["laptop"].begin()

    assert outcome_of(monkeypatch, break_it) == []


def test_two_links_that_were_both_closed_as_one_too_many_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A third one makes up for them, and nobody would notice."""

    def keep_ours(*_: bytes, old_dialled_by_us: bool, new_dialled_by_us: bool) -> bool:
        return new_dialled_by_us or not old_dialled_by_us

    monkeypatch.setattr(switchboard, "newcomer_stays", keep_ours)

    # Whether two devices dial each other at once is a matter of the seed.
    plans = (replace(PLAN, seed=seed) for seed in range(1, 40))
    violations = next(filter(None, (outcome_of(monkeypatch, plan=plan) for plan in plans)), [])

    assert {(v.claim, v.message) for v in violations} == {
        ("I19", "of two links to one store both were closed")
    }


@pytest.mark.parametrize("at", range(6))
def test_plaintext_is_found_in_every_spelling(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that was encoded is no secret for that."""
    needle = spellings(CANARY)[at]

    violations = outcome_of(
        monkeypatch, lambda run: run.world.network.watch("phone", "guest", b"\xff" + needle)
    )

    assert [(v.claim, v.device) for v in violations] == [("I4", "phone")]


def test_a_store_that_does_not_open_again_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever cannot start must not be passed over in silence."""

    def break_it(run: Run) -> None:
        phone = device_of(run, "phone")
        phone.crash()
        assert phone.disk.image is not None
        conn_image = bytearray(phone.disk.image)
        conn_image[100:4_000] = bytes(3_900)
        phone.disk.image = bytes(conn_image)

    violations = outcome_of(monkeypatch, break_it)

    assert any("phone" in str(v) for v in violations)


def test_a_device_that_is_spoiled_is_expected_to_hold_nothing_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that rots loses what it likes; the others must not be blamed."""

    def break_it(run: Run) -> None:
        lose_a_record(run)
        hurry_ahead(run)
        run.spoiled["phone"] = "a test says so"
        run.witness.forget_places("phone", lost=True)

    assert outcome_of(monkeypatch, break_it) == []


def test_a_store_that_has_rotted_may_go_on_talking(monkeypatch: pytest.MonkeyPatch) -> None:
    """It breaks each session at its next damaged page, and is dialled again."""

    def break_it(run: Run) -> None:
        chatter(run)
        run.spoiled["phone"] = "a test says so"

    assert outcome_of(monkeypatch, break_it) == []


def test_a_task_that_dies_is_told_while_the_plan_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """I14 is the world's own claim."""

    async def stumble() -> None:
        raise KeyError("x")

    def break_it(run: Run) -> None:
        process = device_of(run, "phone").process
        assert process is not None
        process.spawn(stumble(), "stumbling")

    violations = outcome_of(monkeypatch, break_it)

    assert [(v.claim, v.device, v.at_ms) for v in violations] == [("I14", "phone", BREAK_MS)]


def test_a_world_that_stands_still_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that cannot go on is no pass."""

    def break_it(run: Run) -> None:
        run.world.loop.call_later(0.1, run.world.loop._timers.clear)

    violations = outcome_of(monkeypatch, break_it)

    assert ("I2", "DeadlockError") in {(v.claim, v.message.split(":")[0]) for v in violations}


def test_a_mesh_that_takes_too_long_is_told_at_the_end_of_its_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fifteen minutes is what docs/simulation.md promises."""
    violations = outcome_of(monkeypatch, forget_to_send)

    assert told(violations, "I2", "", "not settled after 900 s")
    assert violations[0].at_ms == pytest.approx(END_MS + convergence.SETTLE_MS_MAX, abs=2_000)
