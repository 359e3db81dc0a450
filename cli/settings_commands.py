"""Settings of this one device: what the system cannot say, or says wrong.

Policies are of the mesh and travel; these stay here. They are followed at once by a running node.
"""

from typing import Any

import click

from .options import Settings, json_option, open_node, pass_settings
from .output import emit, say, table, visible

_MEANINGS = {
    "metered": "the network costs by volume",
    "mains": "the device is on mains",
    "phone": "few and short connections",
    "phone_minutes": "how often a phone looks for news",
    "bandwidth": "bytes a second to all others together; 0: no cap",
    "cache_mib": "MiB that caches of applications take at most",
}


@click.group("settings", invoke_without_command=True)
@json_option
@click.pass_context
def settings(context: click.Context) -> None:
    """Show and change settings of this device. Without a subcommand: show."""
    if context.invoked_subcommand is None:
        context.invoke(show_settings)


@settings.command("show")
@json_option
@pass_settings
def show_settings(settings: Settings) -> None:
    """Show the settings of this device, and what it takes its surroundings for."""
    with open_node(settings) as node:
        _show(settings, node.call("settings", {}))


@settings.command("set")
@click.argument("said", nargs=-1, required=True, metavar="KEY=VALUE...")
@json_option
@pass_settings
def set_settings(settings: Settings, said: tuple[str, ...]) -> None:
    """Change settings of this device: metered, mains, phone, phone_minutes, bandwidth,
    cache_mib.

    The first three are yes, no or auto. With auto the system is asked, if `covey[desktop]` is
    installed; what nobody knows counts as a metered network and as a battery. A phone is, with
    auto, a device of type phone that runs on its battery.
    """
    pairs = dict(_pair(text) for text in said)
    with open_node(settings) as node:
        _show(settings, node.call("settings_set", {"set": pairs}))


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"{text!r}: expected KEY=VALUE, such as metered=yes")
    return key, value


def _show(settings: Settings, found: dict[str, Any]) -> None:
    if settings.json:
        emit(found)
        return
    now = found["now"]
    rows = [
        (key, value, _now(now, key), _MEANINGS.get(key, ""))
        for key, value in found["settings"].items()
    ]
    table(("setting", "value", "now", "means"), rows)
    if now.get("battery") is not None:
        say(f"the battery is at {visible(now['battery'])} %")


def _now(now: dict[str, Any], key: str) -> str:
    if key not in now:
        return ""
    return "not known" if now[key] is None else ("yes" if now[key] else "no")
