"""Reference: the tables of docs/simulation.md, made from what the simulator really does.

`make docs` writes them into the page, and a test compares the two.
"""

from collections.abc import Iterable, Mapping

from .checkers import CHECKERS
from .doings import FAULTS
from .durations import duration
from .scenarios import SCENARIOS
from .sim_network import LAWS

WORLD_CLAIMS = {
    "I14": "no task ends with an error that nobody may expect, and a closed device leaves no task",
}
"""Claims that no checker looks after, because the world notices by itself."""


def tables() -> dict[str, str]:
    """Name -> table. A name marks its place in the page."""
    return {
        "claims": _table(("claim", "what must hold"), sorted(claims().items(), key=_number)),
        "faults": _table(("kind", "what happens"), ((f.name, f.about) for f in FAULTS.values())),
        "scenarios": _table(
            ("scenario", "devices", "lasts", "what"),
            (
                (s.name, str(s.nodes), duration(s.hours * 3_600_000), s.about)
                for s in SCENARIOS.values()
            ),
        ),
        "networks": _table(
            ("law", "a message takes", "sent again", "a second"),
            (
                (
                    law.name,
                    f"{law.base_ms:g} to {law.base_ms + law.jitter_ms:g} ms",
                    f"{law.loss:.0%}",
                    f"{law.bytes_per_ms:,} kB",
                )
                for law in LAWS.values()
            ),
        ),
    }


def claims() -> Mapping[str, str]:
    """Claim -> what it says."""
    return {**WORLD_CLAIMS, **{name: text for c in CHECKERS for name, text in c.claims.items()}}


def _number(claim: tuple[str, ...]) -> int:
    return int(claim[0].removeprefix("I"))


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *((f"`{name}`", *rest) for name, *rest in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
