"""A node that searches by vectors in a process that may open no socket: run by a test.

    python walled_vectors.py HOME KEY_FILE

`socket` is forbidden to the whole process by the kernel, whatever language calls it: a call of it
ends the process at once. Then a home is made, records with embeddings are put, an index is filled
in the background and searched. It writes one line of JSON, and waits for a line on standard input
before it closes, so that its files can be looked at while it runs.
"""

import asyncio
import ctypes
import json
import os
import platform
import struct
import sys
from pathlib import Path

import covey
from covey.node.main import create_home

SOCKET_CALLS = {"x86_64": 41, "aarch64": 198}
"""Numbers of the system call `socket`. Source: the kernel's tables of system calls."""
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2
KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06

MODEL, FIELD = "quokka-embedder", "okapifield"
CANARY = [0.12345 + n / 7_919 for n in range(16)]


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def forbid_sockets() -> None:
    """For this process and its children, for good. Source: seccomp(2)."""
    number = SOCKET_CALLS[platform.machine()]
    steps = b"".join(
        struct.pack("<HBBI", *step)
        for step in (
            (LOAD_WORD, 0, 0, 0),  # The number of the call is the first word of what is judged.
            (JUMP_IF_EQUAL, 0, 1, number),
            (RETURN, 0, 0, KILL_PROCESS),
            (RETURN, 0, 0, ALLOW),
        )
    )
    buffer = ctypes.create_string_buffer(steps, len(steps))
    program = Program(4, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no new privileges")
    if libc.prctl(PR_SET_SECCOMP, FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "no filter")


async def search(home: Path, key: Path) -> None:
    unlock = covey.KeyFile(key)
    await create_home(home, "laptop", "laptop", unlock)
    async with covey.open(home, unlock=unlock) as node:
        notes = node.database("memory").collection("notes")
        node.engine.vectors.index_rows_min = 10
        await notes.vectors(FIELD, model=MODEL, version="7", dimension=16)
        await notes.put({FIELD: covey.embedding(MODEL, "7", CANARY), "n": -1}, id="canary")
        for n in range(40):
            numbers = [float((n * k) % 11 - 5) + 0.5 for k in range(16)]
            await notes.put({FIELD: covey.embedding(MODEL, "7", numbers), "n": n}, id=f"r{n}")
        await node.engine.vectors.settle()
        found = await notes.nearest(CANARY, k=3)
        told = {"first": found.hits[0].id, "exact": found.is_exact, "why": found.index_failure}
        print(json.dumps(told), flush=True)
        await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    forbid_sockets()
    if os.environ.get("COVEY_TRY_SOCKET"):
        import socket

        socket.socket()
    asyncio.run(search(Path(sys.argv[1]), Path(sys.argv[2])))
