"""companion HOME KEY            talk; /help says what else can be typed
companion HOME KEY say TEXT   say one sentence, and sync with devices that are near
companion HOME KEY forget TEXT
companion HOME KEY memories
"""

import asyncio
import sys
import time

import covey

from .companion import Companion, Hear
from .embedding import best_embedding
from .records import Records

SYNC_S = 5.0

HELP = """/memories        how many there are
/forget TEXT     delete the memory that is nearest to it, on all devices
/delete          delete this conversation with its messages, on all devices
/about           what this is
/quit"""


async def run(home: str, key_file: str, *command: str) -> None:
    async with covey.open(home, unlock=covey.KeyFile(key_file), online=True) as node:
        records, embedding = Records.of_node(node), best_embedding()
        await records.install(node)
        await records.declare(node, embedding)
        companion = Companion(records, embedding, _now_ms)
        bus = covey.Bus()
        companion.join(bus)
        async with bus:
            await _meet(node)
            await companion.start()
            match command:
                case ("say", text) if text.strip():
                    print((await bus.send(Hear(text))).text)
                    await _meet(node)
                case ("forget", text):
                    print(await companion.forget(text))
                    await _meet(node)
                case ("memories",):
                    await _show_memories(companion)
                case ():
                    await _talk(companion, bus)
                case _:
                    sys.exit(__doc__)


async def _meet(node: covey.Node) -> None:
    """Sync with whoever is near. Whoever is not does not matter; of one device there is nobody."""
    if (await node.status())["peers"]:
        await node.sync(timeout=SYNC_S)


async def _talk(companion: Companion, bus: covey.Bus) -> None:
    print(companion.about())
    while True:
        try:
            line = (await asyncio.to_thread(input, "> ")).strip()
        except EOFError:
            return
        name, _, rest = line.partition(" ")
        match name:
            case "":
                continue
            case "/quit":
                return
            case "/memories":
                await _show_memories(companion)
            case "/forget" if rest:
                print(await companion.forget(rest))
            case "/delete":
                print(f"Deleted, with {await companion.forget_conversation()} messages.")
            case "/about":
                print(companion.about())
            case _ if name.startswith("/"):
                print(HELP)
            case _:
                print((await bus.send(Hear(line))).text)


async def _show_memories(companion: Companion) -> None:
    for kind, count in (await companion.memories.count()).items():
        print(f"{kind}: {count}")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        asyncio.run(run(*sys.argv[1:]))
    except covey.CoveyError as error:
        sys.exit(f"companion: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
