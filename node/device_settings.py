"""Device settings: what the person says about this one device. They stay in its store.

Unlike policies they are of no interest to other devices, and they are not in the membership log:
whether the network here is metered changes by the hour. Kept in the store's meta rows as canonical
msgpack. Contract: docs/cli.md, `settings`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .. import CoveyError
from ..sync.errors import DecodeError
from ..sync.limits import CONTROL_BYTES_MAX, CONTROL_TOKENS_MAX
from ..sync.packing import pack, unpack

DEVICE_SETTINGS = "device_settings"
"""The name of the meta row."""

WORDS = ("auto", "yes", "no")
MINUTES_MAX = 24 * 60
BANDWIDTH_MAX = 2**40
CACHE_MIB_MIN = 16
CACHE_MIB_MAX = 2**16


class SettingError(CoveyError):
    """No such setting, or no such value of it. Nothing was changed."""

    exit_code = 2


class DeviceSettings(NamedTuple):
    """What was said, or else the defaults."""

    metered: str = "auto"
    """Whether the network costs by volume: what the system says, or yes, or no."""
    mains: str = "auto"
    """Whether the device is on mains: what the system says, or yes, or no."""
    phone: str = "auto"
    """Few and short connections. `auto`: on a device of type phone that runs on its battery."""
    phone_minutes: int = 15
    """How often a device in phone mode looks for news by itself."""
    bandwidth: int = 0
    """Bytes a second that this device sends at most, to all others together; 0 for no cap."""
    cache_mib: int = 256
    """MiB that the caches of applications take at most."""


def _is_word(value: Any) -> bool:
    return type(value) is str and value in WORDS


def _is_within(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


_WORDS_TEXT = "auto, yes or no"
_CHECKS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "metered": (_is_word, _WORDS_TEXT),
    "mains": (_is_word, _WORDS_TEXT),
    "phone": (_is_word, _WORDS_TEXT),
    "phone_minutes": (_is_within(1, MINUTES_MAX), f"a number of minutes, 1 to {MINUTES_MAX}"),
    "cache_mib": (
        _is_within(CACHE_MIB_MIN, CACHE_MIB_MAX),
        f"a number of MiB, {CACHE_MIB_MIN} to {CACHE_MIB_MAX}",
    ),
    "bandwidth": (_is_within(0, BANDWIDTH_MAX), "bytes a second, 0 for no cap"),
}


def changed(settings: DeviceSettings, said: Mapping[str, Any]) -> DeviceSettings:
    """The settings with what was said now. Numbers may be texts. Raises SettingError."""
    values: dict[str, Any] = {}
    for key, value in said.items():
        if key not in _CHECKS:
            raise SettingError(f"{key}: no such setting; there are {', '.join(_CHECKS)}")
        check, expected = _CHECKS[key]
        if type(value) is str and value.isascii() and value.isdecimal():
            value = int(value[:20])
        if not check(value):
            raise SettingError(f"{key}: expected {expected}")
        values[key] = value
    return settings._replace(**values)


def word(value: str) -> bool | None:
    """yes, no, or None for auto."""
    return {"yes": True, "no": False}.get(value)


def encode_settings(settings: DeviceSettings) -> bytes:
    """As they are kept: what is not the default."""
    defaults = DeviceSettings()._asdict()
    said = {key: value for key, value in settings._asdict().items() if value != defaults[key]}
    return pack(said)


def decode_settings(kept: bytes | None) -> DeviceSettings:
    """As they were kept. What this version does not know, or cannot have, is passed over."""
    if kept is None:
        return DeviceSettings()
    try:
        said = unpack(kept, bytes_max=CONTROL_BYTES_MAX, tokens_max=CONTROL_TOKENS_MAX)
    except DecodeError:
        return DeviceSettings()
    if type(said) is not dict:
        return DeviceSettings()
    known = {k: v for k, v in said.items() if k in _CHECKS and _CHECKS[k][0](v)}
    return DeviceSettings()._replace(**known)
