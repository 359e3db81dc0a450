"""The boundary round the CRDT library: what it throws stays inside, panics included."""

import ast
import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from automerge import core

from covey import CoveyError
from covey.sync import crdt
from covey.sync.engine import Engine, EngineError
from covey.sync.errors import BadValueError, GateError, GateRefusal, WrongAutomergeError
from covey.sync.record_state import RecordState

from .record_worlds import ACTOR, ACTORS

CODE = Path(__file__).resolve().parent.parent
OTHER = ACTORS[1]


class PanicError(BaseException):
    """What pyo3 raises for a panic: no Exception."""


class FakeDocument:
    """A document that behaves, until it is told to throw."""

    failure: BaseException | None = None

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        if FakeDocument.failure is not None and name in ("receive_sync_message", "transaction"):
            raise FakeDocument.failure
        return getattr(self._real, name)


class FakeLibrary:
    """The library with documents that can be made to panic."""

    def __init__(self) -> None:
        self.opened = 0

    def __getattr__(self, name: str) -> Any:
        return self if name == "Document" else getattr(core, name)

    def load(self, data: bytes) -> FakeDocument:
        self.opened += 1
        return FakeDocument(core.Document.load(data))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    fake = FakeLibrary()
    monkeypatch.setattr(crdt, "_ENGINE", Engine(fake))
    monkeypatch.setattr(FakeDocument, "failure", None)
    return fake


def second_change() -> tuple[RecordState, bytes]:
    """A record whose document is open, and a change of somebody else to it."""
    state = crdt.create(ACTOR, {"a": [1]}, entry_seq=1).state
    theirs = crdt.edit(state, OTHER, {"a": [1, 2]}, entry_seq=1, replace=False)
    assert theirs is not None
    state = crdt.create(ACTOR, {"a": [1]}, entry_seq=1).state
    return state, theirs.tail


def test_after_a_panic_the_document_is_built_anew_and_the_change_applied(
    library: FakeLibrary,
) -> None:
    """A document that panicked once is not to be trusted with anything; its chunks are."""
    state, tail = second_change()
    FakeDocument.failure = PanicError("index out of bounds")
    opened = library.opened

    after = crdt.apply(state, OTHER, tail, 1)

    assert after.value == {"a": [1, 2]}
    assert library.opened == opened + 1


def test_an_edit_survives_a_document_that_panics(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The poison may have come with an earlier change; the write of the user must not be lost."""
    state, _ = second_change()
    poisoned = state.live
    assert poisoned is not None
    real = poisoned.document
    FakeDocument.failure = PanicError("poisoned")
    monkeypatch.setattr(library, "load", lambda data: core.Document.load(data), raising=False)

    made = crdt.edit(state, ACTOR, {"b": 1}, entry_seq=2, replace=False)

    assert made is not None and made.state.value == {"a": [1], "b": 1}
    assert made.state.live is not None and made.state.live.document is not real


def test_a_change_on_which_every_document_panics_is_refused_and_the_state_stays_good(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry is quarantined; the record goes on without it."""
    state, tail = second_change()
    FakeDocument.failure = PanicError("again")

    def panic(data: bytes) -> Any:
        raise PanicError("while loading")

    monkeypatch.setattr(library, "load", panic, raising=False)
    with pytest.raises(GateError) as caught:
        crdt.apply(state, OTHER, tail, 1)
    monkeypatch.undo()

    assert caught.value.refusal is GateRefusal.ENGINE
    assert state.value == {"a": [1]}
    assert crdt.apply(state, OTHER, tail, 1).value == {"a": [1, 2]}


@pytest.mark.parametrize(
    "stop", [KeyboardInterrupt(), SystemExit(1), asyncio.CancelledError(), MemoryError()]
)
def test_what_must_stop_the_program_passes_through(
    library: FakeLibrary, stop: BaseException
) -> None:
    """A boundary that swallows Ctrl-C makes a node that cannot be stopped."""
    state, tail = second_change()
    FakeDocument.failure = stop

    with pytest.raises(type(stop)):
        crdt.apply(state, OTHER, tail, 1)
    FakeDocument.failure = None
    assert crdt.apply(state, OTHER, tail, 1).value == {"a": [1, 2]}


def test_an_error_of_ours_inside_a_transaction_comes_out_as_it_is() -> None:
    """The user is to read what is wrong with the value, not that an engine failed."""
    state = crdt.create(ACTOR, {"a": 1}, entry_seq=1).state

    with pytest.raises(BadValueError):
        crdt.edit(state, ACTOR, {"b": list(range(10_001))}, entry_seq=2, replace=False)
    assert crdt.edit(state, ACTOR, {"b": 1}, entry_seq=2, replace=False) is not None


def test_a_real_panic_inside_a_transaction_neither_escapes_nor_crashes_the_interpreter() -> None:
    """The library frees a poisoned transaction after its document: seen as a segmentation fault."""
    program = """
import gc
from automerge import core
from covey.sync.change import Operations
from covey.sync.chunk import assemble
from covey.sync.column_writing import encode_tail
from covey.sync.engine import Engine, EngineError
rows = Operations([None], ["k"], [False], [1], ["v"], [()])
pill = assemble(encode_tail(rows, bytes(16), deps=(), seq=1, start_op=2**32 - 1), bytes(16))
engine = Engine(core)
for _ in range(40):
    document = engine.open_document((pill,))
    try:
        engine.transact(
            document, b"1" * 16, lambda writer, old: writer.put(engine.root, "a", "b", False)
        )
        raise SystemExit("the pill works no longer")
    except EngineError:
        pass
    del document
    gc.collect()
print("alive")
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert (done.returncode, done.stdout) == (0, b"alive\n")


def test_engine_errors_are_no_covey_errors() -> None:
    """Only the modules of this floor may see one; a person never does."""
    assert not issubclass(EngineError, CoveyError)


@pytest.mark.parametrize("found", ["0.1.2", None])
def test_another_automerge_is_named_with_the_cure(found: str | None) -> None:
    """`pip install automerge` brings an unrelated package of 2022."""
    program = f"""
import importlib.metadata
def version(name):
    if {found!r} is None:
        raise importlib.metadata.PackageNotFoundError(name)
    return {found!r}
importlib.metadata.version = version
try:
    import covey.sync.crdt
except Exception as error:
    print(type(error).__name__, error.exit_code, error)
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    name, code, sentence = done.stdout.decode().split(" ", 2)
    assert (name, code) == (WrongAutomergeError.__name__, "2")
    assert "pip install automerge==1.0.0rc1" in sentence and "\n" not in sentence.strip()


def test_one_module_imports_the_library_and_none_names_its_counter() -> None:
    """Panics are contained only if there is one door; `put` of a counter is a panic by itself."""
    importers = set()
    counters = set()
    for folder in ("sync", "crypto", "storage", "node", "simulations", "cli"):
        for path in sorted((CODE / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case ast.Import(names=names) if any("automerge" in n.name for n in names):
                        importers.add(path.name)
                    case ast.ImportFrom(module=str(module), level=0) if "automerge" in module:
                        importers.add(path.name)
                    case ast.Attribute(attr="Counter", value=ast.Name(id="scalars" | "ScalarType")):
                        counters.add(path.name)
                    case ast.Attribute(attr="Counter", value=ast.Attribute(attr="ScalarType")):
                        counters.add(path.name)

    assert importers == {"crdt.py"}
    assert counters == set()
