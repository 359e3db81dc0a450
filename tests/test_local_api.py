"""The local API: who may talk to the node, and what happens to what is malformed or cut short."""

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from covey.node import local_api
from covey.node.local_api import CALLS, STREAMS, LocalApi, serve
from covey.node.local_socket import (
    BODY_BYTES_MAX,
    Credentials,
    LocalSocketError,
    require_private_directory,
    short_name,
    socket_path,
)
from covey.node.service import Service

from .fake_service import FakeError, FakeService
from .memory_world import World


@asynccontextmanager
async def open_connection(
    home: Path,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    with short_name(socket_path(home)) as name:
        reader, writer = await asyncio.open_unix_connection(name, limit=2**20)
    try:
        yield reader, writer
    finally:
        writer.close()


def request(path: str, body: bytes = b"{}", verb: str = "POST", version: str = "1.0") -> bytes:
    head = f"{verb} {path} HTTP/{version}\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def ask(home: Path, raw: bytes) -> tuple[int, Any]:
    """Status and JSON of the answer; the answer must end with the connection."""
    async with open_connection(home) as (reader, writer):
        writer.write(raw)
        answer = await reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)


async def until(condition: Any) -> None:
    """Let the loop run until the condition holds; the test's own timeout ends a lost cause."""
    while not condition():
        await asyncio.sleep(0)


async def test_a_call_answers_with_the_result_of_the_service(tmp_path: Path) -> None:
    """The command line shows what the service says, so nothing may be added or lost."""
    service = FakeService()
    async with serve(tmp_path, service):
        status, answer = await ask(tmp_path, request("/v1/call/device"))

    assert status == 200
    assert answer == {"result": service.on_device({})}


async def test_a_stream_answers_with_its_items_and_then_says_that_it_ended(tmp_path: Path) -> None:
    """A reader must be able to tell a finished export from one that was cut."""
    async with serve(tmp_path, FakeService()), open_connection(tmp_path) as (reader, writer):
        body = json.dumps({"database": "memory", "collection": None}).encode()
        writer.write(request("/v1/stream/watch", body))
        lines = (await reader.read()).partition(b"\r\n\r\n")[2].splitlines()

    assert [json.loads(line).get("op") for line in lines] == ["put", "delete", "lost", None]
    assert json.loads(lines[-1]) == {"end": True}


async def test_the_socket_is_ours_alone(tmp_path: Path) -> None:
    """File modes keep other users out before the kernel is even asked who they are."""
    home = tmp_path / "home"
    async with serve(home, FakeService()) as api:
        modes = [stat.S_IMODE(os.stat(path).st_mode) for path in (api.path, home)]

    assert modes == [0o600, 0o700]


@pytest.mark.parametrize("caller", [None, Credentials(uid=os.getuid() + 1, pid=1)])
async def test_another_user_is_refused_and_the_connection_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caller: Credentials | None
) -> None:
    """A socket's mode can be changed by accident; the caller's user id cannot be forged."""
    monkeypatch.setattr(local_api, "peer_credentials", lambda _: caller)
    service = FakeService()
    async with serve(tmp_path, service):
        # HTTP/1.1 would keep the connection: that `ask` returns shows that it was closed.
        status, answer = await ask(tmp_path, request("/v1/call/device", version="1.1"))

    assert status == 403
    assert answer["error"]["exit_code"] == 2
    assert service.asked == []


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request("/v1/call/no_such"), 404),
        (request("/v1/call/watch"), 404),
        (request("/v1/stream/get"), 404),
        (request("/v1/call/__class__"), 404),
        (request("/"), 404),
        (request("/v1/call/device/more"), 404),
        (request("/v1/call/device", verb="GET"), 405),
        (request("/v1/call/get", b"{"), 400),
        (request("/v1/call/get", b"[]"), 400),
        (request("/v1/call/get", b'{"id": NaN}'), 400),
        (request("/v1/call/get", b'{"id": "\xff"}'), 400),
        (request("/v1/call/get", b'{"id": "\\ud800"}'), 400),
        (request("/v1/call/get", b"[" * 100_000), 400),
    ],
)
async def test_what_cannot_be_read_is_refused_in_a_sentence(
    tmp_path: Path, raw: bytes, status: int
) -> None:
    """A script of one's own is wrong more often than not, and must be told how."""
    service = FakeService()
    async with serve(tmp_path, service):
        got, answer = await ask(tmp_path, raw)

    assert got == status
    assert len(answer["error"]["message"]) > 10
    assert answer["error"]["exit_code"] == 2
    assert service.asked == []


async def test_an_oversize_body_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Reading it would let one mistaken script take the node's memory."""
    head = f"POST /v1/call/put HTTP/1.0\r\nContent-Length: {BODY_BYTES_MAX + 1}\r\n\r\n"
    async with serve(tmp_path, FakeService()):
        status, answer = await ask(tmp_path, head.encode())

    assert status == 413
    assert str(BODY_BYTES_MAX) in answer["error"]["message"]


async def test_an_oversize_body_of_unsaid_length_is_refused(tmp_path: Path) -> None:
    """A chunked body says its size only by arriving."""
    head = b"POST /v1/call/put HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    async with serve(tmp_path, FakeService()):
        status, _ = await ask(tmp_path, head + chunk * 9)

    assert status == 413


async def test_a_refusal_of_the_service_arrives_with_its_exit_code(tmp_path: Path) -> None:
    """Scripts decide by the code, whichever process found out."""
    service = FakeService(failing={"get": FakeError("no such\nrecord", 1)})
    async with serve(tmp_path, service):
        status, answer = await ask(tmp_path, request("/v1/call/get"))

    assert status == 422
    assert answer == {"error": {"message": "no such record", "exit_code": 1}}


async def test_a_defect_tells_its_place_and_no_content(tmp_path: Path) -> None:
    """The text of a KeyError is what the user stored."""
    service = FakeService(failing={"get": KeyError("my diagnosis")})
    async with serve(tmp_path, service):
        status, answer = await ask(tmp_path, request("/v1/call/get"))

    assert status == 500
    assert "KeyError" in answer["error"]["message"]
    assert "diagnosis" not in answer["error"]["message"]
    assert answer["error"]["exit_code"] == 70


async def test_a_failing_stream_ends_with_the_error(tmp_path: Path) -> None:
    """The items before it were already sent, so the status can no longer say it."""
    service = FakeService(failing={"after export": FakeError("the disk failed", 6)})
    service.records["memory", "facts", "tea"] = {}
    async with serve(tmp_path, service), open_connection(tmp_path) as (reader, writer):
        writer.write(request("/v1/stream/export", b'{"database": null}'))
        lines = (await reader.read()).splitlines()

    assert json.loads(lines[-2])["id"] == "tea"
    assert json.loads(lines[-1]) == {"error": {"message": "the disk failed", "exit_code": 6}}


async def test_a_stream_ends_when_its_reader_vanishes(tmp_path: Path) -> None:
    """Else every interrupted `covey watch` would leave a listener in the node for good."""
    service = FakeService()
    body = b'{"database": "memory", "collection": "forever"}'
    async with serve(tmp_path, service):
        async with open_connection(tmp_path) as (reader, writer):
            writer.write(request("/v1/stream/watch", body))
            await reader.readuntil(b'"count":3}\n')
            opened = service.streams_open
        await until(lambda: service.streams_open == 0)

    assert opened == 1


async def test_a_call_is_finished_though_its_caller_vanishes(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a put must leave the put done or never begun, not half of it."""
    service = FakeService(hold=asyncio.Event())
    assert service.hold is not None
    async with serve(tmp_path, service):
        async with open_connection(tmp_path) as (_, writer):
            writer.write(request("/v1/call/databases"))
            await until(lambda: service.asked)
        service.hold.set()
        await until(lambda: len(service.asked) == 2)

    assert service.asked[-1][0] == "databases done"


async def test_a_call_that_only_waits_ends_with_its_caller(tmp_path: Path) -> None:
    """An interrupted `covey sync --wait` has nobody left to wait for."""
    service = FakeService(hold=asyncio.Event())
    async with serve(tmp_path, service) as api:
        async with open_connection(tmp_path) as (_, writer):
            writer.write(request("/v1/call/sync"))
            await until(lambda: service.asked)
        await until(lambda: not api._calls)

    assert [method for method, _ in service.asked] == ["sync"]


async def test_closing_waits_for_no_call_that_only_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`covey down` beside a long query or a `covey sync --wait` would else take ten seconds."""
    monkeypatch.setattr(local_api, "CLOSE_GRACE_S", 3_600.0)
    service = FakeService(hold=asyncio.Event())
    async with serve(tmp_path, service) as api, open_connection(tmp_path) as (reader, writer):
        writer.write(request("/v1/call/sync"))
        await until(lambda: service.asked)
        await api.close()
        answer = await reader.read()

    assert answer.startswith(b"HTTP/1.0 503")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"].startswith(
        "the node was stopped"
    )


async def test_closing_ends_streams_with_a_sentence_and_leaves_no_task(tmp_path: Path) -> None:
    """A watcher must be told that the node stopped; a leaked task would touch a closed store."""
    before = asyncio.all_tasks()
    service = FakeService()
    async with open_stream_while_serving(tmp_path, service) as (reader, api):
        await api.close()
        last = (await reader.read()).splitlines()[-1]

    assert "stopped" in json.loads(last)["error"]["message"]
    assert service.streams_open == 0
    assert asyncio.all_tasks() - before == set()
    assert not os.path.exists(api.path)


@asynccontextmanager
async def open_stream_while_serving(
    home: Path, service: FakeService
) -> AsyncIterator[tuple[asyncio.StreamReader, LocalApi]]:
    body = b'{"database": "memory", "collection": "forever"}'
    async with serve(home, service) as api, open_connection(home) as (reader, writer):
        writer.write(request("/v1/stream/watch", body))
        await reader.readuntil(b'"count":3}\n')
        yield reader, api


async def test_closing_lets_a_running_call_answer(tmp_path: Path) -> None:
    """`covey down` is itself a call, answered by the node that it stops."""
    service = FakeService(hold=asyncio.Event())
    assert service.hold is not None
    async with serve(tmp_path, service) as api, open_connection(tmp_path) as (reader, writer):
        writer.write(request("/v1/call/down"))
        await until(lambda: service.asked)
        closing = asyncio.ensure_future(api.close())
        await asyncio.sleep(0)
        service.hold.set()
        answer = await reader.read()
        await closing

    assert b'{"result":{"stopping":true}}' in answer


async def test_the_socket_of_a_crashed_node_is_replaced(tmp_path: Path) -> None:
    """The caller holds the lock of the home, so what lies there belongs to nobody."""
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short_name(socket_path(tmp_path)) as name:
        dead.bind(name)
    dead.close()
    async with serve(tmp_path, FakeService()):
        status, _ = await ask(tmp_path, request("/v1/call/device"))

    assert status == 200


async def test_a_home_with_a_long_path_is_served(tmp_path: Path) -> None:
    """The kernel takes about a hundred bytes of name, and homes in containers have more."""
    home = tmp_path / ("d" * 100) / ("e" * 100)
    home.parent.mkdir()
    async with serve(home, FakeService()):
        status, _ = await ask(home, request("/v1/call/device"))

    assert status == 200


def test_a_home_that_is_not_ours_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner could put another socket in its place."""
    owner = os.stat(tmp_path).st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)

    with pytest.raises(LocalSocketError):
        require_private_directory(str(tmp_path))


def test_the_stand_in_of_these_tests_has_no_method_that_is_not_served() -> None:
    """What the commands are tested with must be what they can ask a running node."""
    methods = vars(FakeService)

    assert {name.removeprefix("on_") for name in methods if name.startswith("on_")} <= CALLS
    streams = {name.removeprefix("stream_") for name in methods if name.startswith("stream_")}
    assert streams <= STREAMS


async def test_what_the_socket_serves_is_what_a_node_has() -> None:
    """A method that the socket does not know works only while no node runs."""
    async with World() as world:
        service = Service((await world.founder("laptop")).engine, lambda: None)

        assert service._unary.keys() == CALLS
        assert service._streams.keys() == STREAMS
