"""Devices: `covey devices` lists the registry, and trusts, limits, removes and adopts devices.

A device is named by its full id or by its name if no other bears it; the short id is shown and
never looked up (docs/protocol.md, section 1). Names come from other devices and are shown escaped.
"""

from typing import Any

import click

from .errors import DeclinedError
from .options import (
    LEVELS,
    Settings,
    days_option,
    json_option,
    open_node,
    pass_settings,
    person_present,
)
from .output import emit, note, say, table, visible

ROLES = ("admin", "member")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def devices(context: click.Context) -> None:
    """List the devices of the mesh, trust or remove one. Without a subcommand: list."""
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
    _do(settings, "device_show", {"device": device})


@devices.command("rename")
@click.argument("device", metavar="D")
@click.argument("name")
@json_option
@pass_settings
def rename_device(settings: Settings, device: str, name: str) -> None:
    """Give a device another name, on every device of the mesh."""
    _do(settings, "device_rename", {"device": device, "name": name})


@devices.command("level")
@click.argument("device", metavar="D")
@click.argument("level", type=click.Choice(LEVELS))
@days_option
@json_option
@pass_settings
def level_device(settings: Settings, device: str, level: str, days: int | None) -> None:
    """Trust a device more or less: full, limited or guest.

    A device that may read less from now on keeps what it has; what is written after this is under
    keys that it does not get.
    """
    _do(settings, "device_level", {"device": device, "level": level, "days": days})


@devices.command("role")
@click.argument("device", metavar="D")
@click.argument("role", type=click.Choice(ROLES))
@json_option
@pass_settings
def role_device(settings: Settings, device: str, role: str) -> None:
    """Let a device admit and remove others (admin), or not (member)."""
    _do(settings, "device_role", {"device": device, "role": role})


@devices.command("describe")
@click.argument("device", metavar="D")
@click.option("--relationship", type=click.Choice(("personal", "family", "work")))
@click.option("--use", type=click.Choice(("primary", "mobile", "shared", "guest")))
@click.option(
    "--capability", "capabilities", multiple=True, metavar="WORD", help="May be repeated."
)
@json_option
@pass_settings
def describe_device(
    settings: Settings,
    device: str,
    relationship: str | None,
    use: str | None,
    capabilities: tuple[str, ...],
) -> None:
    """Say what a device is for, as all devices show it."""
    params: dict[str, Any] = {"device": device, "relationship": relationship, "use": use}
    _do(settings, "device_describe", {**params, "capabilities": list(capabilities) or None})


@devices.command("revoke")
@click.argument("device", metavar="D")
@click.option("--yes", is_flag=True, help="Remove it unasked.")
@json_option
@pass_settings
def revoke_device(settings: Settings, device: str, yes: bool) -> None:
    """Remove a device for good, and change all keys that it holds.

    What it wrote and another device had seen stays. What it wrote later goes on the shelf
    (`covey devices shelf`). It comes back only if it is admitted anew.
    """
    with open_node(settings) as node:
        facts = node.call("device_objectors", {"device": device})
        _warn(facts)
        if not yes:
            if not person_present():
                raise click.UsageError("somebody has to agree: run it in a terminal, or give --yes")
            name = visible(facts["device"]["name"])
            if not click.confirm(f'Remove "{name}" ({facts["device"]["id"]})?', err=True):
                raise DeclinedError("nothing was changed")
        result = node.call("device_revoke", {"device": facts["device"]["id"]})
    if settings.json:
        emit(result)
    else:
        say(f'"{visible(result["device_name"])}" is removed; the keys it had are used no more')


@devices.command("shelf")
@json_option
@pass_settings
def show_shelf(settings: Settings) -> None:
    """List what removed devices wrote that nobody had seen before their removal."""
    with open_node(settings) as node:
        result = node.call("shelf", {})
    if settings.json:
        emit(result)
    elif result["shelf"]:
        headers = ("device", "short id", "database", "entries")
        rows = [
            (row["device_name"], row["device_id"][:9], row["database"], row["entries"])
            for row in result["shelf"]
        ]
        table(headers, rows)
    else:
        note("nothing is on the shelf")


@devices.command("adopt")
@click.argument("device", metavar="D")
@json_option
@pass_settings
def adopt_device(settings: Settings, device: str) -> None:
    """Let count what a removed device wrote, as far as this device holds it."""
    with open_node(settings) as node:
        result = node.call("device_adopt", {"device": device})
    if settings.json:
        emit(result)
    else:
        say(f'{result["adopted"]} entries of "{visible(result["device_name"])}" count from now on')


@devices.command("requests")
@json_option
@pass_settings
def show_requests(settings: Settings) -> None:
    """List the devices that ask to be admitted, through a member that is no admin."""
    with open_node(settings) as node:
        result = node.call("requests", {})
    if settings.json:
        emit(result)
    elif result["requests"]:
        for row in result["requests"]:
            said = f'"{visible(row["device_name"])}" ({visible(row["device_type"])})'
            until = f" until {visible(row['expires_at'])}" if row["expires_at"] else ""
            say(f"{row['device_id']}  {said}, {visible(row['trust_level'])} access{until}")
            say(f"    so says {visible(row['carried_by'])}: compare the id with the new device")
    else:
        note("no device asks to be admitted")


@devices.command("approve")
@click.argument("id", metavar="ID")
@click.option("--level", type=click.Choice(LEVELS), help="Another level than it asks for.")
@days_option
@json_option
@pass_settings
def approve_request(settings: Settings, id: str, level: str | None, days: int | None) -> None:
    """Admit a device that asks for it, by the whole id that its own screen shows.

    A name will not do: anybody may have written it. The device then joins at any member.
    """
    with open_node(settings) as node:
        result = node.call("request_approve", {"id": id, "level": level, "days": days})
    if settings.json:
        emit(result)
        return
    until = f" until {visible(result['expires_at'])}" if result["expires_at"] else ""
    say(
        f'"{visible(result["device_name"])}" may join now, with {visible(result["trust_level"])}'
        f" access{until}: it types a code of any member"
    )


@devices.command("rotate-keys")
@json_option
@pass_settings
def rotate_keys(settings: Settings) -> None:
    """Begin a new epoch: other keys for everything that is written from now on."""
    with open_node(settings) as node:
        result = node.call("keys_rotate", {})
    if settings.json:
        emit(result)
    else:
        say(f"new keys for {result['scopes']} scopes")


@devices.command("rekey")
@json_option
@pass_settings
def rekey_device(settings: Settings) -> None:
    """Renew the key with which this device receives all others, and then those.

    For a device that is back in good hands. Whoever copied its whole home can go on as this device
    all the same: then remove it (`covey devices revoke`) and pair a new home. Make a new backup
    afterwards: from an older one this device reads nothing that is written from now on.
    """
    with open_node(settings) as node:
        result = node.call("device_rekey", {})
    if settings.json:
        emit(result)
        return
    name, scopes = visible(result["device_name"]), result["scopes"]
    if scopes is None:
        say(f'"{name}" has a new key to receive with')
        note("`covey devices rotate-keys` on a device of level full lets it count at once")
    else:
        say(f'"{name}" has a new key to receive with, and new keys for {scopes} scopes came by it')
    note("make a new `covey backup`: an older one cannot read what is written from now on")


def _do(settings: Settings, method: str, params: dict[str, Any]) -> None:
    with open_node(settings) as node:
        result = node.call(method, params)
    if settings.json:
        emit(result)
    else:
        _show(result)


def _warn(facts: dict[str, Any]) -> None:
    """Say before a removal whether it could be undone, and by whom."""
    for device in facts["objectors"]:
        name = visible(device["name"])
        note(
            f'"{name}" is senior to this device: it can still object to its removal.'
            + (
                " `covey recovery revoke` makes it final, with the paper key"
                if facts["paper_key"]
                else " There is no paper key that could make it final"
            )
        )
    if facts["self"]:
        note("this is the device you are on: it leaves the mesh and keeps what it has")


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
