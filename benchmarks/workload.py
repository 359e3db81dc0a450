"""The records that every benchmark writes: 300 bytes of JSON in 6 fields, all different.

Words are as frequent as in a language: the n-th of 4,000 is n times rarer than the first. A text
of 26 words would flatter compression and punish search, since every word would be everywhere.
"""

import json
from collections.abc import Callable
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, Any

import covey

if TYPE_CHECKING:
    from .homes import Home

RECORD_BYTES = 300
DATABASE = "bench"
COLLECTION = "messages"
_WORDS_COUNT = 4000
PUTS_PER_TRANSACTION = 500


def _make_words() -> list[str]:
    random = Random(7)
    letters = "eeeeeettttaaaooiinnsshhrrddlluccmmwwffggyyppbbvvkjxqz"
    return ["".join(random.choices(letters, k=2 + n % 8)) for n in range(_WORDS_COUNT)]


WORDS = _make_words()
"""The commonest first."""
_RANKS = list(accumulate(1 / (n + 1) for n in range(_WORDS_COUNT)))


def record(number: int) -> dict[str, Any]:
    """Record `number`: exactly `RECORD_BYTES` of compact ASCII JSON, its id included."""
    random = Random(number)
    fields: dict[str, Any] = {
        "id": f"m{number:07d}",
        "author": random.choice(("mara", "assistant")),
        "thread": f"thread-{number % 97}",
        "at": 1_773_000_000_000 + number * 1000,
        "importance": round(random.random(), 3),
        "text": "",
    }
    text = " ".join(random.choices(WORDS, cum_weights=_RANKS, k=RECORD_BYTES // 3))
    room = RECORD_BYTES - len(json.dumps(fields, separators=(",", ":")))
    fields["text"] = text[: room - 1] + "."
    return fields


def identified(number: int) -> tuple[str, dict[str, Any]]:
    """Record `number` as its id and the five fields beside it: what an application puts."""
    fields = record(number)
    return fields.pop("id"), fields


def queries(count: int) -> list[str]:
    """What people search for: one to three words, common and rare, the last one often begun."""
    random = Random(11)
    asked = []
    for _ in range(count):
        words = random.choices(WORDS, cum_weights=_RANKS, k=random.randint(1, 3))
        if random.random() < 0.3:
            words[-1] = words[-1][:3]
        asked.append(" ".join(words))
    return asked


async def fill(
    home: "Home", records: int, made: Callable[[int], tuple[str, dict[str, Any]]] = identified
) -> None:
    """Write the first records into a home, and close it: `made` gives id and fields of each."""
    async with covey.open(home.path, unlock=home.unlock) as node:
        messages = node.database(DATABASE).collection(COLLECTION)
        for at in range(0, records, PUTS_PER_TRANSACTION):
            some = range(at, min(at + PUTS_PER_TRANSACTION, records))
            await messages.put_many([made(number) for number in some])
