"""Mutants of what waits. They have to show in `roaming`, or with levels in `policies`."""

from .mutant import Mutant

TIMING_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "sends-what-is-held",
        "covey.sync.session_state",
        "        return self.may_send(scope) and not self.is_held(scope)\n",
        "        return self.may_send(scope)\n",
        "A held database is wanted and served like any other.",
        scenario="roaming",
    ),
    Mutant(
        "pushes-what-is-held",
        "covey.sync.session_sending",
        "    if turn.is_held(scope):\n        return  # It is announced when it is released.\n",
        "",
        "What is written while it is held is pushed or announced.",
        scenario="roaming",
    ),
    Mutant(
        "deaf-to-holds",
        "covey.sync.session_holding",
        "        turn.timing = turn.timing._replace(theirs=now)\n",
        "",
        "What the other side holds is sent to it all the same.",
        scenario="roaming",
    ),
    Mutant(
        "never-due-again",
        "covey.node.holding",
        "    return last_ms + policy.interval_minutes * MINUTE_MS\n",
        "    return last_ms + policy.interval_minutes * MINUTE_MS * 1_000\n",
        "A periodic database waits for a thousand intervals.",
        scenario="roaming",
    ),
    Mutant(
        "content-with-a-guest",
        "covey.sync.sharing",
        "        return other.privacies <= self.privacies and",
        "        return",
        "A periodic exchange is over when a guest has the same, however little it may have.",
        scenario="policies",
    ),
)
