"""Processes of a benchmark, as the parent sees them: ask, or tell now and hear later."""

import json
import subprocess
import sys
from types import TracebackType
from typing import Any

from .homes import Home

STOP_SECONDS_MAX = 60


class PeerProcess:
    """A node started with `benchmarks.peer`. `opened_ms` is what opening its home took."""

    def __init__(self, home: Home) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peer", str(home.path), str(home.key_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.opened_ms: float = self.hear()["opened_s"] * 1e3
        self.pid = self._process.pid

    def tell(self, command: str, **arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The answer to the oldest command not answered yet; blocks."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended with {self._process.wait()}: see its error above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        self.tell(command, **arguments)
        return self.hear()

    def stop(self) -> None:
        """Close the node properly and wait for the end of the process."""
        if self._process.poll() is None:
            self.ask("stop")
            self._process.wait(STOP_SECONDS_MAX)

    def __enter__(self) -> "PeerProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.stop()
        elif self._process.poll() is None:
            self._process.kill()
            self._process.wait()
