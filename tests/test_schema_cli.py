"""`covey schema` on a real home: what is installed holds for every command, and can be undone."""

from pathlib import Path

from .processes import Device

FIRST = """\
name = "memory"
version = 1
[collections.facts.fields]
body = { type = "string", max_length = 20 }
"""
SECOND = """\
name = "memory"
version = 2
[collections.facts.fields]
text = { type = "string", required = true, max_length = 20 }
[[migrations]]
number = 2
collection = "facts"
changes = [{ rename = "body", to = "text" }]
"""


def test_a_file_is_installed_migrated_up_and_down_and_removed(tmp_path: Path) -> None:
    """With a backup of the home as it was, from which it can be restored."""
    home = Device(tmp_path, "laptop")
    home.init()
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(FIRST)
    second.write_text(SECOND)

    home.run("schema", "install", str(first))
    home.run("put", "memory", "facts", "tea", '{"body": "likes tea"}')
    refused = home.attempt("put", "memory", "facts", '{"body": "something far too long"}')
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "body: 22 characters, 20 allowed" in refused.stderr and "far" not in refused.stderr

    told = home.attempt("schema", "install", str(second))
    assert "step 2: 1 records changed" in told.stdout and "backup" in told.stderr
    assert home.run("get", "memory", "facts", "tea") == {"text": "likes tea"}
    backup = tmp_path / "laptop.before-memory-1-to-2.backup"
    assert backup.stat().st_size > 0

    down = home.run("schema", "migrate", "memory", "--to", "1", "--no-backup")
    assert (down["steps"], down["backup"]) == ([{"step": 2, "changed": 1}], None)
    assert home.run("get", "memory", "facts", "tea") == {"body": "likes tea"}
    assert "records at 1, to be migrated" in home.attempt("schema").stdout
    assert home.run("schema", "check", "memory")["faults"] == [
        {"collection": "facts", "id": "tea", "field": "text", "why": "is required"}
    ]
    assert "is required" in home.attempt("schema", "check", "memory").stdout

    assert home.run("schema", "show", "memory")["definition"]["version"] == 2
    assert home.attempt("schema", "show", "memory").returncode == 0
    history = home.run("schema", "history", "memory")["history"]
    assert [row["action"] for row in history] == ["down", "up", "installed", "installed"]
    assert "step 2" in home.attempt("schema", "history").stdout
    assert home.run("schema", "remove", "memory")["deleted"] == 0
    assert home.run("schema", "list") == {"schemas": []}
    assert home.run("get", "memory", "facts", "tea") == {"body": "likes tea"}
    log = home.attempt("log").stdout
    assert "Schema memory (version 2) was removed from this device" in log


def test_a_file_that_is_no_schema_is_told_with_its_line(tmp_path: Path) -> None:
    """And nothing is installed; neither is a file that is something else."""
    home = Device(tmp_path, "laptop")
    home.init()
    bad = tmp_path / "bad.toml"
    bad.write_text(FIRST.replace("max_length", "maxLength"))
    binary = tmp_path / "picture.toml"
    binary.write_bytes(b"\x89PNG\xff\x00")

    wrong = home.attempt("schema", "install", str(bad))
    assert wrong.returncode == 2
    assert "bad.toml, line 4: " in wrong.stderr and "did you mean max_length?" in wrong.stderr
    for arguments in [
        ("install", str(binary)),
        ("install", str(tmp_path / "none.toml")),
        ("install", str(bad), "--backup", "x", "--no-backup"),
        ("migrate", "memory"),
        ("remove", "nobody"),
    ]:
        failed = home.attempt("schema", *arguments)
        assert failed.returncode in (1, 2), arguments
        assert failed.stderr.strip() and "Traceback" not in failed.stderr
    assert home.run("schema") == {"schemas": []}
