"""Devices: `covey devices` lists the registry, shows one device, renames one.

A device is named by its full id or by its name if no other bears it; the short id is shown and
never looked up (docs/protocol.md, section 1). Names come from other devices and are shown escaped.
"""

from typing import Any

import click

from .options import Settings, json_option, open_node, pass_settings
from .output import emit, say, table, visible


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def devices(context: click.Context) -> None:
    """List, show and rename the devices of the mesh. Without a subcommand: list."""
    if context.invoked_subcommand is None:
        context.invoke(list_devices)


@devices.command("list")
@json_option
@pass_settings
def list_devices(settings: Settings) -> None:
    """List the devices of the mesh."""
    with open_node(settings) as node:
        result = node.call("devices", {})
    if settings.json:
        emit(result)
        return
    headers = ("device", "short id", "type", "trust", "role", "status", "last seen")
    table(headers, [_row(device) for device in result["devices"]])


@devices.command("show")
@click.argument("device", metavar="D")
@json_option
@pass_settings
def show_device(settings: Settings, device: str) -> None:
    """Show one device, named by its full id or its name."""
    with open_node(settings) as node:
        result = node.call("device_show", {"device": device})
    if settings.json:
        emit(result)
    else:
        _show(result)


@devices.command("rename")
@click.argument("device", metavar="D")
@click.argument("name")
@json_option
@pass_settings
def rename_device(settings: Settings, device: str, name: str) -> None:
    """Give a device another name, on every device of the mesh."""
    with open_node(settings) as node:
        result = node.call("device_rename", {"device": device, "name": name})
    if settings.json:
        emit(result)
    else:
        _show(result)


def _row(device: dict[str, Any]) -> tuple[object, ...]:
    name = device["device_name"] + (" (this device)" if device["self"] else "")
    seen = "now" if device["self"] else device["last_seen"] or "never"
    return (
        name,
        device["short_id"],
        device["device_type"],
        device["trust_level"],
        device["role"],
        device["status"],
        seen,
    )


def _show(device: dict[str, Any]) -> None:
    for field, value in device.items():
        shown = ", ".join(map(visible, value)) if isinstance(value, list) else visible(value)
        say(f"{visible(field):<14}{shown}")
