"""The command line: reading-list HOME KEY_FILE [save ADDRESS TITLE | finish ADDRESS]."""

import asyncio
import sys

import covey

from .shelf import Shelf


async def run(home: str, key_file: str, *command: str) -> None:
    async with covey.open(home, unlock=covey.KeyFile(key_file), online=True) as node:
        shelf = Shelf(node)
        match command:
            case ("save", address, title):
                await shelf.save(address, title)
            case ("finish", address):
                await shelf.finish(address)
            case _:
                await node.sync(timeout=5)
                for article in await shelf.unread():
                    print(f"{article.title}\n  {article.address}")


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    asyncio.run(run(*sys.argv[1:]))
