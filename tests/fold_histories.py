"""Random histories of a mesh, and attacks on them, each from a seed that replays it.

`Story(seed)` writes a history: devices that know more or less of what went before admit, remove
and demote one another. `remove_an_admin` lets a senior remove an admin, and `attack` writes what
the removed device can still do: operations that rest on a past in which it was an admin, alone,
with devices that it admits there and with a recovery key that it sets there.
"""

from dataclasses import dataclass
from random import Random

from covey.sync.membership import Membership
from covey.sync.registry import LEVEL_ORDER, Registry

from .membership_history import SCOPE, History, key, mesh_id, read_certificate

DEVICES = ("anna", "ben", "cleo", "dora", "emil", "finn")
PUPPETS = ("puppet", "second", "third")
RECOVERY_KEYS = ("paper", "steel")
NAME_OF = {key(name): name for name in (*DEVICES, *PUPPETS, *RECOVERY_KEYS, "theft")}
DECIDING = ("enroll", "enroll", "enroll", "revoke", "demote", "demote")
TELLING = (
    "rename",
    "describe",
    "adopt",
    "request",
    "rekey",
    "promote",
    "grant",
    "recovery",
    "policy",
)


class Story:
    """A history while it is written, and the fold of what was written so far."""

    def __init__(self, seed: int, *, kinds: tuple[str, ...] = DECIDING) -> None:
        """With the kinds of `DECIDING` alone nothing is ever promoted, as in Appendix A."""
        self.rng = Random(seed)
        self.kinds = kinds
        self.recovery = self.rng.choice((None, "paper"))
        self.history = History(recovery=self.recovery)
        self.membership = Membership(read_certificate, mesh_id, self.history.mesh)
        self.said: dict[str, list[tuple[bytes, int]]] = {"anna": [(self.history.genesis, 4)]}
        """Device to the operations about it, with the level that each gives at most."""
        self._seen = 0
        self.read()

    def tell(self, count: int) -> "Story":
        for _ in range(count):
            self._tell_one()
        return self

    def past(self) -> list[bytes]:
        """What the author of the next operation knows: everything, or some of it."""
        if self.rng.random() < 0.4:
            return [*self.history.heads()]
        known = list(self.history.operations)
        return self.rng.sample(known, self.rng.randint(1, min(3, len(known))))

    def admins(self, heads: list[bytes]) -> list[str]:
        """Who may decide there, recovery keys included."""
        found = []
        for sig_pk, name in NAME_OF.items():
            standing = self.membership.standing(sig_pk, heads)
            if standing is not None and standing.role == "admin":
                found.append(name)
        return found

    def registry(self) -> Registry:
        return self.membership.registry

    def _tell_one(self) -> None:
        after = self.past()
        admins = self.admins(after)
        author = self.rng.choice(admins if admins and self.rng.random() < 0.9 else DEVICES)
        write(self.history, self.rng, author, self.rng.choice(self.kinds), DEVICES, after, self)
        self.read()

    def read(self) -> None:
        ids = list(self.history.operations)[self._seen :]
        self._seen += len(ids)
        self.membership.add({id: self.history.operations[id] for id in ids})

    def ceiling(self, device: str, after: list[bytes]) -> int:
        """The lowest level that was said of a device in a past; few words go above it."""
        past = self.history.ancestors(after) | set(after)
        told = [level for id, level in self.said.get(device, ()) if id in past]
        return 4 if self.rng.random() < 0.1 else min(told, default=4)


def write(
    history: History,
    rng: Random,
    author: str,
    kind: str,
    devices: tuple[str, ...],
    after: list[bytes],
    story: Story | None = None,
) -> bytes:
    """One operation of a kind about one of some devices."""
    device = rng.choice(devices)
    if kind in ("enroll", "demote", "promote"):
        most = story.ceiling(device, after) if story else 4
        level = rng.choice((most, most, rng.randint(0, most)))
        id, said = _decide(history, author, kind, device, level, after)
        if story:
            story.said.setdefault(device, []).append((id, said))
        return id
    turn = len(history.operations)
    cut = [(SCOPE, b"i" * 16, turn, bytes(32))]
    match kind:
        case "revoke":
            return history.revoke(author, device, cut, after=after)
        case "adopt":
            return history.adopt(author, device, cut, after=after)
        case "rename":
            return history.rename(author, device, f"name {turn}", after=after)
        case "describe":
            return history.describe(author, device, capabilities=[f"c{turn}"], after=after)
        case "request":
            return history.request(author, device, turn=turn, after=after)
        case "rekey":
            return history.rekey(author, turn, after=after)
        case "grant":
            to = tuple({author, device})
            return history.grant(author, to, key_id=turn.to_bytes(32, "big"), after=after)
    return _about_the_mesh(history, rng, author, kind, device, after)


def _about_the_mesh(
    history: History, rng: Random, author: str, kind: str, device: str, after: list[bytes]
) -> bytes:
    if kind == "policy":
        turn, whom = len(history.operations), rng.choice((device, author, ""))
        return history.policy(author, whom, "media", mode="full", bandwidth=turn, after=after)
    return history.replace_recovery(author, rng.choice(RECOVERY_KEYS), after=after)


def _decide(
    history: History, author: str, kind: str, device: str, level: int, after: list[bytes]
) -> tuple[bytes, int]:
    """Levels as in the oracle: 0 mailbox to 3 full, 4 admin. Returns also the one that is said."""
    word, turn = LEVEL_ORDER[min(level, 3)], len(history.operations)
    if kind == "enroll":
        role = "admin" if level == 4 else "member"
        return history.enroll(author, device, word, role, turn=turn, after=after), level
    if kind == "demote" and level >= 3:
        return history.set_role(author, device, "member", after=after), 3
    if kind == "demote":
        return history.set_level(author, device, word, after=after), level
    if level == 4:
        return history.set_role(author, device, "admin", after=after), level
    return history.set_level(author, device, "full" if level == 3 else word, after=after), 4


@dataclass(frozen=True)
class Removal:
    """An admin was removed by a senior of it, or by the recovery key."""

    id: bytes
    remover: str
    removed: str
    may_replace_recovery: bool
    """False if the remover is a recovery key that the removed device itself may have set: in the
    past before that statement the device can make another one, and no rule can tell which is its
    owner's (docs/protocol.md, section 4)."""


def remove_an_admin(story: Story) -> Removal | None:
    """Let a senior, or the recovery key, remove an admin. None if nobody can be removed so."""
    heads, registry = [*story.history.heads()], story.registry()
    admins = story.admins(heads)
    pairs = [
        (one, other)
        for one in admins
        for other in admins
        if other in DEVICES and registry.outranks(key(one), key(other))
    ]
    if not pairs:
        return None
    seniors = [pair for pair in pairs if pair[0] in DEVICES and story.rng.random() < 0.8]
    remover, removed = story.rng.choice(seniors or pairs)
    cut = [(SCOPE, b"r" * 16, 1, bytes(32))]
    id = story.history.revoke(remover, removed, cut, after=heads)
    story.read()
    founded = story.recovery is not None
    return Removal(id, remover, removed, founded or remover not in RECOVERY_KEYS)


def attack(story: Story, removal: Removal, rng: Random) -> History | None:
    """What a removed admin and its puppets write on a past in which it was an admin still.

    Returns the history with it; None if in the past that was drawn it was removed or no admin.
    """
    thief, known = removal.removed, list(story.history.operations)
    start = rng.sample(known, rng.randint(1, min(3, len(known))))
    standing = story.membership.standing(key(thief), start)
    if standing is None or standing.role != "admin":
        return None
    past = story.history.ancestors(start) | set(start)
    if removal.id in past:
        return None
    history = story.history.copy()
    devices = tuple(name for name in story.said if any(id in past for id, _ in story.said[name]))
    authors, written = [thief], list[bytes]()
    for _ in range(rng.randint(1, 6)):
        after = start + (written if rng.random() < 0.6 else rng.sample(written, len(written) // 2))
        author, puppet = rng.choice(authors), rng.choice(PUPPETS)
        kind = rng.choice(("puppet", "puppet", *DECIDING, *TELLING, "promote"))
        if kind == "puppet":
            turn = len(history.operations)
            written.append(history.enroll(author, puppet, "full", "admin", turn=turn, after=after))
            authors.append(puppet)
            devices += (puppet,)
        elif kind != "recovery":
            written.append(write(history, rng, author, kind, devices, after))
        elif removal.may_replace_recovery:
            written.append(history.replace_recovery(author, "theft", after=after))
            authors.append("theft")
    return history
