"""Misbehaviours whose claim does not hold yet: known weaknesses of this version.

Each has a test that is expected to fail, so that it is noticed when the weakness is gone; then it
belongs with the others. See docs/threat-model.md, "Known weaknesses of this version".
"""

from .attacker import PRIVATE, Attacker
from .misbehaviour import Subject
from .misbehaviours_members import KEY_BYTES, entitled, grant, us

WEAKNESSES = Subject()


@WEAKNESSES.act("full")
async def newer_key_for_the_victim_alone(attacker: Attacker) -> None:
    """Grants a newer key to the victim and to nobody else, so that it writes under it."""
    me = attacker.victim.keys.sig_pk
    both = [d for d in entitled(attacker) if d.sig_pk == me or d in us(attacker)]
    forger = attacker.control_log()
    name = (attacker.scope().tag, attacker.database, PRIVATE, 2)
    grant(attacker, forger, name, attacker.entropy.draw(KEY_BYTES), both)
    await attacker.deliver(forger.frame())


@WEAKNESSES.act("full")
async def key_of_another_scope(attacker: Attacker) -> None:
    """Passes the private key off as that of the family, so that others give it away."""
    family = PRIVATE + 1
    forger = attacker.control_log()
    name = (attacker.tag(attacker.database, family), attacker.database, family, 2)
    grant(attacker, forger, name, attacker.log().scope_key(), us(attacker))
    await attacker.deliver(forger.frame())
