"""Memory of this process, in KiB of resident pages.

The peak comes from VmHWM where there is one: `ru_maxrss` of a new process begins at what its parent
had when it was started, which is not what is asked.
"""

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def rss_kib() -> int:
    """Now; the peak where the system does not tell."""
    return _field("VmRSS") or peak_kib()


def peak_kib() -> int:
    """At most, since the process began."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _field("VmHWM") or (used // 1024 if sys.platform == "darwin" else used)


def _field(name: str) -> int:
    if not _STATUS.exists():
        return 0
    for line in _STATUS.read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0
