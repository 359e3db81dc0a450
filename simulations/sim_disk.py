"""Simulated disk: what one device has stored, and everything that disks do to it.

It holds the store's committed image and the small files beside it (`SimFiles`, the Files port).
What was not synced when the power went may be there, missing or torn. Faults: the process dies at a
given commit or file call, before or after it took effect; the disk is full; a call fails, and after
a failed commit nobody knows whether it took effect; bits rot.

The store itself runs on it in `sim_store.py`. A disk outlives the processes that use it. `copy`
gives the disk of a clone or a backup: the same content in another file.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from .dice import Dice

HOME = Path("/home")
STORE_PATH = HOME / "store.db"
TOKEN_PATH = HOME / "instance.token"
SECTOR_BYTES = 512
IMAGES_KEPT = 4


class Fate(Enum):
    """What becomes of one commit or file call."""

    WORKS = "works"
    DIES_BEFORE = "dies before"
    DIES_AFTER = "dies after"
    FULL = "full"
    FAILS = "fails"
    """It fails, and has not happened."""
    UNSURE = "unsure"
    """It fails, and may have happened all the same. Of a commit that is seen if the process dies
    before the next one; a call on a file has happened."""


@dataclass
class _Inode:
    content: bytes
    synced: bytes | None = None


@dataclass
class SimDisk:
    """See the module. Sizes are bytes."""

    name: str
    dice: Dice
    commit_ms_max: float = 3.0
    read_ms_max: float = 1.0
    image: bytes | None = None
    """The store as it is on the disk; the newest while a process runs is in its memory."""
    maybe: bytes | None = None
    """What the image may be instead, after a commit of which nobody knows."""
    identity: int = 1
    came_up: bool = False
    """Whether a process has come up on this file, so that its store knows what file it is in."""
    commits: int = 0
    file_calls: int = 0
    is_full: bool = False
    is_rotten: bool = False
    flips: int = 0
    """How many bits of small files have flipped."""
    files: dict[str, _Inode] = field(default_factory=dict)
    _linked: dict[str, _Inode] = field(default_factory=dict)
    """The names as they are on the disk, whatever the directory in memory says."""
    _commit_fates: list[tuple[int, Fate]] = field(default_factory=list)
    _call_fates: list[tuple[int, Fate]] = field(default_factory=list)
    older: list[bytes] = field(default_factory=list)
    """Images before the last commits; used only by a store that does not wait for the disk."""

    def copy(self, name: str, identity: int) -> "SimDisk":
        """The same content in another place. With our `identity`: a snapshot of the machine."""
        made = SimDisk(name, self.dice, self.commit_ms_max, self.read_ms_max, self.image)
        made.identity = identity
        made.came_up = self.came_up and identity == self.identity
        for path, inode in self.files.items():
            made.files[path] = made._linked[path] = _Inode(inode.content, inode.content)
        made.commits, made.file_calls, made.flips = self.commits, self.file_calls, self.flips
        return made

    # Faults ------------------------------------------------------------------------------------

    def doom_commit(self, ahead: int, fate: Fate) -> None:
        """The commit that is `ahead` commits from now (1 is the next) meets this fate."""
        self._commit_fates.append((self.commits + ahead, fate))

    def doom_call(self, ahead: int, fate: Fate) -> None:
        """The same for a call on a small file."""
        self._call_fates.append((self.file_calls + ahead, fate))

    def heal(self) -> None:
        """Nothing that is still to come goes wrong."""
        self._commit_fates.clear()
        self._call_fates.clear()
        self.is_full = False

    def next_commit(self) -> Fate:
        self.commits += 1
        self.maybe = None
        return self._fate(self._commit_fates, self.commits)

    def next_call(self) -> Fate:
        self.file_calls += 1
        return self._fate(self._call_fates, self.file_calls)

    def _fate(self, fates: list[tuple[int, Fate]], number: int) -> Fate:
        for at, fate in fates:
            if at == number:
                return fate
        return Fate.FULL if self.is_full else Fate.WORKS

    def commit_ms(self) -> float:
        return self.commit_ms_max * self.dice.fraction("commit", self.name, self.commits) ** 2

    def recover(self) -> None:
        """A store is opened: what a failed commit has left in the log may be taken for whole."""
        if self.maybe is not None and self._coin("maybe", "log"):
            self.image = self.maybe
        self.maybe = None

    def lose_power(self) -> None:
        """What was not synced is there, or not, or in part."""
        for path in sorted({*self.files, *self._linked}):
            linked, current = self._linked.get(path), self.files.get(path)
            inode = current if self._coin("rename", path) else linked
            if inode is None:
                self.files.pop(path, None)
                continue
            self.files[path] = inode
            if inode.synced != inode.content:
                inode.content = self._torn(path, inode)
            inode.synced = inode.content
        self._linked = dict(self.files)
        if self.maybe is not None and self._coin("maybe", "store"):
            self.image = self.maybe
        elif self.older and self._coin("older", "store"):
            self.image = self.older[self.dice.below(len(self.older), "older", self.commits)]
        self.maybe, self.older = None, []

    def _torn(self, path: str, inode: _Inode) -> bytes:
        whole = inode.content
        sectors = len(whole) // SECTOR_BYTES + 2
        cut = self.dice.below(sectors, "torn", self.name, path, self.file_calls) * SECTOR_BYTES
        return whole[:cut] + (inode.synced or b"")[cut : len(whole)]

    def _coin(self, *what: str) -> bool:
        return self.dice.below(2, *what, self.name, self.commits, self.file_calls) == 1

    def rot(self, what: str) -> None:
        """Flip one bit of a small file, or spoil the store for good."""
        inode = self.files.get(what)
        if inode is None:
            self.is_rotten = True
        elif inode.content:
            at = self.dice.below(len(inode.content), "rot", self.name, what)
            flipped = bytes((inode.content[at] ^ 1,))
            inode.content = inode.content[:at] + flipped + inode.content[at + 1 :]
            inode.synced = inode.content
            self.flips += 1


class SimFiles:
    """Implements `covey.storage.files.Files` on a simulated disk."""

    def __init__(self, disk: SimDisk, die: Callable[[], None]) -> None:
        """`die` ends the process; after it, no call takes effect."""
        self._disk = disk
        self._die = die

    def read(self, path: Path, bytes_max: int) -> bytes:
        return self._inode(path).content[:bytes_max]

    def write(self, path: Path, content: bytes) -> None:
        disk = self._disk

        def put(written: bytes) -> None:
            old = disk.files.get(path.name)
            linked = disk._linked.get(path.name)
            if old is None:
                old = disk.files[path.name] = _Inode(b"")
            old.content = written
            if linked is old and old.synced is None:
                old.synced = b""

        def put_a_part() -> None:
            size = disk.dice.below(len(content) + 1, "part", disk.name, path.name, disk.file_calls)
            put(content[:size])

        self._call(path, lambda: put(content), put_a_part)

    def sync(self, path: Path) -> None:
        inode = self._inode(path)

        def act() -> None:
            inode.synced = inode.content

        self._call(path, act)

    def replace(self, source: Path, target: Path) -> None:
        self._inode(source)

        def act() -> None:
            self._disk.files[target.name] = self._disk.files.pop(source.name)

        self._call(target, act)

    def sync_folder(self, folder: Path) -> None:
        def act() -> None:
            self._disk._linked = dict(self._disk.files)

        self._call(folder, act)

    def make_folder(self, folder: Path) -> None:
        """Folders are part of a file's name here, and always there."""

    def remove(self, path: Path) -> None:
        self._inode(path)

        def act() -> None:
            del self._disk.files[path.name]

        self._call(path, act)

    def identity(self, path: Path) -> bytes:
        return self._disk.identity.to_bytes(24, "big")

    def _inode(self, path: Path) -> _Inode:
        inode = self._disk.files.get(path.name)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return inode

    def _call(
        self, path: Path, act: Callable[[], None], fail: Callable[[], None] = lambda: None
    ) -> None:
        """One call, with its fate. `fail` is what it leaves behind when it fails."""
        match self._disk.next_call():
            case Fate.WORKS:
                act()
            case Fate.DIES_BEFORE:
                self._die()
                raise ProcessDied
            case Fate.DIES_AFTER:
                act()
                self._die()
                raise ProcessDied
            case Fate.FULL:
                fail()
                raise OSError(errno.ENOSPC, "no space left on the device", str(path))
            case Fate.FAILS:
                fail()
                raise OSError(errno.EIO, "input/output error", str(path))
            case Fate.UNSURE:
                act()
                raise OSError(errno.EIO, "input/output error", str(path))


class ProcessDied(BaseException):
    """The simulated process is gone; whatever would have come next never happens."""
