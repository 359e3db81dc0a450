"""Times as people and scripts read them."""

from datetime import UTC, datetime


def iso_time(wall_ms: int) -> str:
    """Milliseconds since 1970 as `2026-01-01T10:00:00Z`, in UTC. Far-off clocks are clamped."""
    seconds = min(max(wall_ms // 1000, 0), 253_402_300_799)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
