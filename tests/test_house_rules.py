"""House rules that no other tool checks, read off the source with `ast`.

What decides (`crypto`, `sync` and most of `storage` and `node`) gets time, randomness, files and
sockets handed in, so that the simulator can replay it from a seed. The tables below are the whole
list of who may do otherwise, each row with its reason; a row for a file that is gone or no longer
needs it fails.

These tests read text and syntax trees only, and import nothing of Covey but for the last one.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE_FOLDERS = ("cli", "crypto", "node", "simulations", "storage", "sync")
PYTHON_FOLDERS = (*CODE_FOLDERS, "tests", "benchmarks", "examples", "docs")

FILE_LINES_MAX = 450
BANNED_NAMES = frozenset({"utils", "helpers", "common", "base", "manager", "misc"})

ADAPTERS = {
    "node/backup.py": "copies a home to a file and back, in a thread beside the loop",
    "node/capture.py": "writes what crosses the wire to a file when a person asks for it",
    "node/foreign_thread.py": "runs an application's code in threads that nobody waits for",
    "node/local_api.py": "serves the local API on a socket of the system",
    "node/local_socket.py": "makes the socket file, and asks the kernel who is at the other end",
    "node/importers/archive.py": "reads exports of chat services, files outside any home",
    "node/interfaces.py": "asks the system for its network interfaces",
    "node/main.py": "binds everything to this machine, and is the only one to do so",
    "node/outside.py": "reads and makes the files that a person names, beside the loop",
    "node/recovering_home.py": "makes the home of a new device from a backup, beside the loop",
    "node/paper_shares.py": "calls a library that draws the randomness of shares itself",
    "node/mdns.py": "is the real Discovery",
    "node/system_clock.py": "is the real Clock",
    "node/system_entropy.py": "is the real Entropy",
    "node/system_surroundings.py": "asks the system for its battery, network and time zone",
    "node/unlock.py": "reads key files, descriptors and the keyring, and hardens the process",
    "node/websocket.py": "is the real Transport",
    "node/websocket_link.py": "is the real Connection",
}
"""Files of `node` that bind the engine to this machine. Everything else there decides."""

STORAGE_ADAPTERS = {
    "storage/analytics_database.py": "runs SQL over copies of records in memory",
    "storage/backup_file.py": "writes and reads backups, whole files outside any home",
    "storage/connector.py": "opens the encrypted store",
    "storage/database.py": "is the real Store",
    "storage/file_identity.py": "asks the system what tells a file from its copy",
    "storage/home.py": "names, makes and locks the folder of a device",
    "storage/memory.py": "is the Store in memory",
    "storage/reserve.py": "takes and gives back real space on the disk",
    "storage/rocks.py": "keeps rows in RocksDB, beside the loop",
    "storage/system_files.py": "is the real Files",
}
"""The same for `storage`. Rows, groups, the instance rule and the schema run in simulations too."""

WORLD_MODULES = {
    "the clock": ("time",),
    "randomness": ("random", "secrets", "uuid"),
    "files": ("fcntl", "glob", "os", "platformdirs", "shutil", "tempfile"),
    "databases": ("aiosqlite", "duckdb", "rocksdict", "sqlcipher3", "sqlite3"),
    "sockets": ("aiohttp", "http", "select", "selectors", "socket", "ssl", "urllib", "zeroconf"),
    "threads and processes": ("concurrent", "multiprocessing", "signal", "subprocess", "threading"),
    "the keyring": ("keyring",),
}
"""What of the world a module reaches for by importing one of these."""

WORLD_CALLS = {
    "the clock": (
        "asyncio.sleep",
        "asyncio.timeout",
        "asyncio.wait_for",
        "call_at",
        "call_later",
        "now",
        "timeout_at",
        "today",
        "utcnow",
    ),
    "randomness": (
        "crypto_box_keypair",
        "crypto_box_seal",
        "crypto_sign_keypair",
        "generate",
        "generate_mnemonics",
        "randombytes",
    ),
    "files": ("open", "read_bytes", "read_text", "write_bytes", "write_text"),
    "sockets": (
        "create_connection",
        "create_server",
        "open_connection",
        "open_unix_connection",
        "start_server",
        "start_unix_server",
    ),
    "threads and processes": ("create_subprocess_exec", "run_in_executor", "to_thread"),
    "the terminal": ("input",),
}
"""The same for functions and methods, by their last name or with their module."""

BARE_CALLS = frozenset({"open", "input"})
"""Names that only count when called bare: `box.open(...)` opens no file."""

WORLD_EXCEPTIONS: dict[tuple[str, str], str] = {
    ("node/recovering.py", "generate"): "DeviceKeys.generate takes the bytes it is given",
    ("node/founding.py", "generate"): "DeviceKeys.generate is handed the Entropy port's draw",
    ("storage/migrations.py", "read_text"): "the steps are part of the program, like its code",
    ("storage/migrations.py", "sqlite3"): "complete_statement splits a text; no database is opened",
}
"""(file, module or call) -> why this one is harmless."""

AUTOMERGE_USERS = {
    "sync/crdt.py": "the one module behind which another CRDT library could stand",
}

LONG_FILES: dict[str, str] = {}
"""file -> why a reader is better served by one long file than by two."""

HEAVY_MODULES = {
    "the engine": ("aiohttp", "aiosqlite", "automerge", "nacl", "sqlcipher3", "zeroconf"),
    "pairing": ("cryptography", "qrcode", "spake2"),
    "unlocking": ("keyring",),
    "the paper key": ("mnemonic",),
    "extras that may be absent": (
        *(
            "chromadb",
            "dbus_fast",
            "duckdb",
            "numpy",
            "psutil",
            "rocksdict",
            "shamir_mnemonic",
            "PIL",
        ),
    ),
}
"""Slow to import or optional, by what needs them: other commands must not wait for them."""

# Put together here, because this file is searched as well.
FORBIDDEN_WORDS = {
    "TO" + "DO": "an open question is an issue, not a comment",
    "FIX" + "ME": "a known fault is an issue, not a comment",
    "/wo" + "rk/": "a path of one machine means nothing on another",
    "../sha" + "red": "a path outside the checkout means nothing in a clone",
}
TEXT_SUFFIXES = frozenset({".py", ".md", ".toml", ".sql", ".txt", ".jsonl", ".cfg", ".yml", ""})


@cache
def committed_files() -> tuple[str, ...]:
    """Paths of what is or would be committed, from git; without git, what lies where code does."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"],
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        names = [name for name in listed.stdout.split("\0") if name]
    else:
        roots = [ROOT.glob("*"), *((ROOT / folder).rglob("*") for folder in PYTHON_FOLDERS)]
        names = [path.relative_to(ROOT).as_posix() for path in chain.from_iterable(roots)]
    return tuple(sorted(name for name in names if (ROOT / name).is_file()))


def python_files(*folders: str) -> list[str]:
    return [
        name
        for name in committed_files()
        if name.endswith(".py") and (name.split("/")[0] in folders or "/" not in name)
    ]


@cache
def tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), filename=name)


def imported(node: ast.AST) -> Iterator[str]:
    """Absolute module names that one statement imports, with what it takes from them."""
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=str(module), level=0, names=names):
            yield module
            yield from (f"{module}.{alias.name}" for alias in names)


def reaches_for_the_world(name: str) -> set[str]:
    """The modules and calls of the tables above that occur in one file."""
    modules = set(chain.from_iterable(WORLD_MODULES.values()))
    calls = set(chain.from_iterable(WORLD_CALLS.values()))
    found: set[str] = set()
    nodes = list(ast.walk(tree(name)))
    letting_others_run = {
        node.func
        for node in nodes
        if isinstance(node, ast.Call) and ast.unparse(node) == "asyncio.sleep(0)"
    }
    for node in nodes:
        if node in letting_others_run:
            continue  # No time passes in a sleep of 0.
        for module in imported(node):
            found |= {module.split(".")[0]} & modules
            found |= {module, module.rsplit(".", 1)[-1]} & (calls - BARE_CALLS)
        match node:
            case ast.Call(func=ast.Name(id=called)):
                found |= {called} & calls
            case ast.Attribute(attr=called):
                found |= {called, ast.unparse(node)} & (calls - BARE_CALLS)
    return found


def imports_on_load(body: list[ast.stmt]) -> Iterator[str]:
    """What is imported when a module is, that is outside functions and type-checking blocks."""
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                continue
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=orelse):
                yield from imports_on_load(orelse)
            case ast.If(body=inner, orelse=orelse) | ast.Try(body=inner, orelse=orelse):
                yield from imports_on_load([*inner, *orelse])
            case ast.ClassDef(body=inner) | ast.With(body=inner):
                yield from imports_on_load(inner)
            case _:
                yield from imported(node)


def deciding_files() -> list[str]:
    return [
        name
        for name in python_files("crypto", "sync", "storage", "node")
        if "/" in name and name not in ADAPTERS and name not in STORAGE_ADAPTERS
    ]


@pytest.mark.parametrize("name", deciding_files())
def test_what_decides_reaches_for_nothing_of_the_world(name: str) -> None:
    """One hidden clock or random number, and a failing seed can no longer be replayed."""
    allowed = {what for file, what in WORLD_EXCEPTIONS if file == name}

    assert reaches_for_the_world(name) <= allowed


def test_every_row_of_the_allow_lists_is_still_needed() -> None:
    """A row left behind would quietly permit what nobody decided."""
    files = set(committed_files())
    adapters = (*ADAPTERS, *STORAGE_ADAPTERS)
    idle = [f"{name}: no longer there" for name in adapters if name not in files]
    idle += [
        f"{name}: reaches for nothing, so it is no adapter"
        for name in adapters
        if name in files and not reaches_for_the_world(name)
    ]
    idle += [
        f"{name}: {what}"
        for name, what in WORLD_EXCEPTIONS
        if name not in files or what not in reaches_for_the_world(name)
    ]
    idle += [
        f"{name}: not long"
        for name in LONG_FILES
        if name not in files or line_count(name) <= FILE_LINES_MAX
    ]

    assert idle == []


def test_only_one_module_knows_automerge() -> None:
    """The library can crash the interpreter: all of its use must be behind the one boundary."""
    users = {
        name
        for name in python_files(*CODE_FOLDERS)
        for node in ast.walk(tree(name))
        for module in imported(node)
        if module.split(".")[0] == "automerge"
    }

    assert users <= AUTOMERGE_USERS.keys()


def test_the_counter_of_automerge_is_never_used() -> None:
    """In 1.0.0rc1 a legitimate `put` of a counter panics; ours are maps, summed on read."""
    users = [
        f"{name}:{node.lineno}"
        for name in python_files(*CODE_FOLDERS)
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Attribute)
        and node.attr == "Counter"
        and isinstance(node.value, ast.Name | ast.Attribute)
        and ast.unparse(node.value).split(".")[-1] == "ScalarType"
    ]

    assert users == []


def test_no_statement_numbers_its_parameters() -> None:
    """Python 3.12 takes `?1` for a name, and warns of a sequence given for it; 3.14 refuses it."""
    numbered = [
        f"{name}:{node.lineno}"
        for name in python_files("storage", "node", "simulations")
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.search(r"\?[0-9]", node.value)
    ]

    assert numbered == []


def test_no_module_is_named_after_nothing() -> None:
    """A drawer called utils fills with what nobody finds again."""
    bad = [
        name
        for name in python_files(*PYTHON_FOLDERS)
        if BANNED_NAMES & {part.removesuffix(".py").strip("_") for part in name.split("/")}
    ]

    assert bad == []


def line_count(name: str) -> int:
    return (ROOT / name).read_text(encoding="utf-8").count("\n")


def test_files_are_short_enough_to_be_read_at_once() -> None:
    """Two ideas in one file are found by neither name."""
    long = {
        name: line_count(name)
        for name in python_files(*CODE_FOLDERS, "benchmarks", "examples")
        if line_count(name) > FILE_LINES_MAX and name not in LONG_FILES
    }

    assert long == {}


@pytest.mark.parametrize("word", FORBIDDEN_WORDS)
def test_no_committed_text_holds_a_forbidden_word(word: str) -> None:
    """Each of these words is a promise to come back, or a place that no reader has."""
    texts = (name for name in committed_files() if Path(name).suffix in TEXT_SUFFIXES)
    holders = [
        name
        for name in texts
        if word in (ROOT / name).read_text(encoding="utf-8", errors="replace")
    ]

    assert holders == [], FORBIDDEN_WORDS[word]


def test_the_command_line_imports_nothing_heavy_at_the_top_of_a_module() -> None:
    """`covey --help` and shell completion are waited for by a person."""
    bad = [
        f"{name}: {module}"
        for name in python_files("cli")
        for module in imports_on_load(tree(name).body)
        if module.split(".")[0] in chain.from_iterable(HEAVY_MODULES.values())
    ]

    assert bad == []


def test_loading_the_command_line_loads_nothing_heavy_through_another_module() -> None:
    """A light module that imports a heavy one is heavy; only running it shows that."""
    program = "import sys, covey.cli.main; print(*{name.split('.')[0] for name in sys.modules})"

    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert set(loaded.stdout.split()).isdisjoint(chain.from_iterable(HEAVY_MODULES.values()))
