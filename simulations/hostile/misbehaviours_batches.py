"""Misbehaviours of a member in a single batch: what no honest writer sends, wrong in one way each.

The entries are sealed and signed as well as any. Each is one check of the receiver; it refuses the
batch, says why, and keeps nothing of it. Spec: docs/protocol.md, sections 2 and 8.
"""

from collections.abc import Callable

from ...crypto.entry import CONTROL_SCOPE, KIND_CHANGE_SET, KIND_MEMBERSHIP, SALT_BYTES
from ...sync.messages import Segment, encode_batch
from ...sync.session_limits import ENTRIES_PER_BATCH_MAX
from .attacker import Attacker
from .forger import Entry, Forger
from .misbehaviour import Act, Subject

BATCHES = Subject()

_SEQ = slice(65, 73)
"""Where the number of the first entry stands in the frame of a batch of one run."""
_SEGMENTS = 105
"""Where it says how many segments the run has."""
_RUNS_AT = 17

Make = Callable[[Attacker, Forger], bytes]


def _batch(make: Make) -> Act:
    """Forge a log, make one frame of it, send it, and hear what becomes of it."""

    async def act(attacker: Attacker) -> None:
        await attacker.deliver(make(attacker, attacker.log()))

    return act


def _one(attacker: Attacker, forger: Forger) -> Entry:
    return forger.record(attacker.record_id("refused"), {"x": 1})


def _segment(entry: Entry, kind: int, *sealed: tuple[bytes, bytes]) -> Segment:
    return Segment(kind, entry.heading.key_id, entry.heads, sealed or [(entry.salt, entry.ct)])


# Who wrote it -------------------------------------------------------------------------------------


def _zero_signature(attacker: Attacker, forger: Forger) -> bytes:
    _one(attacker, forger)
    return forger.frame(signature=bytes(64))


def _other_signer(attacker: Attacker, forger: Forger) -> bytes:
    forger.record(attacker.record_id("refused"), {"x": 1}, signer=attacker.new_keys())
    return forger.frame()


def _earlier_signature(attacker: Attacker, forger: Forger) -> bytes:
    first = _one(attacker, forger)
    _one(attacker, forger)
    return forger.frame(signature=first.signature)


def _victims_name(attacker: Attacker, forger: Forger) -> bytes:
    _one(attacker, forger)
    return forger.frame(author=attacker.victim.keys.sig_pk)


def _nobodys_name(attacker: Attacker, forger: Forger) -> bytes:
    forger.keys = attacker.new_keys()
    _one(attacker, forger)
    return forger.frame()


def _victims_instance(attacker: Attacker, forger: Forger) -> bytes:
    attacker.held()  # The victim has written here, so its instance is known to be its own.
    forger.instance = attacker.victim.instance
    _one(attacker, forger)
    return forger.frame()


def _as_of_the_founding(attacker: Attacker, forger: Forger) -> bytes:
    genesis = attacker.victim.mesh.registry.genesis
    forger.record(attacker.record_id("refused"), {"x": 1}, heads=(genesis,))
    return forger.frame()


def _no_heads(attacker: Attacker, forger: Forger) -> bytes:
    forger.record(attacker.record_id("refused"), {"x": 1}, heads=())
    return forger.frame()


def _future_heads(attacker: Attacker, forger: Forger) -> bytes:
    heads = tuple(sorted((*forger.heads(), attacker.rubbish(32))))[:64]
    forger.record(attacker.record_id("refused"), {"x": 1}, heads=heads)
    return forger.frame()


def _another_mesh(attacker: Attacker, forger: Forger) -> bytes:
    forger.record(attacker.record_id("refused"), {"x": 1}, mesh=attacker.rubbish(16))
    return forger.frame()


_AUTHORS: tuple[tuple[str, str, Make], ...] = (
    ("bad-signature", "Sends entries under a signature of zeros.", _zero_signature),
    ("signature-of-a-stranger", "Lets a stranger sign what it wrote.", _other_signer),
    (
        "signature-of-an-earlier-entry",
        "Signs an earlier entry of a run and not its last one.",
        _earlier_signature,
    ),
    ("wrong-author", "Sends its own entries in the victim's name.", _victims_name),
    ("author-who-is-no-member", "Sends entries of somebody who is no member.", _nobodys_name),
    (
        "instance-of-the-victim",
        "Writes a log under the instance of the victim.",
        _victims_instance,
    ),
    (
        "back-dated-entry",
        "Writes as if nobody but the founder belonged yet.",
        _as_of_the_founding,
    ),
    ("entry-without-authority", "Writes under no membership at all.", _no_heads),
    ("future-authority", "Writes under membership operations that nobody has.", _future_heads),
    ("entry-of-another-mesh", "Writes for another mesh.", _another_mesh),
)

# What it is, and where ----------------------------------------------------------------------------


def _membership_among_data(attacker: Attacker, forger: Forger) -> bytes:
    entry = _one(attacker, forger)
    return forger.frame(segments=(_segment(entry, KIND_MEMBERSHIP),))


def _kind_nine(attacker: Attacker, forger: Forger) -> bytes:
    entry = _one(attacker, forger)
    return forger.frame(segments=(_segment(entry, 9),))


def _data_in_the_membership(attacker: Attacker, forger: Forger) -> bytes:
    _one(attacker, forger)
    return encode_batch(CONTROL_SCOPE, [forger.run()])


def _another_scope(attacker: Attacker, forger: Forger) -> bytes:
    """Of the scopes that exist beside ours the first will do; else one that does not exist."""
    _one(attacker, forger)
    others = [s.tag for s in attacker.victim.ledger.scopes() if s.privacy and s.tag != forger.scope]
    return encode_batch(others[0] if others else attacker.rubbish(16), [forger.run()])


def _unknown_scope(attacker: Attacker, forger: Forger) -> bytes:
    _one(attacker, forger)
    return encode_batch(attacker.rubbish(16), [forger.run()])


def _odd_length(attacker: Attacker, forger: Forger) -> bytes:
    entry = _one(attacker, forger)
    sealed = (entry.salt, entry.ct[:-1])
    return forger.frame(segments=(_segment(entry, KIND_CHANGE_SET, sealed),))


def _no_ciphertext(attacker: Attacker, forger: Forger) -> bytes:
    entry = _one(attacker, forger)
    return forger.frame(segments=(_segment(entry, KIND_CHANGE_SET, (entry.salt, b"")),))


def _changed_ciphertext(attacker: Attacker, forger: Forger) -> bytes:
    entry = _one(attacker, forger)
    at = attacker.random.randrange(len(entry.ct))
    ct = entry.ct[:at] + bytes((entry.ct[at] ^ 1,)) + entry.ct[at + 1 :]
    return forger.frame(segments=(_segment(entry, KIND_CHANGE_SET, (entry.salt, ct)),))


def _changed_salt(attacker: Attacker, forger: Forger) -> bytes:
    entry = _one(attacker, forger)
    sealed = (bytes(SALT_BYTES), entry.ct)
    return forger.frame(segments=(_segment(entry, KIND_CHANGE_SET, sealed),))


_PLACES: tuple[tuple[str, str, Make], ...] = (
    (
        "membership-among-data",
        "Calls a change of data a membership operation.",
        _membership_among_data,
    ),
    ("unknown-entry-kind", "Sends an entry of a kind that there is not.", _kind_nine),
    (
        "data-in-the-membership",
        "Sends a change of data in the membership log.",
        _data_in_the_membership,
    ),
    ("wrong-scope", "Sends an entry in another scope than it was sealed for.", _another_scope),
    ("unknown-scope", "Sends entries of a scope that nobody has opened.", _unknown_scope),
    ("odd-ciphertext-length", "Sends a ciphertext of a length that none has.", _odd_length),
    ("empty-ciphertext", "Sends an entry without a body.", _no_ciphertext),
    ("changed-ciphertext", "Flips one bit of a ciphertext.", _changed_ciphertext),
    ("changed-salt", "Sends another salt than the one that was used.", _changed_salt),
)

# Shapes -------------------------------------------------------------------------------------------


def _byte_too_many(attacker: Attacker, forger: Forger) -> bytes:
    _one(attacker, forger)
    return forger.frame() + b"\0"


def _byte_short(attacker: Attacker, forger: Forger) -> bytes:
    _one(attacker, forger)
    return forger.frame()[:-1]


def _numbered(seq: int) -> Make:
    def make(attacker: Attacker, forger: Forger) -> bytes:
        _one(attacker, forger)
        frame = forger.frame()
        return frame[: _SEQ.start] + seq.to_bytes(8, "big") + frame[_SEQ.stop :]

    return make


def _endless_segments(attacker: Attacker, forger: Forger) -> bytes:
    _one(attacker, forger)
    frame = forger.frame()
    return frame[:_SEGMENTS] + b"\xff\xff\xff\x7f" + frame[_SEGMENTS + 1 :]


def _three_hundred_runs(attacker: Attacker, forger: Forger) -> bytes:
    _one(attacker, forger)
    frame = forger.frame()
    return frame[:_RUNS_AT] + frame[_RUNS_AT:] * 300


def _tiny_entries(count: int) -> Make:
    def make(attacker: Attacker, forger: Forger) -> bytes:
        entry = _one(attacker, forger)
        sealed = [(entry.salt, b"")] * count
        return forger.frame(segments=(_segment(entry, KIND_CHANGE_SET, *sealed),))

    return make


def _good_and_bad(attacker: Attacker, forger: Forger) -> bytes:
    """The batch is refused whole, and the good log in it must not be lost by that."""
    _one(attacker, forger)
    other = attacker.log()
    _one(attacker, other)
    return encode_batch(forger.scope, [forger.run(), other.run(signature=bytes(64))])


_SHAPES: tuple[tuple[str, str, Make], ...] = (
    ("batch-with-a-byte-more", "Sends a batch with a byte behind it.", _byte_too_many),
    ("batch-with-a-byte-less", "Sends a batch without its last byte.", _byte_short),
    ("batch-from-entry-0", "Sends a batch that begins before the first entry.", _numbered(0)),
    (
        "batch-from-entry-2-63",
        "Sends a batch whose numbers do not fit the store.",
        _numbered(2**63),
    ),
    ("endless-segments", "Claims 2^28 segments in one byte more.", _endless_segments),
    ("three-hundred-runs", "Sends one run three hundred times in a batch.", _three_hundred_runs),
    (
        "4096-tiny-entries",
        "Sends as many entries as a batch may have, all of them empty.",
        _tiny_entries(ENTRIES_PER_BATCH_MAX),
    ),
    (
        "4097-tiny-entries",
        "Sends one entry more than a batch may have.",
        _tiny_entries(ENTRIES_PER_BATCH_MAX + 1),
    ),
    (
        "good-and-bad-logs-in-a-batch",
        "Puts a log that is as it should be into a batch with one that is not.",
        _good_and_bad,
    ),
)

for _name, _about, _make in (*_AUTHORS, *_PLACES, *_SHAPES):
    BATCHES.add(_name, "full", _batch(_make), _about)

# Levels -------------------------------------------------------------------------------------------


def _as_it_should_be(attacker: Attacker, forger: Forger) -> bytes:
    _one(attacker, forger)
    return forger.frame()


for _level in ("guest", "limited"):
    BATCHES.add(
        f"writing-beyond-its-level-as-{_level}",
        _level,
        _batch(_as_it_should_be),
        f"Writes to what is private, as a member of level {_level}.",
    )
