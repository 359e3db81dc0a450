"""Disk: the floor under every durable commit, so that a ratio says more than a time.

One page of 4 KiB is written over an old one and made durable; nothing here is Covey's.
"""

import os
import statistics
import time
from pathlib import Path

from .budgets import Measure

PAGE_BYTES = 4096
ROUNDS = 400


def measure_disk(folder: Path) -> list[Measure]:
    """Microseconds of one `fdatasync` of one page, in the folder where the homes are."""
    path = folder / "probe"
    taken = []
    with open(path, "w+b", buffering=0) as file:
        file.write(bytes(PAGE_BYTES * ROUNDS))
        os.fsync(file.fileno())
        for number in range(ROUNDS):
            start = time.perf_counter()
            os.pwrite(file.fileno(), bytes(PAGE_BYTES), PAGE_BYTES * number)
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - start) * 1e6)
    path.unlink()
    taken.sort()
    return [Measure("disk_sync", statistics.median(taken), f"p99 {taken[-ROUNDS // 100]:.0f} us")]
