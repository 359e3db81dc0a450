"""Data steps: what applications do in the scenario `data`, beside the writes of everybody.

Each plan takes some of the habits below, so that what one of them breaks is not hidden by the
others. Records of `facts` are those that all plans write to, with fields that are asked about; the
other collections are written to without the witness, see `doings/data_doings.py`.
"""

from random import Random
from typing import Any

from ..storage.link_text import link_to
from ..sync.values import Vector, to_json
from .data_shapes import DIMENSION, FIELD, MODEL, PAGES, VERSIONS, VIEWS
from .doings.data_doings import FADING, LETTERS, UNTIL, WHO
from .doings.fault import Stage
from .plan import Step
from .planning import IDS
from .witness import CANARY

FACTS = "facts"
HABIT_SHARE = 0.45
"""How likely each habit is to be in a plan."""
WORDS = ("tea", "teapot", "rain", "train", "Bern", "Basel", "blue", "bluebell")
KINDS = ("fact", "guess", "rumour")
NUMBERS: tuple[Any, ...] = (0, 1, 1.0, 2.5, -3, 10, 2**53 + 1, "1", "ten", "", None, True, False)
PEOPLE = ("ann", "ben")
_PRIVACIES = ("private", "private", "private", "family", "public", "device")
_OWN = 3
"""Records that each device has for itself, of a kind."""


def data(random: Random, stage: Stage) -> list[Step]:
    """Writes with fields to ask about, and some of the habits."""
    steps = [_put(random, stage, number) for number in range(random.randint(8, 25))]
    chosen = [habit for habit in _HABITS if random.random() < HABIT_SHARE]
    for habit in chosen or [random.choice(_HABITS)]:
        steps += habit(random, stage)
    return steps


# Writes ----------------------------------------------------------------------------------------


def _put(random: Random, stage: Stage, number: int) -> Step:
    privacy = random.choice(_PRIVACIES)
    fields = {name: f"{CANARY} data {number} {name}" for name in random.sample(("text", "mood"), 1)}
    args: dict[str, Any] = {
        **_place(random, stage),
        "collection": FACTS,
        "privacy": privacy,
        "id": _fact(random, privacy),
        "fields": fields,
        "extra": _extra(random),
    }
    if random.random() < 0.1:
        args["replace"] = True
    return Step(random.randrange(stage.end_ms), "put-data", args)


def _extra(random: Random) -> dict[str, Any]:
    """Some of the fields that questions are about."""
    all_of_them = {
        "kind": random.choice(KINDS),
        "n": random.choice((*NUMBERS, [1, 2])),
        "topic": " ".join(random.sample(WORDS, random.randint(0, 3))),
        "marks": random.sample((1, 2, "a", True, None), 2),
        "to": link_to(FACTS, _fact(random)),
        "about": _fact(random),
        FIELD: _embedding(random),
    }
    return {name: all_of_them[name] for name in random.sample(list(all_of_them), 4)}


def _embedding(random: Random) -> Any:
    """Vectors of one model or both; some of them cannot be compared."""
    made: dict[str, Any] = {}
    for version in random.choice((("1",), ("1",), ("2",), ("1", "2"))):
        size = DIMENSION if random.random() < 0.9 else DIMENSION - 1
        numbers = _vector(random)[:size] if random.random() < 0.9 else [0.0] * size
        made[f"{MODEL}@{version}"] = to_json(Vector(numbers))
    return made


def _vector(random: Random) -> list[float]:
    return [random.choice((-1.0, -0.25, 0.0, 0.5, 2.0)) for _ in range(DIMENSION)]


def _fact(random: Random, privacy: str = "private") -> str:
    return f"{privacy}-{random.randrange(IDS)}"


def _place(random: Random, stage: Stage) -> dict[str, Any]:
    return {"device": random.choice(stage.names), "database": random.choice(stage.databases)}


# Habits ----------------------------------------------------------------------------------------


def _asking(
    random: Random, stage: Stage, questions: list[dict[str, Any]], count: int
) -> list[Step]:
    """The same few questions again and again: answers are kept, and have to be forgotten."""
    steps = []
    for _ in range(count):
        at_ms = random.randrange(stage.end_ms)
        args = {**_place(random, stage), "question": random.choice(questions)}
        steps.append(Step(at_ms, "question", args))
        if random.random() < 0.4:
            steps.append(Step(min(at_ms + 300, stage.end_ms - 1), "question", args))
    return steps


def _declaring(
    random: Random, stage: Stage, said: dict[str, Any], back: str, *, early: bool = True
) -> list[Step]:
    """Devices are told something of a collection, mostly early; some of it is taken back."""
    steps = []
    for name in stage.names:
        for database in stage.databases:
            if random.random() < 0.25:
                continue
            bound = stage.end_ms // 4 if early else stage.end_ms
            at_ms = random.randrange(100, max(bound, 101))
            args = {"device": name, "database": database, "declares": said}
            steps.append(Step(at_ms, "declare", args))
            if random.random() < 0.3:
                at_ms = random.randrange(at_ms, stage.end_ms)
                steps.append(Step(at_ms, "declare", {**args, "declares": {**said, "what": back}}))
    return steps


def _queries(random: Random, stage: Stage) -> list[Step]:
    steps = []
    for fields in random.sample((["n"], ["kind"], ["kind", "n"], ["topic"], ["n", "kind"]), 2):
        said = {"what": "index", "collection": FACTS, "fields": fields}
        steps += _declaring(random, stage, said, "no-index", early=random.random() < 0.7)
    questions = [_query(random) for _ in range(random.randint(2, 5))]
    return steps + _asking(random, stage, questions, random.randint(6, 14))


def _query(random: Random) -> dict[str, Any]:
    where: dict[str, Any] = {}
    for field, test in random.sample(
        (
            ("n", {random.choice((">=", ">", "<", "<=")): random.choice((0, 1, 2.5, "a", "ten"))}),
            ("n", {random.choice(("=", "!=")): random.choice(NUMBERS)}),
            ("n", {"in": random.sample(NUMBERS, 3)}),
            ("n", {">": -5, "<": 5}),
            ("kind", random.choice(KINDS)),
            ("kind", {"in": random.sample(KINDS, 2)}),
            ("kind", {"exists": random.random() < 0.5}),
            ("topic", {"prefix": random.choice(("t", "tea", "B", ""))}),
            ("marks", {"has": random.choice((1, "a", True, None))}),
        ),
        random.choice((0, 1, 1, 2)),
    ):
        where[field] = test
    order = random.choice((None, "n", "-n", ["kind", "-n"], ["-topic", "kind"]))
    asked: dict[str, Any] = {"ask": "find", "collection": FACTS, "where": where, "order": order}
    asked["page"] = random.choice((1, 2, 3, 100))
    if random.random() < 0.2:
        asked["text"] = random.choice(WORDS)
    return asked


def _words(random: Random, stage: Stage) -> list[Step]:
    questions = []
    for _ in range(random.randint(2, 5)):
        text = random.choice(
            (*WORDS, f"{CANARY} data", "tea rain", "te", "BLUE", f"{random.randrange(20)}", "mood")
        )
        collection = random.choice((None, FACTS))
        questions.append({"ask": "words", "text": text, "collection": collection})
    return _asking(random, stage, questions, random.randint(6, 12))


def _views(random: Random, stage: Stage) -> list[Step]:
    """An application asks a view of its version; a newer one comes, and sometimes the old again."""
    steps = []
    for name in random.sample(list(VIEWS), random.choice((1, 2))):
        for version in (1, 1, 2, random.choice((1, 2))):
            asked = {"ask": "view", "name": name, "version": version, "collection": FACTS}
            steps += _asking(random, stage, [asked], random.randint(1, 3))
    return steps


def _links(random: Random, stage: Stage) -> list[Step]:
    said = {"what": "link", "collection": FACTS, "field": "about", "to": FACTS}
    steps = _declaring(random, stage, said, "no-link")
    questions = [
        {
            "ask": "walk",
            "collection": FACTS,
            "id": _fact(random),
            "depth": random.choice((1, 2, 5)),
            "back": random.random() < 0.7,
        }
        for _ in range(random.randint(2, 4))
    ]
    return steps + _asking(random, stage, questions, random.randint(6, 12))


def _vectors(random: Random, stage: Stage) -> list[Step]:
    steps = []
    for version in random.choice((("1",), ("1", "2"))):
        said = {"what": "vectors", "collection": FACTS, "version": version}
        steps += _declaring(random, stage, said, "no-vectors")
    questions = [
        {
            "ask": "near",
            "collection": FACTS,
            "vector": [0.5, *_vector(random)[1:]],
            "version": random.choice(("1", "1", "2")),
            "k": random.choice((1, 3, 100)),
            "where": random.choice(({}, {}, {"kind": random.choice(KINDS)}, {"n": {">": 0}})),
        }
        for _ in range(random.randint(2, 4))
    ]
    return steps + _asking(random, stage, questions, random.randint(6, 12))


def _schemas(random: Random, stage: Stage) -> list[Step]:
    """Every device has a version of its own, takes a newer one some time, and writes by it."""
    steps = []
    database = random.choice(stage.databases)
    for name in stage.names:
        version = random.choice((1, 1, 2))
        at_ms = random.randrange(stage.end_ms // 3)
        for _ in range(random.randint(1, 3)):
            args = {"device": name, "database": database, "version": version}
            steps.append(Step(at_ms, "install-schema", args))
            if random.random() < 0.35:
                doom = {"device": name, "ahead": random.randint(1, 12), "fate": "dies after"}
                doom["fate"] = random.choice(("dies before", "dies after"))
                steps.append(Step(at_ms, "doom-commit", doom, "crash-at-commit"))
                steps.append(Step(min(at_ms + 2_000, stage.end_ms - 1), "start", {"device": name}))
            version = min(version + random.choice((0, 1, 1)), VERSIONS)
            at_ms = random.randrange(at_ms, stage.end_ms)
        if random.random() < 0.2:
            to = {"device": name, "database": database, "version": random.choice((1, 2))}
            steps.append(Step(random.randrange(stage.end_ms), "migrate-schema", to))
    for number in range(random.randint(8, 20)):
        name = random.choice(stage.names)
        args = {
            "device": name,
            "database": database,
            "id": f"{name}-{random.randrange(_OWN)}",
            "text": f"{CANARY} page {number} of {name}",
            "extra": {"n": random.choice((1, 2, "x")), "about": _fact(random)},
        }
        steps.append(Step(random.randrange(stage.end_ms), "write-page", args))
    asked = {"ask": "find", "collection": PAGES, "where": {"n": 1}, "order": None, "page": 2}
    return steps + _asking(random, stage, [asked], 3)


def _ages(random: Random, stage: Stage) -> list[Step]:
    """Records with a time to go, and documents that are packed at once."""
    steps = []
    expires: dict[str, Any] = {"what": "ages", "collection": FADING, "expires": UNTIL}
    expires |= {"keep": random.choice((None, None, 1, 400)), "warm": 0, "cold": 0}
    steps += _declaring(random, stage, expires, "no-ages")
    packs: dict[str, Any] = {"what": "ages", "collection": FACTS, "expires": None, "keep": None}
    packs |= {"warm": 0, "cold": random.choice((0, 30))}
    steps += _declaring(random, stage, packs, "no-ages")
    for number in range(random.randint(4, 10)):
        until = {UNTIL: random.choice((-1_000, 5_000, 60_000, 600_000))}
        extra = {"text": f"{CANARY} fading {number}", **until} if random.random() < 0.9 else until
        args = {**_place(random, stage), "collection": FADING, "id": f"fading-{number}"}
        at_ms = random.randrange(stage.end_ms)
        steps.append(Step(at_ms, "set-fields", {**args, "extra": extra}))
        if random.random() < 0.3:
            later = {**args, "device": random.choice(stage.names)}
            later["extra"] = {UNTIL: random.choice((60_000, 600_000))}
            steps.append(Step(random.randrange(at_ms, stage.end_ms), "set-fields", later))
    for _ in range(random.randint(5, 12)):
        steps.append(Step(random.randrange(stage.end_ms), "sweep", _place(random, stage)))
    return steps


def _past(random: Random, stage: Stage) -> list[Step]:
    """Each device keeps a diary of its own, and looks into it now and then."""
    steps = []
    for number in range(random.randint(10, 25)):
        name = random.choice(stage.names)
        args = {
            "device": name,
            "database": random.choice(stage.databases),
            "collection": "diary",
            "id": f"{name}-{random.randrange(_OWN)}",
        }
        at_ms = random.randrange(stage.end_ms)
        text = "" if random.random() < 0.15 else f"{CANARY} diary {number} of {name}"
        steps.append(Step(at_ms, "enter", {**args, "text": text}))
        if random.random() < 0.6:
            at_ms = random.randrange(at_ms, stage.end_ms)
            steps.append(Step(at_ms, "remember", args))
    return steps


def _letters(random: Random, stage: Stage) -> list[Step]:
    """Letters about people, who ask that all of it be erased."""
    steps = []
    for number in range(random.randint(5, 12)):
        extra = {WHO: random.choice(PEOPLE), "text": f"{CANARY} letter {number}"}
        args = {**_place(random, stage), "collection": LETTERS, "id": f"letter-{number % 8}"}
        steps.append(Step(random.randrange(stage.end_ms), "set-fields", {**args, "extra": extra}))
    for _ in range(random.randint(1, 4)):
        args = {**_place(random, stage), "who": random.choice(PEOPLE)}
        steps.append(Step(random.randrange(stage.end_ms), "forget-about", args))
    return steps


def _narrowings(random: Random, stage: Stage) -> list[Step]:
    """A copy of a database goes, and what is made from it has to go with it; then it comes back."""
    steps = []
    for _ in range(random.randint(1, 2)):
        args = {
            "device": stage.names[0],
            "target": random.choice(stage.names),
            "database": random.choice(stage.databases),
        }
        at_ms = random.randrange(stage.end_ms)
        mode = random.choice(("on-demand", "on-demand", "on-demand", "local-only", "summary"))
        said = {"mode": mode, "narrowed": random.choice(("remove", "remove", "keep"))}
        steps.append(Step(at_ms, "policy", {**args, "set": said}))
        if random.random() < 0.7:
            at_ms = random.randrange(at_ms, stage.end_ms)
            steps.append(Step(at_ms, "policy", {**args, "set": {"mode": None}}))
    return steps


_HABITS = (
    *(_queries, _words, _views, _links, _vectors),
    *(_schemas, _ages, _past, _letters, _narrowings),
)
