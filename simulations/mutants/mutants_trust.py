"""Mutants of trust: removals, levels, new keys, and what becomes of what a removed device wrote.

They lie in the floors `sync` and `node`, for a removal is a matter of both.
"""

from .mutant import Mutant

TRUST_MUTANTS = (
    # New keys.
    Mutant(
        "removed-device-gets-the-new-key",
        "covey.node.trust",
        '                    yield "revoke", {"device": device, "cut": cut}\n'
        "                    if not leaves:\n"
        "                        yield from mesh.new_epochs([CONTROL_SCOPE], gone)\n",
        "                    if not leaves:\n"
        "                        yield from mesh.new_epochs([CONTROL_SCOPE], ())\n"
        '                    yield "revoke", {"device": device, "cut": cut}\n',
        "The control key that a removal asks for is sealed to the device that is removed.",
        scenario="trust",
    ),
    Mutant(
        "old-key-after-a-removal",
        "covey.sync.registry",
        "        return device is not None and device.active and may_hold("
        "device.level, scope, privacy)\n",
        "        return device is not None and may_hold(device.level, scope, privacy)\n",
        "A writer goes on under a key that a removed device holds.",
        scenario="trust",
    ),
    Mutant(
        "old-key-after-a-limitation",
        "covey.sync.registry",
        "        return device is not None and device.active and may_hold("
        "device.level, scope, privacy)\n",
        "        return device is not None and device.active\n",
        "A lower level of a device asks for no new keys.",
        scenario="trust",
    ),
    Mutant(
        "control-grant-under-the-newest-key",
        "covey.node.rotation",
        "    return next((name for name in newest if wanted <= held_by[name]), newest[0])\n",
        "    return newest[0]\n",
        "A control key is granted under one that those lack who are to read the grant.",
        scenario="trust",
    ),
    Mutant(
        "waiting-control-grants-not-read",
        "covey.node.mesh",
        "(*self.registry.grants, *self._membership.parked_control_grants())\n",
        "self.registry.grants\n",
        "A control key is not taken while its grant waits for what is sealed under that key.",
        scenario="trust",
    ),
    # Company.
    Mutant(
        "links-to-removed-devices-stay",
        "covey.node.switchboard",
        "            if device is None or not device.active:\n"
        "                link.deliver(CloseRequested(Reason.REMOVED))\n",
        "            if device is None:\n"
        "                link.deliver(CloseRequested(Reason.REMOVED))\n",
        "Nobody hangs up on a device that was removed.",
        scenario="trust",
    ),
    Mutant(
        "removed-devices-are-dialled",
        "covey.node.reach",
        "        return [device.sig_pk for device in registry.active() if device.sig_pk != us]\n",
        "        return [device for device in registry.devices if device != us]\n",
        "Devices that were removed are dialled like all others.",
        scenario="trust",
    ),
    # Which entries count.
    Mutant(
        "cut-without-an-end",
        "covey.node.mesh_view",
        "        return cut is not None and seq <= cut[0]\n",
        "        return cut is not None\n",
        "Of a log that a removal had seen, what came later counts as well.",
        scenario="trust",
    ),
    Mutant(
        "last-cut-to-be-folded",
        "covey.sync.folding",
        '        cut[at] = max(cut.get(at, (0, b"")), (seq, entry))\n',
        "        cut[at] = (seq, entry)\n",
        "Of several cuts of one log, the last counts and not the longest.",
        scenario="trust",
    ),
    Mutant(
        "nothing-was-seen",
        "covey.node.trust",
        "        return parts or [[]]\n",
        "        return [[]]\n",
        "A removal or an adoption has no cut, whatever was here.",
        scenario="trust",
    ),
    Mutant(
        "removed-devices-vouch-for-themselves",
        "covey.node.vouching",
        "        line = [p for e, past in self.rests_on.items() if e not in self.excluded"
        " for p in past]\n",
        "        line = [p for past in self.rests_on.values() for p in past]\n",
        "What a removed device wrote counts if it wrote more that rests on it.",
        scenario="trust",
    ),
    # The shelf.
    Mutant(
        "first-late-entry-is-applied",
        "covey.node.applying",
        "            if self._mesh.counts(log, seq, opened.heading[2])"
        " or opened.state is QUARANTINED:\n",
        "            if not log.shelved or opened.state is QUARANTINED:\n",
        "What arrives of a removed device counts unless it has something on the shelf already.",
        scenario="trust",
    ),
    Mutant(
        "built-on-and-still-on-the-shelf",
        "covey.node.applying",
        "            self._claims += 1\n            self.take_off_shelf(log, seq)\n",
        "            return False\n",
        "An entry on which another rests that counts is not taken off the shelf.",
        scenario="trust",
    ),
    Mutant(
        "shelf-forgotten-at-restart",
        "covey.node.applying",
        "                    elif state is SHELVED:\n",
        "                    elif state is SHELVED and row.attempts:\n",
        "After a restart nobody knows of what is on the shelf.",
        scenario="trust",
    ),
    Mutant(
        "applied-entries-not-judged-again",
        "covey.node.vouching",
        "            if of_scope:\n",
        "            if any(log.shelved for log in of_scope.values()):\n",
        "What was applied before a removal was heard of stays, though the removal had not seen it.",
        scenario="trust",
    ),
    Mutant(
        "adoption-not-noticed",
        "covey.node.mesh_view",
        "        return self._membership.admission(log.author) + reach\n",
        "        return self._membership.admission(log.author)\n",
        "Entries are not judged again when a cut grows.",
        scenario="trust",
    ),
    Mutant(
        "rebuilt-with-what-does-not-count",
        "covey.node.vouching",
        "            if row.state != APPLIED or place in out:\n",
        "            if row.state != APPLIED:\n",
        "What went on the shelf is still in the records that it had changed.",
        scenario="trust",
    ),
    # Who may decide.
    Mutant(
        "juniors-first",
        "covey.sync.removals",
        "            found.sort(key=lambda one:"
        " (ranks[one.node.author], one.node.depth, one.node.id))\n",
        "            found.sort(key=lambda one:"
        " (ranks[one.node.author], one.node.depth, one.node.id), reverse=True)\n",
        "Of two who remove each other, the junior one stays.",
        scenario="trust",
    ),
    Mutant(
        "anybody-adopts",
        "covey.sync.entitlement",
        '        if author.role != "admin":\n'
        "            return Ignored.NOT_ENTITLED\n"
        "        return self._about_a_device(node, author)\n",
        "        self._authority.record(node)\n        return None\n",
        "Every member may let count what a removed device wrote.",
        scenario="hostile-peer",
    ),
    Mutant(
        "removals-not-known-to-the-past",
        "covey.sync.authority",
        "        return self.standing_in(self.verdict(past & self.bits), key)\n",
        "        verdict = self.verdict(past & self.bits)\n"
        "        return self.standing_in(Verdict(verdict.live, 0), key)\n",
        "What a removed device writes under heads that tell of its removal is taken from it.",
        scenario="hostile-peer",
    ),
)
