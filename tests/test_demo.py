"""The demonstration does what it says: two processes pair, part, meet, and leak nothing."""

import json

import pytest

from covey.cli.demo import run_demo


@pytest.mark.timeout(240)
def test_the_demo_ends_with_one_record_and_no_plaintext(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is the first thing that anybody runs; about 15 s, most of it Argon2id."""
    run_demo(as_json=True)
    facts = json.loads(capsys.readouterr().out)

    assert facts["plaintext_found"] == 0
    assert facts["record"]["tea"] == "kukicha"
    assert facts["record"]["cups_today"] == 3
    assert facts["record"]["tin"] in ("full", "half empty")
    assert facts["entries"] > 0 and facts["bytes_to_phone"] > 0
