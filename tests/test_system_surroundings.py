"""What the system says of battery and network, and that nothing breaks where it says nothing."""

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from covey.node.surroundings import Surroundings, Unknown
from covey.node.system_surroundings import NAME, PATH, SystemSurroundings

BUS_CONFIG = """<busconfig><type>system</type><listen>unix:path={socket}</listen>
<auth>EXTERNAL</auth><policy context="default"><allow send_destination="*"/>
<allow eavesdrop="false"/><allow own="*"/></policy></busconfig>"""


@pytest.fixture(autouse=True)
def no_bus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever runs on this machine, a test sees only what it brings."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'nobody'}")
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None, raising=False)


@asynccontextmanager
async def network_manager(
    monkeypatch: pytest.MonkeyPatch, folder: Path, metered: int
) -> AsyncIterator[None]:
    """A system bus of our own, and on it a NetworkManager that has one property."""
    from dbus_fast.aio import MessageBus
    from dbus_fast.constants import PropertyAccess
    from dbus_fast.service import ServiceInterface, dbus_property

    class Manager(ServiceInterface):
        def __init__(self) -> None:
            super().__init__(NAME)

        @dbus_property(access=PropertyAccess.READ)
        def Metered(self) -> "u":  # type: ignore[name-defined]  # noqa: N802, F821
            return metered

    socket, config = folder / "bus", folder / "bus.conf"
    config.write_text(BUS_CONFIG.format(socket=socket))
    daemon = await asyncio.create_subprocess_exec(
        "dbus-daemon",
        f"--config-file={config}",
        "--nofork",
        "--print-address=1",
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert daemon.stdout is not None
        await daemon.stdout.readline()  # It listens.
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={socket}")
        bus = await MessageBus(bus_address=f"unix:path={socket}").connect()
        bus.export(PATH, Manager())
        await bus.request_name(NAME)
        yield
        bus.disconnect()
    finally:
        daemon.terminate()
        await daemon.wait()


async def test_where_the_system_says_nothing_everything_is_unknown() -> None:
    """A server has neither a battery nor NetworkManager, and runs."""
    found = await SystemSurroundings().read()

    assert found == Surroundings(utc_offset_s=time.localtime().tm_gmtoff)
    assert await Unknown().read() == Surroundings()


@pytest.mark.parametrize(
    ("plugged", "percent", "mains", "battery"),
    [
        (True, 99.6, True, 99),
        (False, 14.2, False, 14),
        (None, 50, None, 50),
        (False, 255, False, 100),
    ],
)
async def test_the_battery_is_what_psutil_says(
    monkeypatch: pytest.MonkeyPatch,
    plugged: bool | None,
    percent: float,
    mains: bool | None,
    battery: int,
) -> None:
    """Drivers exaggerate; a percentage stays one."""
    said = SimpleNamespace(power_plugged=plugged, percent=percent)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: said, raising=False)

    found = await SystemSurroundings().read()

    assert (found.mains, found.battery) == (mains, battery)


async def test_a_battery_that_cannot_be_read_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some systems have no such call at all, some raise; the node goes on."""

    def fails() -> Any:
        raise OSError("no such file")

    monkeypatch.setattr(psutil, "sensors_battery", fails, raising=False)

    assert (await SystemSurroundings().read()).mains is None


async def test_without_the_packages_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come with covey[desktop], which most installations are without."""
    for name in ("psutil", "dbus_fast", "dbus_fast.aio"):
        monkeypatch.setitem(sys.modules, name, None)

    found = await SystemSurroundings().read()

    assert (found.metered, found.mains, found.battery) == (None, None, None)


@pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="there is no D-Bus here")
@pytest.mark.parametrize(
    ("said", "metered"), [(0, None), (1, True), (2, False), (3, True), (4, False), (9, None)]
)
async def test_networkmanager_says_whether_the_network_costs_by_volume(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: int, metered: bool | None
) -> None:
    """Its guess counts as its word: a phone's hotspot is guessed."""
    async with network_manager(monkeypatch, tmp_path, said):
        found = await SystemSurroundings().read()

    assert found.metered is metered
