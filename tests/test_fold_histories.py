"""Suite A on random histories: the fold against Appendix A and against the rules of section 4
in words, delivery in any order, attacks.

Two thousand of each in a normal run; `make fold-histories` runs more. A failure names its seed,
and the check of that seed alone (fold_checks.py) replays it.
"""

from collections import Counter
from collections.abc import Callable

import pytest

from . import fold_checks

CHUNK = 250
HISTORIES = 2_000
ATTACKED = 2_400
"""Seeds of which four attacks each are tried; most of them find a past to start from."""


def run(check: Callable[[int], Counter[str]], first: int) -> Counter[str]:
    counts = Counter[str]()
    for seed in range(first, first + CHUNK):
        try:
            counts += check(seed)
        except AssertionError as error:
            error.add_note(f"{check.__name__}({seed})")
            raise
    return counts


@pytest.mark.parametrize("first", range(0, HISTORIES, CHUNK))
def test_fold_says_what_appendix_a_says(first: int) -> None:
    """The bit sets are for speed; the rule that was thought through and attacked is the other."""
    counts = run(fold_checks.check_rules, first)

    assert counts["histories compared with Appendix A"] > CHUNK * 0.9
    assert counts["of them with void operations"] > CHUNK * 0.1


@pytest.mark.parametrize("first", range(0, HISTORIES, CHUNK))
def test_fold_says_what_the_protocol_says(first: int) -> None:
    """Appendix A knows no promotion, no roles apart from levels and one recovery key for ever."""
    assert run(fold_checks.check_model, first).total() == CHUNK


@pytest.mark.parametrize("first", range(0, HISTORIES, CHUNK))
def test_any_order_and_any_part_gives_the_fold_of_what_arrived(first: int) -> None:
    """Devices that hold the same operations and disagree who belongs can never agree again."""
    counts = run(fold_checks.check_delivery, first)

    assert counts["of them with operations that wait"] > CHUNK * 0.3


@pytest.mark.parametrize("first", range(0, ATTACKED, CHUNK))
def test_what_a_removed_admin_dates_back_changes_nothing(first: int) -> None:
    """A thief has the keys of the device for ever, and a past in which it was an admin."""
    counts = run(fold_checks.check_attacks, first)

    attacks = sum(count for what, count in counts.items() if what.startswith("attacks"))
    assert attacks > CHUNK * 0.7
    assert counts["of which void, so entitled but for the removal"] > attacks


@pytest.mark.parametrize("first", range(0, HISTORIES, CHUNK))
def test_of_two_that_remove_each_other_the_senior_stays(first: int) -> None:
    """If both went, a thief could undo at any time what its remover did since."""
    assert run(fold_checks.check_mutual_removal, first)["mutual removals"] > CHUNK * 0.1
