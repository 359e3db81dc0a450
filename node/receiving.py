"""Receiving: what a batch must be before anything in it is opened. Pure; no disk, no parsing.

`check_run` takes one run as it came and one log as we hold it, computes every entry id itself, and
says one of four things: the run continues our log (`Fresh`), we hold it already (`Known`), entries
before it are missing (`Gap`), or the same place in the chain has another entry (`Forked`). Only a
run whose last entry carries the author's signature is called anything but `Unsigned`.

Spec: docs/protocol.md, sections 2, 7 ("Forks") and 8.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..crypto.entry import Heading, entry_id, verify_entry
from ..crypto.errors import FormatError
from ..sync.messages import Run
from .ledger import Log


@dataclass(slots=True, eq=False)
class Arrived:
    """One verified entry. `ad` and `nonce` are what opening it needs."""

    seq: int
    heading: int
    """Index into the headings of its run."""
    salt: bytes
    ciphertext: bytes
    entry_id: bytes
    ad: bytes
    nonce: bytes
    signature: bytes | None


@dataclass(frozen=True, slots=True)
class Fresh:
    entries: list[Arrived]


@dataclass(frozen=True, slots=True)
class Known:
    """Nothing new, as far as we can tell: the whole run, verified, to be compared with ours."""

    prev_id: bytes
    entries: list[Arrived]


@dataclass(frozen=True, slots=True)
class Gap:
    first: int
    held: int


@dataclass(frozen=True, slots=True)
class Forked:
    """The whole run, verified; where our tail is, or before, it is not what we hold."""

    prev_id: bytes
    entries: list[Arrived]


@dataclass(frozen=True, slots=True)
class Unsigned:
    why: str


Verdict = Fresh | Known | Gap | Forked | Unsigned


def check_run(run: Run, headings: Sequence[Heading], log: Log | None) -> Verdict:
    """Compare a run with the tail of our log. `log` is None if we hold none of it yet."""
    try:
        entries = _identify(run, headings)
    except FormatError as error:
        return Unsigned(str(error))
    if not entries or not verify_entry(run.author, entries[-1].entry_id, run.signature):
        return Unsigned("the signature of the last entry does not verify")
    entries[-1].signature = run.signature
    tail_seq = 0 if log is None else log.tail_seq
    if run.first_seq > tail_seq + 1:
        return Gap(run.first_seq, tail_seq)
    if run.first_seq == tail_seq + 1:
        if log is not None and tail_seq and run.prev_id != log.tail_id:
            return Forked(run.prev_id, entries)
        return Fresh(entries)
    assert log is not None
    if entries[-1].seq < tail_seq:
        return Known(run.prev_id, entries)
    overlap = tail_seq - run.first_seq
    if entries[overlap].entry_id != log.tail_id:
        return Forked(run.prev_id, entries)
    fresh = entries[overlap + 1 :]
    return Fresh(fresh) if fresh else Known(run.prev_id, entries)


def _identify(run: Run, headings: Sequence[Heading]) -> list[Arrived]:
    """Compute the id of every entry, chaining from the `prev` the run claims."""
    entries = []
    seq, prev = run.first_seq, run.prev_id
    for index, segment in enumerate(run.segments):
        heading = headings[index]
        for salt, ciphertext in segment.entries:
            id, ad, nonce = entry_id(heading, seq, prev, salt, ciphertext)
            entries.append(Arrived(seq, index, salt, ciphertext, id, ad, nonce, None))
            seq, prev = seq + 1, id
    return entries
