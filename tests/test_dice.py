"""Dice: every number is drawn by name, so that taking one event away changes no other."""

from hypothesis import given
from hypothesis import strategies as st

from covey.simulations.dice import Dice
from covey.simulations.sim_entropy import SimEntropy

names = st.lists(st.integers(0, 99) | st.sampled_from(["latency", "laptop", "phone"]), max_size=4)
seeds = st.integers(0, 2**64) | st.text(max_size=8)


@given(seeds, names)
def test_a_seed_and_a_name_give_one_number(seed: int | str, name: list[int | str]) -> None:
    """A failure is replayed in another process, on another day."""
    assert Dice(seed).bits(*name) == Dice(seed).bits(*name)


def test_the_numbers_are_the_same_in_every_version() -> None:
    """The seeds in old reports are worth something only as long as this holds."""
    dice = Dice(7)

    assert dice.bits("latency", "laptop", 17) == 2_091_652_406_217_536_477
    assert dice.below(100, "latency", "laptop", 17) == 77
    assert Dice("template/3").bits() == 16_488_975_777_789_972_689


@given(seeds, st.lists(names, max_size=10), names)
def test_a_number_does_not_depend_on_what_was_drawn_before(
    seed: int | str, before: list[list[int | str]], name: list[int | str]
) -> None:
    """This is what lets a plan be shrunk: what is left runs as it did."""
    dice = Dice(seed)
    for other in before:
        dice.bits(*other)
        dice.stream(*other).random()

    assert dice.bits(*name) == Dice(seed).bits(*name)


def test_every_part_of_a_name_counts() -> None:
    """Two messages that share their luck would hide how they race."""
    parts = [("a", "b", 1), ("b", "a", 1), ("a", "b", 2), ("a", "b"), ("a", "b", 1, 0), ("a", "b1")]
    dice = Dice(1)

    assert len({dice.bits(*name) for name in parts}) == len(parts)


def test_seeds_differ_in_everything() -> None:
    """Neighbouring seeds must not be neighbouring runs."""
    drawn = {Dice(seed).bits("x") for seed in range(10_000)}
    shared_bits = [(Dice(n).bits("x") ^ Dice(n + 1).bits("x")).bit_count() for n in range(1_000)]

    assert len(drawn) == 10_000
    assert 30 < sum(shared_bits) / len(shared_bits) < 34


@given(seeds, names)
def test_a_fraction_is_at_least_zero_and_less_than_one(
    seed: int | str, name: list[int | str]
) -> None:
    """A share of exactly one is out of many tables."""
    assert 0 <= Dice(seed).fraction(*name) < 1


@given(seeds, st.integers(1, 1_000), names)
def test_a_bound_is_never_reached(seed: int | str, bound: int, name: list[int | str]) -> None:
    """It is used as an index."""
    assert 0 <= Dice(seed).below(bound, *name) < bound


def test_fractions_are_spread_evenly() -> None:
    """A loss of one in a hundred must be one in a hundred."""
    dice = Dice(3)
    tenths = [0] * 10
    for n in range(20_000):
        tenths[int(dice.fraction("x", n) * 10)] += 1

    assert all(1_800 < count < 2_200 for count in tenths)


def test_every_number_below_a_bound_comes_up() -> None:
    """A choice that is never taken tests nothing."""
    dice = Dice(4)

    assert {dice.below(7, "x", n) for n in range(200)} == set(range(7))


def test_a_stream_is_a_generator_of_its_own() -> None:
    """Whoever draws more from one stream changes no other."""
    dice = Dice(5)
    greedy, modest = dice.stream("one"), dice.stream("two")
    for _ in range(1_000):
        greedy.random()

    assert modest.random() == Dice(5).stream("two").random()
    assert dice.stream("one").random() != dice.stream("two").random()


def test_entropy_is_one_stream_for_each_start_of_each_device() -> None:
    """A salt that came again after a restart would look like a broken cipher."""
    drawn = {
        SimEntropy(Dice(seed), device, start).draw(16)
        for seed in (1, 2)
        for device in ("laptop", "phone", "laptop-copy")
        for start in (1, 2)
    }
    again = SimEntropy(Dice(1), "laptop", 1)

    assert len(drawn) == 12
    assert again.draw(16) in drawn
    assert len(again.draw(5)) == 5
    assert 0 <= again.uniform() < 1
