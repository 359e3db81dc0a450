"""Determinism: nothing that a simulation replays may depend on the order of a set.

Sets of bytes and strings come in another order under every PYTHONHASHSEED, sets of objects at
every start. `set_order.py` finds where that shows; here it is pointed at all that decides, and
tried on small programs.
"""

import ast
import textwrap

import pytest

from .set_order import Finding, findings
from .test_house_rules import ADAPTERS, STORAGE_ADAPTERS, python_files, tree

ORDER_EXCEPTIONS: dict[tuple[str, str], str] = {
    ("node/applying.py", "missing"): "unpacked as a tuple, after the sets have been answered",
    (
        "sync/session_state.py",
        "sorted(self.timers, key=lambda timer: timer.value)",
    ): "the values of an Enum differ, so no two timers have equal keys",
}
"""(file, expression) -> why its order cannot show."""


def replayed_files() -> list[str]:
    """What runs in a simulation, and the simulator itself."""
    names = python_files("crypto", "node", "simulations", "storage", "sync")
    return [n for n in names if "/" in n and n not in ADAPTERS and n not in STORAGE_ADAPTERS]


def program_findings() -> dict[str, list[Finding]]:
    return findings({name: tree(name) for name in replayed_files()})


def found_in(program: str) -> list[str]:
    """The expressions found in a program of one file."""
    found = findings({"x.py": ast.parse(textwrap.dedent(program))})
    return [each.expression for each in found.get("x.py", [])]


def test_no_order_of_a_set_shows() -> None:
    """Two runs of one seed would differ, and a failure could not be replayed."""
    bad = [
        f"{name}:{each.line}: {each.expression}"
        for name, all_of_them in program_findings().items()
        for each in all_of_them
        if (name, each.expression) not in ORDER_EXCEPTIONS
    ]

    assert bad == []


def test_every_exception_is_still_needed() -> None:
    """A row left behind would quietly permit what nobody decided."""
    found = {
        (name, each.expression)
        for name, all_of_them in program_findings().items()
        for each in all_of_them
    }

    assert ORDER_EXCEPTIONS.keys() <= found


BAD = {
    "a loop over a display": ("for x in {1, 2}: print(x)", "{1, 2}"),
    "a loop over a call": ("for x in set(y): f(x)", "set(y)"),
    "a list": ("list(frozenset(y))", "frozenset(y)"),
    "a tuple": ("tuple({a for a in b})", "{a for a in b}"),
    "the first": ("next(iter(set(y)))", "set(y)"),
    "text": ("','.join({str(a) for a in b})", "{str(a) for a in b}"),
    "numbers": ("for i, x in enumerate(set(y)): f(x)", "set(y)"),
    "pairs": ("zip(set(y), z)", "set(y)"),
    "keys": ("dict.fromkeys(set(y))", "set(y)"),
    "more of a list": ("z.extend(set(y))", "set(y)"),
    "a sum of lists": ("z += set(y)", "set(y)"),
    "a list comprehension": ("[f(x) for x in set(y)]", "set(y)"),
    "a dict comprehension": ("{x: 1 for x in set(y)}", "set(y)"),
    "a generator for anybody": ("f(x for x in set(y))", "set(y)"),
    "a list joined by sum": ("sum(([x] for x in set(y)), [])", "set(y)"),
    "a star in a list": ("[a, *set(y)]", "set(y)"),
    "a star in a call": ("asyncio.gather(*set(y))", "set(y)"),
    "unpacking": ("a, b = set(y)", "set(y)"),
    "any one": ("x = {1, 2}\nx.pop()", "x"),
    "formatting": ("f'{set(y)}'", "set(y)"),
    "a representation": ("repr(set(y))", "set(y)"),
    "yielding": ("def f():\n    yield from set(y)", "set(y)"),
    "an operator": ("for x in set(a) - b: f(x)", "set(a) - b"),
    "views": ("for x in a.keys() & b: f(x)", "a.keys() & b"),
    "a method": ("for x in a.union(b): f(x)", "a.union(b)"),
    "one of two": ("for x in (set(a) if b else ()): f(x)", "set(a) if b else ()"),
    "a key that may be equal": ("sorted(set(y), key=len)", "sorted(set(y), key=len)"),
    "the least by a key": ("min({a, b}, key=len)", "min({a, b}, key=len)"),
    "a parameter": ("def f(x: set[int]):\n    return list(x)", "x"),
    "an optional parameter": ("def f(x: 'frozenset[int] | None'):\n    return list(x)", "x"),
    "a local name": ("def f():\n    x = {1}\n    return [*x]", "x"),
    "an annotated name": ("def f():\n    x: set[int] = g()\n    return [*x]", "x"),
    "a name from outside": ("def f(x: set[int]):\n    def g():\n        return list(x)", "x"),
    "a walrus": ("if x := set(y):\n    list(x)", "x"),
    "a field": ("class A:\n    x: frozenset[int]\ndef f(a):\n    return list(a.x)", "a.x"),
    "an attribute": (
        "class A:\n    def __init__(self):\n        self.x: set[int] = g()\n"
        "    def f(self):\n        return list(self.x)",
        "self.x",
    ),
    "an attribute without annotation": (
        "class A:\n    def __init__(self):\n        self.x = set()\n"
        "    def f(self):\n        for y in self.x: pass",
        "self.x",
    ),
    "an attribute from a parameter": (
        "class A:\n    def __init__(self, y: set[int]):\n        self.x = y\n"
        "    def f(self):\n        return list(self.x)",
        "self.x",
    ),
    "an attribute from that of another": (
        "class A:\n    x: set[int]\n"
        "class B:\n    def __init__(self, a):\n        self.x = a.x\n"
        "    def f(self):\n        return list(self.x)",
        "self.x",
    ),
    "a property": (
        "class A:\n    @property\n    def x(self) -> set[int]: ...\n"
        "    def f(self):\n        return [*self.x]",
        "self.x",
    ),
    "a result": ("def f() -> set[int]: ...\nlist(f())", "f()"),
    "an awaited result": (
        "async def f() -> set[int]: ...\nasync def g():\n    return list(await f())",
        "await f()",
    ),
    "an alias": ("Ids = frozenset[int] | None\ndef f(x: Ids):\n    return list(x)", "x"),
    "a set in a dict": ("def f(x: dict[int, set[int]]):\n    return list(x[1])", "x[1]"),
    "a set got from a dict": (
        "def f(x: dict[int, set[int]]):\n    return list(x.get(1, ()))",
        "x.get(1, ())",
    ),
    "values that are sets": (
        "def f(x: dict[int, set[int]]):\n    for y in x.values():\n        list(y)",
        "y",
    ),
    "items that hold sets": (
        "def f(x: dict[int, set[int]]):\n    return [list(z) for y, z in x.items()]",
        "z",
    ),
    "a chain of sets": (
        "def f(x: list[set[int]]):\n    return chain.from_iterable(x)",
        "x",
    ),
    "what asyncio.wait gives": (
        "async def f():\n    done, left = await asyncio.wait(x)\n    for t in left: t.cancel()",
        "left",
    ),
    "all tasks": ("for task in asyncio.all_tasks(): task.cancel()", "asyncio.all_tasks()"),
}

GOOD = {
    "sorting": "for x in sorted(set(y)): f(x)",
    "sorting what comes of it": "sorted(f(x) for x in set(y))",
    "membership": "x in {1, 2} and x not in set(y)",
    "comparing": "set(a) == set(b) and set(a) <= b",
    "counting": "len(set(y)) + sum(x for x in set(y))",
    "any and all": "any(f(x) for x in set(y)) and all([f(x) for x in set(y)])",
    "the least": "min(set(y)) + max(x for x in set(y))",
    "another set": "{f(x) for x in set(y)} | frozenset(f(x) for x in {1})",
    "a star in a set": "{a, *set(y)}",
    "into a set that is there": "x = set()\nx.update(f(y) for y in {1, 2})\nx |= set(z)",
    "a set of one": "(x,) = set(y)",
    "lists and dicts": "for x in [1, 2]: f(x, *{1: 2}, list(d), tuple(d.values()))",
    "a sorted parameter": "def f(x: set[int]):\n    return [y for y in sorted(x)]",
    "dict operators": "for x in a | b: f(x)",
    "an attribute of the same name": (
        "class A:\n    x: set[int]\n"
        "class B:\n    x: list[int]\n    def f(self):\n        return [*self.x]"
    ),
    "a name of another function": (
        "def f(x: set[int]): ...\ndef g(x: list[int]):\n    return list(x)"
    ),
    "popping from a dict or a list": "d.pop('a')\nd = [1]\nd.pop()",
    "sets as keys": "def f(x: dict[frozenset[int], bytes]):\n    return list(x.values())",
}


@pytest.mark.parametrize("name", BAD)
def test_an_order_that_shows_is_found(name: str) -> None:
    """A lint that misses the common cases is worse than none: people rely on it."""
    program, expression = BAD[name]

    assert found_in(program) == [expression]


@pytest.mark.parametrize("name", GOOD)
def test_what_shows_no_order_is_let_through(name: str) -> None:
    """A lint that cries wolf is switched off."""
    assert found_in(GOOD[name]) == []


def test_a_field_of_another_file_is_known() -> None:
    """State is declared in one file and used in many."""
    declaring = ast.parse("class State:\n    wanting: frozenset[bytes]")
    using = ast.parse("def f(state):\n    for scope in state.wanting: send(scope)")

    assert findings({"a.py": declaring, "b.py": using}) == {
        "b.py": [Finding(2, "state.wanting")],
    }


def test_a_field_that_other_files_declare_differently_is_no_set() -> None:
    """Without types nobody knows which of the two is meant."""
    one = ast.parse("class A:\n    x: frozenset[bytes]")
    other = ast.parse("class B:\n    x: list[bytes]")
    using = ast.parse("def f(a):\n    return list(a.x)")

    assert findings({"a.py": one, "b.py": other, "c.py": using}) == {}
