"""Unlock: keys come from safe places only, and every refusal says what to do instead."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from covey.crypto.secret import Secret
from covey.crypto.vault import FileKey, KeyringKey, PassphraseKey, create_vault
from covey.node.unlock import (
    OTHER_WAYS,
    KeyFile,
    KeyFileError,
    Keyring,
    KeyringEntryError,
    KeyringRefusedError,
    Passphrase,
    PassphraseInputError,
    check_way,
    has_keyring_slot,
    has_passphrase_slot,
    make_vault_unlock,
    read_passphrase_fd,
    to_vault_unlock,
)
from covey.storage.vault_file import write_vault

ID = b"sixteen byte id."
DRAWN = bytes(range(32))


def draw(size: int) -> bytes:
    return DRAWN[:size]


def no_draw(size: int) -> bytes:
    raise AssertionError("nothing new is to be made here")


# Passphrases


def test_a_passphrase_becomes_its_utf8_bytes() -> None:
    """The vault decides about spellings; nothing is trimmed or lowered on the way."""
    found = to_vault_unlock(Passphrase(" Träume "), ID)

    assert found == PassphraseKey(Secret(" Träume ".encode()))
    assert make_vault_unlock(Passphrase(" Träume "), ID, no_draw) == found


@pytest.mark.parametrize("text", ["", "x" * 1025, "ä" * 513, "\ud800"])
def test_an_impossible_passphrase_is_a_usage_error(text: str) -> None:
    """Argon2id over an empty text protects nothing, over a huge one costs for nothing."""
    with pytest.raises(PassphraseInputError) as refused:
        Passphrase(text)

    assert refused.value.exit_code == 2
    assert str(refused.value).isprintable()


def test_the_representation_of_a_passphrase_shows_nothing() -> None:
    """It is passed through the public API, where anyone may log it."""
    assert repr(Passphrase("open sesame")) == "Passphrase()"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            continue


def piped(pipe: tuple[int, int], data: bytes) -> int:
    os.write(pipe[1], data)
    os.close(pipe[1])
    return pipe[0]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"open sesame", "open sesame"),
        (b"open sesame\n", "open sesame"),
        (b"open sesame\r\n", "open sesame"),
        (b"open sesame\n\n", "open sesame\n"),
        (b" \t x ", " \t x "),
        (b"x" * 1024 + b"\n", "x" * 1024),
        ("Träume\n".encode(), "Träume"),
    ],
)
def test_a_piped_passphrase_loses_one_newline_and_nothing_else(
    pipe: tuple[int, int], data: bytes, text: str
) -> None:
    """`echo` appends one; whoever has spaces in a passphrase means them."""
    assert read_passphrase_fd(piped(pipe, data)).text == text


@pytest.mark.parametrize("data", [b"", b"\n", b"x" * 1025, b"x" * 60_000, b"\xff\xfe"])
def test_a_piped_passphrase_out_of_bounds_is_a_usage_error(
    pipe: tuple[int, int], data: bytes
) -> None:
    """Somebody piped the wrong file."""
    with pytest.raises(PassphraseInputError):
        read_passphrase_fd(piped(pipe, data))


@pytest.mark.parametrize("fd", [-1, 9_999, 2**40])
def test_a_descriptor_that_is_not_open_is_a_usage_error(fd: int) -> None:
    """A typo in a script, not a locked home."""
    with pytest.raises(PassphraseInputError, match=f"descriptor {fd} cannot be read"):
        read_passphrase_fd(fd)


def test_a_passphrase_that_arrives_in_pieces_is_read_whole() -> None:
    """A program on the other end of a pipe may write as it likes."""
    program = "import sys\nfor part in ('open', ' ', 'sesame\\n'): sys.stdout.write(part)\n"
    with subprocess.Popen([sys.executable, "-u", "-c", program], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert read_passphrase_fd(child.stdout.fileno()).text == "open sesame"


# Key files


@pytest.fixture
def key_path(tmp_path: Path) -> Path:
    return tmp_path / "covey.key"


def write_key(path: Path, content: bytes = b"k" * 32, mode: int = 0o600) -> KeyFile:
    path.write_bytes(content)
    path.chmod(mode)
    return KeyFile(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_file_gives_its_32_bytes(key_path: Path, mode: int) -> None:
    """The plain case, by path or by text."""
    unlock = write_key(key_path, mode=mode)

    assert to_vault_unlock(unlock, ID) == FileKey(Secret(b"k" * 32))
    assert to_vault_unlock(KeyFile(str(key_path)), ID) == FileKey(Secret(b"k" * 32))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o601, 0o644])
def test_a_key_file_open_to_others_is_refused_with_the_cure(key_path: Path, mode: int) -> None:
    """Who can read it can read everything; who can write it can lock the owner out."""
    unlock = write_key(key_path, mode=mode)
    with pytest.raises(KeyFileError, match="chmod 600") as refused:
        to_vault_unlock(unlock, ID)

    assert refused.value.exit_code == 5
    with pytest.raises(KeyFileError, match="chmod 600"):
        make_vault_unlock(unlock, ID, no_draw)


def test_a_key_file_of_another_user_is_refused(
    key_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner knows the key, whatever its mode says."""
    unlock = write_key(key_path)
    if os.geteuid() == 0:
        os.chown(key_path, 4242, 4242)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 4242)

    with pytest.raises(KeyFileError, match="belongs to another user"):
        to_vault_unlock(unlock, ID)


@pytest.mark.parametrize("size", [0, 31, 33, 5000])
def test_a_file_of_another_size_is_no_key_file(key_path: Path, size: int) -> None:
    """Taking the first 32 bytes of a photograph would be a key that others may have."""
    unlock = write_key(key_path, b"k" * size)

    with pytest.raises(KeyFileError, match=f"32 bytes, this one {size}"):
        to_vault_unlock(unlock, ID)


def test_a_missing_key_file_is_not_made_when_opening(key_path: Path) -> None:
    """A fresh key opens nothing, and would hide that the stick is not plugged in."""
    with pytest.raises(KeyFileError, match="no such key file"):
        to_vault_unlock(KeyFile(key_path), ID)

    assert not key_path.exists()


def test_folders_and_pipes_are_no_key_files(tmp_path: Path) -> None:
    """A pipe would be waited for, for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)

    for path in (tmp_path, pipe):
        with pytest.raises(KeyFileError, match="not a regular file"):
            to_vault_unlock(KeyFile(path), ID)


def test_a_missing_key_file_is_made_for_a_new_slot(key_path: Path) -> None:
    """`covey init --key-file` on a server that has none yet."""
    before = os.umask(0)
    try:
        made = make_vault_unlock(KeyFile(key_path), ID, draw)
    finally:
        os.umask(before)

    assert made == to_vault_unlock(KeyFile(key_path), ID) == FileKey(Secret(DRAWN))
    assert stat.S_IMODE(key_path.stat().st_mode) == 0o600


def test_an_existing_key_file_is_used_and_never_overwritten(key_path: Path) -> None:
    """It may open another home."""
    made = make_vault_unlock(write_key(key_path), ID, no_draw)

    assert made == FileKey(Secret(b"k" * 32))


def test_a_key_file_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """The folder may not exist."""
    with pytest.raises(KeyFileError, match="cannot use this key file") as refused:
        make_vault_unlock(KeyFile(tmp_path / "absent" / "covey.key"), ID, draw)

    assert str(refused.value).isprintable()


def test_half_a_key_file_is_not_left_behind(
    key_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next try would find a damaged key file where there was none."""

    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyFileError, match="No space left"):
        make_vault_unlock(KeyFile(key_path), ID, draw)

    assert not key_path.exists()


# Keyrings


class FakeBackend:
    """Remembers like a keyring. Its class says which one it is, as with the real ones."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.failure: Exception | None = None
        self.forgets = False
        self.backends: list[FakeBackend] = []

    def get_password(self, service: str, user: str) -> str | None:
        if self.failure:
            raise self.failure
        return self.kept.get((service, user))

    def set_password(self, service: str, user: str, password: str) -> None:
        if self.failure:
            raise self.failure
        if not self.forgets:
            self.kept[service, user] = password


def backend_of(name: str) -> FakeBackend:
    module, _, class_name = name.rpartition(".")
    kind = type(class_name, (FakeBackend,), {"__module__": module})
    found: FakeBackend = kind()
    return found


def use(monkeypatch: pytest.MonkeyPatch, backend: FakeBackend) -> FakeBackend:
    monkeypatch.setattr("keyring.get_keyring", lambda: backend)
    return backend


SAFE = [
    "keyring.backends.SecretService.Keyring",
    "keyring.backends.kwallet.DBusKeyring",
    "keyring.backends.kwallet.DBusKeyringKWallet4",
    "keyring.backends.macOS.Keyring",
    "keyring.backends.Windows.WinVaultKeyring",
]
UNSAFE = [
    "keyring.backends.null.Keyring",
    "keyrings.alt.file.PlaintextKeyring",
    "keyrings.alt.file.EncryptedKeyring",
    "keyrings.cryptfile.cryptfile.CryptFileKeyring",
    "somebody.elses.Keyring",
]
CHAINER = "keyring.backends.chainer.ChainerBackend"


@pytest.mark.parametrize("name", SAFE)
def test_a_safe_keyring_keeps_a_fresh_key_for_the_vault(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made once at `init`, fetched at every start."""
    backend = use(monkeypatch, backend_of(name))
    made = make_vault_unlock(Keyring(), ID, draw)

    assert made == to_vault_unlock(Keyring(), ID) == KeyringKey(Secret(DRAWN))
    assert backend.kept == {("covey", ID.hex()): DRAWN.hex()}


@pytest.mark.parametrize("name", UNSAFE)
def test_any_other_keyring_is_refused_and_told_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of them write the key to the disk in plain text; `null` keeps nothing at all."""
    backend = use(monkeypatch, backend_of(name))
    with pytest.raises(KeyringRefusedError) as refused:
        make_vault_unlock(Keyring(), ID, draw)

    assert "--passphrase-fd" in str(refused.value) and "--key-file" in str(refused.value)
    assert refused.value.exit_code == 5
    assert backend.kept == {}
    with pytest.raises(KeyringRefusedError):
        to_vault_unlock(Keyring(), ID)


def test_a_chainer_is_judged_by_what_it_picks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is only a dispatcher: its first backend is the one that would keep the key."""
    chainer = use(monkeypatch, backend_of(CHAINER))
    safe, unsafe = backend_of(SAFE[0]), backend_of("keyrings.alt.file.PlaintextKeyring")
    chainer.backends = [safe, unsafe]
    make_vault_unlock(Keyring(), ID, draw)
    assert len(safe.kept) == 1 and unsafe.kept == chainer.kept == {}

    chainer.backends = [unsafe, safe]
    with pytest.raises(KeyringRefusedError, match="PlaintextKeyring is not safe"):
        to_vault_unlock(Keyring(), ID)
    chainer.backends = []
    with pytest.raises(KeyringRefusedError, match="there is none"):
        to_vault_unlock(Keyring(), ID)


def test_a_machine_without_a_keyring_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library then gives one that always fails; its name means nothing to a person."""
    use(monkeypatch, backend_of("keyring.backends.fail.Keyring"))

    with pytest.raises(KeyringRefusedError, match="there is none") as refused:
        make_vault_unlock(Keyring(), ID, draw)
    assert refused.value.exit_code == 5 and OTHER_WAYS in str(refused.value)


@pytest.mark.parametrize("name", ["KeyringLocked", "InitError"])
def test_a_locked_keyring_is_called_locked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cure is to unlock it, and the name of an error does not say so."""
    backend = use(monkeypatch, backend_of(SAFE[0]))
    backend.failure = type(name, (Exception,), {})(DRAWN.hex())

    with pytest.raises(
        KeyringRefusedError, match=r"is locked.* unlock it and try again"
    ) as refused:
        to_vault_unlock(Keyring(), ID)
    assert DRAWN.hex() not in str(refused.value)


def test_a_way_is_tried_before_a_home_is_begun(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What cannot open a home must not leave half of one, and trying must change nothing."""
    home, backend = tmp_path / "home", use(monkeypatch, backend_of(SAFE[0]))
    for way in (
        Keyring(),
        Passphrase("x"),
        KeyFile(tmp_path / "key"),
        KeyFile(home / "key"),
    ):
        check_way(way, home)
    assert backend.kept == {} and list(tmp_path.iterdir()) == []

    backend.failure = RuntimeError()
    (tmp_path / "open").write_bytes(DRAWN)
    (tmp_path / "open").chmod(0o644)
    for way, error in (
        (Keyring(), KeyringRefusedError),
        (KeyFile(tmp_path / "none" / "key"), KeyFileError),
        (KeyFile(tmp_path / "open"), KeyFileError),
    ):
        with pytest.raises(error):
            check_way(way, home)


def test_a_failing_keyring_is_one_line_that_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Errors of D-Bus are of any kind and may quote what was passed to them."""
    backend = use(monkeypatch, backend_of(SAFE[0]))
    backend.failure = RuntimeError(f"could not store {DRAWN.hex()}")
    with pytest.raises(KeyringRefusedError, match="RuntimeError") as making:
        make_vault_unlock(Keyring(), ID, draw)
    with pytest.raises(KeyringRefusedError, match="RuntimeError") as fetching:
        to_vault_unlock(Keyring(), ID)

    assert DRAWN.hex() not in f"{making.value} {fetching.value}"


def test_a_keyring_that_does_not_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration can name a backend that is not installed."""

    def fail() -> None:
        raise ModuleNotFoundError("No module named 'keyrings'")

    monkeypatch.setattr("keyring.get_keyring", fail)

    with pytest.raises(KeyringRefusedError, match="ModuleNotFoundError"):
        to_vault_unlock(Keyring(), ID)


def test_a_keyring_that_forgets_is_found_out_before_a_vault_depends_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise the home would be lost at the next start."""
    use(monkeypatch, backend_of(SAFE[0])).forgets = True

    with pytest.raises(KeyringRefusedError, match="did not keep"):
        make_vault_unlock(Keyring(), ID, draw)


def test_a_keyring_without_this_vault_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A home that was copied to another machine."""
    use(monkeypatch, backend_of(SAFE[0]))

    with pytest.raises(KeyringEntryError, match="no key for this vault") as refused:
        to_vault_unlock(Keyring(), ID)
    assert refused.value.exit_code == 5


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, "00" * 33, "ä"])
def test_another_entry_in_the_keyring_is_not_taken_for_a_key(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People edit keyrings by hand."""
    use(monkeypatch, backend_of(SAFE[0])).kept["covey", ID.hex()] = text

    with pytest.raises(KeyringEntryError, match="something else"):
        to_vault_unlock(Keyring(), ID)


def test_a_key_that_is_kept_already_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replacing it would lock out the slot that it opens."""
    use(monkeypatch, backend_of(SAFE[0])).kept["covey", ID.hex()] = "ab" * 32

    assert make_vault_unlock(Keyring(), ID, no_draw) == KeyringKey(Secret(b"\xab" * 32))


def test_the_allowed_backends_exist_in_the_library() -> None:
    """The list is of names: a renamed class would silently refuse every desktop."""
    import importlib

    for name in SAFE[:3]:
        module, _, class_name = name.rpartition(".")
        assert hasattr(importlib.import_module(module), class_name)


# What the command line asks before it asks a person


def test_a_home_tells_how_it_can_be_unlocked(tmp_path: Path) -> None:
    """So that nobody is asked for a passphrase that does not exist."""
    header, _ = create_vault(ID, [KeyringKey(Secret(DRAWN))], lambda size: b"d" * size)
    write_vault(tmp_path / "vault.covey", header)

    assert has_keyring_slot(tmp_path)
    assert not has_passphrase_slot(tmp_path)


# The process


def test_a_hardened_process_leaves_no_core_and_refuses_debuggers() -> None:
    """A core dump holds every key in memory, and lands where others may read it."""
    program = (
        "import ctypes, resource, sys\n"
        "from covey.node.unlock import harden_process\n"
        "harden_process(); harden_process()\n"
        "dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) if sys.platform == 'linux' else 0\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), dumpable)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "(0, 0) 0\n"


def test_hardening_never_fails() -> None:
    """A system without these calls is no reason not to start."""
    program = (
        "import sys\n"
        "from covey.node.unlock import harden_process\n"
        "sys.modules['ctypes'] = sys.modules['resource'] = None\n"
        "harden_process()\n"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_importing_this_module_does_not_import_keyring() -> None:
    """It is slow, and most homes are unlocked in another way."""
    program = "import sys, covey.node.unlock; print('keyring' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "False\n"
