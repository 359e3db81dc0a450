"""`covey settings` on a real home: what is said stays, and is answered in words and as JSON."""

from pathlib import Path

from .processes import Device


def test_settings_are_shown_changed_and_kept(tmp_path: Path) -> None:
    """A person says what the system cannot, once, and every later command knows it."""
    home = Device(tmp_path, "laptop")
    home.init()

    before = home.run("settings")
    after = home.run("settings", "set", "metered=yes", "bandwidth=200000")
    shown = home.run("settings", "show")
    told = home.attempt("settings").stdout

    assert before["settings"] == {
        "metered": "auto",
        "mains": "auto",
        "phone": "auto",
        "phone_minutes": 15,
        "bandwidth": 0,
        "cache_mib": 256,
    }
    assert (after["settings"]["metered"], after["settings"]["bandwidth"]) == ("yes", 200_000)
    assert after["now"]["metered"] is True
    assert shown == after
    assert "the network costs by volume" in told and "\x1b" not in told


def test_a_setting_that_cannot_be_is_wrong_usage(tmp_path: Path) -> None:
    """One line says what would have been right; nothing is changed."""
    home = Device(tmp_path, "laptop")
    home.init()

    for said in ("metered=perhaps", "colour=red", "metered"):
        failed = home.attempt("settings", "set", said)

        assert failed.returncode == 2
        assert failed.stderr.count("covey:") <= 1 and "Traceback" not in failed.stderr
    assert home.run("settings")["settings"]["metered"] == "auto"
