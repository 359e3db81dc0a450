"""Erase: everything about somebody deleted on all devices, and who has proved it."""

from typing import Any

import click

from .options import Settings, json_option, open_node, pass_settings, person_present, timeout_option
from .output import emit, note, say, visible
from .query_commands import parse_conditions


@click.command()
@click.argument("database", metavar="DB", required=False)
@click.option("--about", metavar="FIELD=VALUE", help="Records with this value in this field.")
@click.option("--record", nargs=2, metavar="COLLECTION ID", help="This one record.")
@click.option(
    "--via", multiple=True, metavar="F", help="Also what refers to them in its field F; repeat it."
)
@click.option("--receipts", is_flag=True, help="Show what was erased, and who has proved it.")
@click.option("--dry-run", is_flag=True, help="Only say how much it would be.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@timeout_option(30)
@json_option
@pass_settings
def erase(
    settings: Settings,
    database: str | None,
    about: str | None,
    record: tuple[str, str] | None,
    via: tuple[str, ...],
    receipts: bool,
    dry_run: bool,
    yes: bool,
    timeout_s: float,
) -> None:
    """Delete all about somebody on all devices. There is a receipt.

    Waits until the devices that can be reached have proved it, at most so long. What it does not
    reach is said: earlier versions stay sealed in the history.
    """
    if receipts:
        if database or about or record or via:
            raise click.UsageError("--receipts: shows all of them, so give nothing else")
        return _receipts(settings)
    if database is None or (about is None) == (record is None):
        raise click.UsageError(
            "name the database, and --about FIELD=VALUE or --record COLLECTION ID"
        )
    params: dict[str, Any] = {"database": database, **sought(about, record, via)}
    with open_node(settings, online=True) as node:
        would = node.call("erase", {**params, "dry_run": True})
        told = f"{would['records']} records and {would['blobs']} blobs"
        if dry_run or not would["records"]:
            emit(would) if settings.json else say(told)
            return
        if not yes and not (
            person_present() and click.confirm(f"Delete {told} on all devices?", err=True)
        ):
            raise click.UsageError("nothing was deleted: say yes, or give --yes")
        done = node.call("erase", params)
        node.call("sync", {"timeout_s": timeout_s})
        wanted = done["receipt"]["number"]
        found = node.call("erasures", {})["erasures"]
    done["receipt"] = next(each for each in found if each["number"] == wanted)
    if settings.json:
        emit(done)
        return
    _show(done["receipt"])
    if done["refused"]:
        note(f"{done['refused']} more may only be deleted by another device")


def sought(
    about: str | None, record: tuple[str, str] | None, via: tuple[str, ...]
) -> dict[str, Any]:
    """What is looked for, as the node is asked. Raises UsageError."""
    found: dict[str, Any] = {"via": list(via)}
    if about is not None:
        found["about"] = parse_conditions((about,))
    if record is not None:
        found["record"] = {"collection": record[0], "id": record[1]}
    return found


def _receipts(settings: Settings) -> None:
    with open_node(settings) as node:
        found = node.call("erasures", {})
    if settings.json:
        emit(found)
        return
    for receipt in found["erasures"]:
        _show(receipt)
    if not found["erasures"]:
        say("nothing was erased yet")


def _show(receipt: dict[str, Any]) -> None:
    say(
        f"{receipt['erased_at']}: {receipt['records']} records and {receipt['blobs']} blobs of"
        f" {visible(receipt['database'])} ({receipt['digest'][:16] or 'interrupted: erase again'})"
    )
    for device in receipt["devices"]:
        if device["proved_at"]:
            told = f"proved at {device['proved_at']}"
        else:
            told = "not yet proved" if device["holds_database"] else "does not share this database"
        say(f"  {visible(device['name'])}: {told}")
    note(f"not erased: {receipt['remains']}")
