"""What is checked on one random history of a mesh, by its seed; used by tests and by the long run.

Each check asserts; a failure is replayed by its seed alone. `python -m tests.fold_checks 40000`
runs that many histories and as many attacks, and prints how many of each kind there were.
"""

import sys
from collections import Counter
from random import Random

from covey.sync.membership import Membership
from covey.sync.registry import Ignored, Registry

from .fold_histories import DECIDING, DEVICES, NAME_OF, TELLING, Story, attack, remove_an_admin
from .fold_model import Model
from .fold_oracle import oracle_of, scale
from .membership_history import key, mesh_id, read_certificate

OPERATIONS = (2, 14)
ATTACKS_PER_STORY = 4
STEPS_AFTER = 3


def check_rules(seed: int) -> Counter[str]:
    """The fold says what Appendix A says: members and levels, what counts, what is void."""
    story = Story(seed)
    story.tell(story.rng.randint(*OPERATIONS))
    history, registry = story.history, story.registry()
    oracle = oracle_of(history)
    if oracle.raises():
        return Counter({"histories with a promotion, which Appendix A has not": 1})
    folded = oracle.fold(frozenset(oracle.ops))
    void = {id for id, why in registry.ignored.items() if why is Ignored.VOIDED}

    assert _members(registry) == folded.members
    assert void == folded.ok - folded.live
    assert registry.ignored.keys() - void == oracle.ops.keys() - folded.ok

    heads = story.past()
    past = oracle.fold(history.ancestors(heads) | set(heads))
    at = story.membership.at(heads)
    assert at is not None and _members(at) == past.members
    for device in {op.target for op in oracle.ops.values()}:
        standing = story.membership.standing(device, heads)
        level = past.members.get(device)
        assert (None if standing is None else scale(*standing)) == level
        admitted = any(
            oracle.admits(id, device)
            and id in folded.live
            and not any(
                oracle.ops[r].kind == "revoke"
                and oracle.ops[r].target == device
                and r not in oracle.anc(id)
                for r in folded.eff
            )
            for id in history.ancestors(heads) | set(heads)
        )
        assert story.membership.admissible(device, heads) == admitted
    literal = oracle_of(history, literal=True).fold(frozenset(oracle.ops))
    return Counter(
        {
            "histories compared with Appendix A": 1,
            "of them with a removal in effect": bool(folded.eff),
            "of them with void operations": bool(void),
            "of them where void enrolments would lend seniority": literal.members != folded.members,
        }
    )


def check_model(seed: int) -> Counter[str]:
    """The fold says what section 4 says, with promotions and recovery keys that change."""
    story = Story(seed, kinds=(*DECIDING, "promote", "promote", "recovery", "rename"))
    story.tell(story.rng.randint(*OPERATIONS))
    history, registry, model = story.history, story.registry(), Model(story.history)
    folded = model.everything
    void = {id for id, why in registry.ignored.items() if why is Ignored.VOIDED}

    assert void == folded.ok - folded.live
    assert registry.ignored.keys() - void == history.operations.keys() - folded.ok
    assert {d.sig_pk: (d.level, d.role) for d in registry.active()} == folded.standings
    assert {one.sig_pk for one in registry.recovery} == folded.recovery
    heads = story.past()
    past = model.fold(history.ancestors(heads) | set(heads))
    for sig_pk in NAME_OF:
        assert story.membership.standing(sig_pk, heads) == past.of(sig_pk)
    return Counter({"histories compared with the rules in words": 1})


def check_delivery(seed: int) -> Counter[str]:
    """Any order and any part of a history gives the fold of what has arrived with its past."""
    story = Story(seed, kinds=DECIDING + TELLING)
    story.tell(story.rng.randint(*OPERATIONS))
    history, rng = story.history, story.rng
    arriving = list(history.operations)
    rng.shuffle(arriving)
    some = rng.randint(0, len(arriving))
    closed = [id for id in arriving[:some] if history.ancestors([id]) <= set(arriving[:some])]
    membership = Membership(read_certificate, mesh_id, history.mesh)
    for id in arriving[:some]:
        membership.add({id: history.operations[id]})
    part = history.fold(closed)

    assert membership.registry == history.fold(arriving[:some]) == part
    assert membership.parked == some - len(closed)
    membership.add({id: history.operations[id] for id in arriving[some:]})
    assert membership.registry == story.registry() == history.fold()
    return Counter(
        {"histories delivered in parts": 1, "of them with operations that wait": some > len(closed)}
    )


def check_attacks(seed: int) -> Counter[str]:
    """What a removed admin dates back changes nothing: members, levels, roles, recovery keys."""
    story = Story(seed, kinds=DECIDING if seed % 2 else DECIDING + TELLING)
    story.tell(story.rng.randint(*OPERATIONS))
    removal = remove_an_admin(story)
    if removal is None:
        return Counter()
    story.tell(story.rng.randint(0, STEPS_AFTER))
    before, counts = story.registry(), Counter[str]()
    if removal.id in before.ignored:
        return counts  # A later removal voided this one.
    rng = Random(seed)
    for _ in range(ATTACKS_PER_STORY):
        attacked = attack(story, removal, rng)
        if attacked is None:
            continue
        after = attacked.fold()
        assert authority(after) == authority(before)
        written = attacked.operations.keys() - story.history.operations.keys()
        void = sum(after.ignored.get(id) is Ignored.VOIDED for id in written)
        by = "the recovery key" if removal.remover in ("paper", "steel") else "a senior admin"
        counts["attacks on a removal by " + by] += 1
        counts["operations of them"] += len(written)
        counts["of which void, so entitled but for the removal"] += void
    return counts


def check_mutual_removal(seed: int) -> Counter[str]:
    """Of two admins that remove each other at the same time, the senior stays."""
    story = Story(seed, kinds=DECIDING + TELLING)
    story.tell(story.rng.randint(*OPERATIONS))
    heads, registry = [*story.history.heads()], story.registry()
    admins = [name for name in story.admins(heads) if name in DEVICES]
    pairs = [(a, b) for a in admins for b in admins if registry.outranks(key(a), key(b))]
    if not pairs:
        return Counter()
    senior, junior = story.rng.choice(pairs)
    story.history.revoke(senior, junior, after=heads)
    story.history.revoke(junior, senior, after=heads)
    after = story.history.fold()
    assert after.devices[key(senior)].active
    assert not after.devices[key(junior)].active
    return Counter({"mutual removals": 1})


def authority(registry: Registry) -> tuple[object, ...]:
    """Everything that decides who may do, read and write what."""
    devices = {id: d for id, d in registry.devices.items() if d.active or d.revoked_at}
    return devices, registry.recovery, registry.cuts, registry.requests


def _members(registry: Registry) -> dict[bytes, int]:
    return {device.sig_pk: scale(device.level, device.role) for device in registry.active()}


def main(histories: int) -> None:
    counts = Counter[str]()
    seed = attacks = 0
    while attacks < histories or seed < histories:
        checks = [check_attacks] if attacks < histories else []
        if seed < histories:
            checks += [check_rules, check_model, check_delivery, check_mutual_removal]
        for check in checks:
            try:
                found = check(seed)
            except AssertionError:
                print(f"{check.__name__}({seed}) fails")
                raise
            counts += found
            attacks += sum(count for what, count in found.items() if what.startswith("attacks"))
        seed += 1
    print(f"seeds 0 to {seed - 1}: no difference")
    for what, count in counts.items():
        print(f"{count:>9,} {what}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
