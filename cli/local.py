"""A node inside this process, for a command whose home has no running node.

The service runs on an event loop in a thread of its own, so that it goes on answering the network
while the command waits for a person. `LocalNode` offers the same two methods as `NodeClient`; it
owns the home until it is closed. Ctrl-C reaches the command's thread, which then closes the node.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Coroutine, Generator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from ..node import main as node_main
from .client import encode

ITEMS_AHEAD_MAX = 1_000
"""Items of a stream that may wait for the command; then the stream waits."""
_FULL_POLL_S = 0.005

T = TypeVar("T")


class LocalNode:
    """Opens the home's service and keeps it until `close`. Raises what opening raises."""

    def __init__(self, home: Path, unlock: Any, *, online: bool) -> None:
        self._opened: Future[Any] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(
            target=self._live, args=(home, unlock, online), name="covey-node", daemon=True
        )
        self._thread.start()
        try:
            self._service = self._opened.result()
        except BaseException:
            self.close()
            raise

    def call(self, method: str, params: dict[str, Any]) -> Any:
        encode(params)
        return self._run(self._service.call(method, params))

    def stream(self, method: str, params: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        encode(params)
        items: queue.Queue[dict[str, Any] | None] = queue.Queue()
        pump = self._start(self._pump(method, params, items))
        # The mark of the end is set by the loop, whether the stream ended, failed or was closed.
        pump.add_done_callback(lambda _: items.put(None))
        try:
            while (item := items.get()) is not None:
                yield item
            pump.result()
        finally:
            pump.cancel()

    def close(self) -> None:
        """Close the service and wait for its thread. Raises what closing raised, once."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _live(self, home: Path, unlock: Any, online: bool) -> None:
        try:
            asyncio.run(self._hold(home, unlock, online))
        except BaseException as error:
            if self._opened.done():
                self._failure = error
            else:
                self._opened.set_exception(error)

    async def _hold(self, home: Path, unlock: Any, online: bool) -> None:
        """Enter and leave the service in one task, as task groups and timeouts require."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        opening = node_main.open_service(home, unlock, online=online, listen=None, mdns=online)
        async with opening as service:
            self._opened.set_result(service)
            await self._stop.wait()
            # What the command has turned away from may still use the service.
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pump(
        self, method: str, params: dict[str, Any], items: "queue.Queue[dict[str, Any] | None]"
    ) -> None:
        source: AsyncIterator[dict[str, Any]] = self._service.stream(method, params)
        try:
            async for item in source:
                items.put(item)
                while items.qsize() >= ITEMS_AHEAD_MAX:
                    await asyncio.sleep(_FULL_POLL_S)
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = self._start(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(self._remembered(work), self._loop)

    async def _remembered(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await work
        finally:
            self._tasks.discard(task)
