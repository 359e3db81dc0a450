"""Mutants of conflicts: devices that hold the same and show something else, or forget a dispute.

They lie in the floors `sync` and `node`. What is wrong on all devices alike cannot be seen by
comparing them, but for what people decide, which the witness knows; the rest is for the tests of
resolution and inbox.
"""

from .mutant import Mutant

CONFLICT_MUTANTS = tuple(
    Mutant(name, f"covey.{module}", old, new, about)
    for name, module, old, new, about in (
        (
            "predecessors-ignored",
            "sync.registers",
            "            self._gone.update(ended)\n",
            "            self._gone.update(ended[:1])\n",
            "A write takes the place of one of the writes that it saw, and the others come back.",
        ),
        (
            "registers-behind-the-record",
            "sync.crdt",
            "        registers.add(change)\n",
            "        registers.made[change.hash] = change\n",
            "Once a record was judged, its later changes are not looked at.",
        ),
        (
            "dispute-forgotten-on-disk",
            "sync.crdt",
            "        known.contested,\n",
            "        len(known.heads) > 1,\n",
            "A record that is read from the store is in dispute only while its heads are.",
        ),
        (
            "times-forgotten-on-disk",
            "sync.crdt",
            "        known.stamps,\n",
            "        {},\n",
            "After a restart nobody knows when the candidates were written.",
        ),
        (
            "number-for-a-time",
            "node.applying",
            "crdt.apply(before, log.instance, change, seq, opened.hlc))\n",
            "crdt.apply(before, log.instance, change, seq, seq))\n",
            "Of what came from others the number of the entry is taken for its time.",
        ),
        (
            "born-where-it-was-heard-of",
            "sync.resolution",
            "    return min(firsts)[1]\n",
            "    return firsts[0][1]\n",
            "A record was born on the device that this one heard of first.",
        ),
        (
            "rules-for-what-comes",
            "node.rejudging",
            "        if before == now or self._engine.closing:\n",
            "        if before != now or self._engine.closing:\n",
            "Another rule decides what is written later, and not what is in dispute.",
        ),
        (
            "rules-of-all-databases-only",
            "node.rejudging",
            '        names = engine.ledger.databases() if "" in databases else databases\n',
            '        names = engine.ledger.databases() if "" in databases else ()\n',
            "What is in dispute is judged anew only if a rule is for every database.",
        ),
        (
            "decision-told-and-forgotten",
            "node.inbox",
            "                await self._decide(found, choice)\n                return\n",
            "                return\n",
            "Whoever decides a conflict is told that it is done, and nothing is written.",
        ),
    )
)
