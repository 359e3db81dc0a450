"""The real index: it finds what an exact search finds, and touches neither disk nor network."""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np

from covey.node.data.chroma_index import ChromaIndex
from covey.node.data.nearness import unit_rows

from .walled_vectors import CANARY, FIELD, MODEL

PROGRAM = Path(__file__).with_name("walled_vectors.py")


@contextmanager
def index(name: str, dimension: int = 3) -> Iterator[ChromaIndex]:
    made = ChromaIndex(name, dimension)
    try:
        yield made
    finally:
        made.close()


def rows(*vectors: list[float]) -> Any:
    return unit_rows([pack(f"<{len(v)}f", *v) for v in vectors], len(vectors[0]))


def like_embeddings(count: int, dimension: int, seed: int) -> Any:
    """Vectors as models make them: around many subjects, and with few degrees of freedom."""
    random = np.random.default_rng(seed)
    subjects = random.standard_normal((50, dimension))
    ways = random.standard_normal((24, dimension))
    made = (
        0.7 * subjects[random.integers(0, 50, count)]
        + 0.35 * random.standard_normal((count, 24)) @ ways
        + 0.15 * random.standard_normal((count, dimension))
    ).astype("<f4")
    return unit_rows([made.tobytes()], count * dimension).reshape(count, dimension)


def test_records_are_put_replaced_and_removed() -> None:
    """A record that was edited is where its new vector is."""
    with index("a" * 32) as one:
        one.put([1, 2, 3], rows([1, 0, 0], [0, 1, 0], [0.9, 0.1, 0]))
        assert one.nearest(rows([1, 0, 0])[0], 2) == [1, 3]
        one.put([1], rows([-1, 0, 0]))
        assert one.nearest(rows([1, 0, 0])[0], 2) == [3, 2]
        one.remove([3, 99])
        one.remove([])
        one.put([], rows([1, 0, 0])[:0])
        assert one.nearest(rows([1, 0, 0])[0], 9) == [2, 1]


def test_indexes_of_one_process_are_apart_and_leave_nothing() -> None:
    """All clients of a process share one Chroma; two nodes must not find each other's records."""
    with index("b" * 32) as one, index("c" * 32) as other:
        one.put([1], rows([1, 0, 0]))
        other.put([2], rows([1, 0, 0]))

        assert one.nearest(rows([1, 0, 0])[0], 9) == [1]
        assert other.nearest(rows([1, 0, 0])[0], 9) == [2]
        one_more = ChromaIndex("e" * 32, 3)
        try:
            names = sorted(collection.name for collection in one._client.list_collections())
            assert names == ["b" * 32, "c" * 32, "e" * 32]
        finally:
            one_more.close()
        assert other.nearest(rows([1, 0, 0])[0], 9) == [2]


def test_beside_a_client_of_the_application_there_is_no_index(tmp_path: Path) -> None:
    """The two would share one Chroma, with the telemetry that the application may want. One that we
    have closed is in nobody's way.
    """
    program = (
        "import chromadb\n"
        "from covey.node.data.chroma_index import ChromaIndex\n"
        "ChromaIndex('a' * 32, 3).close()\n"
        "theirs = chromadb.EphemeralClient()\n"
        "print(theirs.count_collections())\n"
        "try:\n"
        "    ChromaIndex('a' * 32, 3)\n"
        "except ValueError:\n"
        "    print('refused')\n"
        "theirs.create_collection('notes', embedding_function=None)\n"
        "print(theirs.count_collections())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stdout == "0\nrefused\n1\n"


def test_it_finds_what_an_exact_search_finds() -> None:
    """Recall of the nearest ten is promised to be 0.95 (the full size is in benchmarks)."""
    held, asked = like_embeddings(3_000, 64, 1), like_embeddings(100, 64, 2)
    found = 0
    with index("d" * 32, 64) as one:
        for start in range(0, len(held), 1_000):
            part = held[start : start + 1_000]
            one.put(range(start, start + len(part)), part)
        for row in asked:
            exact = np.argsort(-(held @ row))[:10].tolist()
            found += len(set(exact) & set(one.nearest(row, 64)))

    assert found >= 0.95 * 10 * len(asked)


def start(folder: Path, **environment: str) -> subprocess.Popen[str]:
    """The program, in an empty folder, told by its surroundings to do what it must not."""
    for name in ("cwd", "temp", "user"):
        (folder / name).mkdir()
    (folder / "cwd" / ".env").write_text(
        "IS_PERSISTENT=TRUE\nANONYMIZED_TELEMETRY=TRUE\nPERSIST_DIRECTORY=stolen\n"
    )
    hostile = {
        "CHROMA_API_IMPL": "chromadb.api.fastapi.FastAPI",
        "CHROMA_SERVER_HOST": "127.0.0.1",
        "CHROMA_OTEL_COLLECTION_ENDPOINT": "http://127.0.0.1:9",
        "CHROMA_OTEL_GRANULARITY": "all",
        "IS_PERSISTENT": "TRUE",
        "ANONYMIZED_TELEMETRY": "TRUE",
        "PERSIST_DIRECTORY": str(folder / "user" / "stolen"),
    }
    own = {"HOME": str(folder / "user"), "TMPDIR": str(folder / "temp")}
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder / "home"), str(folder / "user" / "covey.key")],
        cwd=folder / "cwd",
        env={**os.environ, **hostile, **own, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_writes_no_file_and_opens_no_socket(tmp_path: Path) -> None:
    """An index on the disk would be the content of every record, in plain sight."""
    with start(tmp_path) as running:
        assert running.stdout is not None and running.stdin is not None
        said = running.stdout.readline()
        open_files = {
            os.readlink(f"/proc/{running.pid}/fd/{number}")
            for number in os.listdir(f"/proc/{running.pid}/fd")
        }
        files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        out, error = running.communicate("\n", timeout=60)

    assert said == '{"first": "canary", "exact": false, "why": ""}\n', error
    assert (out, running.returncode) == ("", 0), error
    # A file that is open and has no name any more would be on the disk all the same.
    assert [name for name in sorted(open_files) if "(deleted)" in name] == []
    beside_the_home = {path.relative_to(tmp_path).as_posix() for path in files} - {
        path.relative_to(tmp_path).as_posix() for path in files if tmp_path / "home" in path.parents
    }
    assert beside_the_home == {"cwd/.env", "user/covey.key"}
    assert [path.name for path, content in files.items() if is_told(content)] == []


def is_told(content: bytes) -> bool:
    """Whether a file holds the vector or the names, as they are or made length 1."""
    raw = pack("<16f", *CANARY)
    one = unit_rows([raw], 16)[0].tobytes()
    forms = [raw[:12], one[:12], raw.hex().encode(), base64.b64encode(raw)[:20]]
    return any(form in content for form in (*forms, FIELD.encode(), MODEL.encode()))


def test_the_wall_around_that_process_holds(tmp_path: Path) -> None:
    """A wall that nothing runs into proves something only if it stands."""
    with start(tmp_path, COVEY_TRY_SOCKET="1") as running:
        out, error = running.communicate("\n", timeout=60)

    assert (out, running.returncode) == ("", -31), error
    assert is_told(b"x" + pack("<16f", *CANARY) + b"y") and is_told(b"an okapifield")
