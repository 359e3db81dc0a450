"""Mutants of the floor `sync`: digests, sessions, the fold of the membership, records."""

from .mutant import Mutant

SYNC_MUTANTS = (
    # Digests and vectors.
    Mutant(
        "stale-digest",
        "covey.sync.vectors",
        "        known.digest = None\n",
        "",
        "The digest of a scope is not forgotten when one of its heads moves.",
    ),
    Mutant(
        "scope-left-out-of-digests",
        "covey.sync.vectors",
        "            for scope in self.scopes_of(database, sharing)\n",
        "            for scope in self.scopes_of(database, sharing)[:1]\n",
        "Only the first scope of a database is in its digest.",
    ),
    Mutant(
        "floors-of-the-other-not-taken-up",
        "covey.sync.session_comparing",
        "        turn.sharing = turn.sharing.with_floors(turn.floors)\n",
        "",
        "A device does not leave out the months that the other one does not take.",
        scenario="months",
    ),
    Mutant(
        "control-left-out-of-digests",
        "covey.sync.vectors",
        "        return self.scope_digest(CONTROL_SCOPE)\n",
        "        return vector_digest({})\n",
        "The membership log is in no digest.",
    ),
    Mutant(
        "heads-unsorted-in-digests",
        "covey.sync.digests",
        "    rows = sorted(\n"
        '        [instance + head[1].to_bytes(8, "big") + head[2]'
        " for instance, head in heads.items()]\n"
        "    )\n",
        '    rows = [instance + head[1].to_bytes(8, "big") + head[2]'
        " for instance, head in heads.items()]\n",
        "A digest depends on the order in which logs became known.",
    ),
    # Sessions.
    Mutant(
        "proof-of-the-membership-alone",
        "covey.sync.session_comparing",
        "        if turn.ours.root(turn.sharing) == message.root:\n",
        "        if turn.ours.control_digest() == message.control:\n",
        "In sync is said of equal members, whatever the roots are.",
    ),
    Mutant(
        "digests-told-once",
        "covey.sync.session_comparing",
        "    turn.telling = turn.telling._replace(unsettled=False)\n    turn.tell()\n",
        "    turn.telling = turn.telling._replace(unsettled=False)\n"
        "    if turn.telling.told is None:\n        turn.tell()\n",
        "Digests are told in the greeting and never again.",
    ),
    Mutant(
        "credit-not-given-back",
        "covey.sync.session_receiving",
        "    turn.say(Ack(scope, tuple(acked[:ACK_ROWS_MAX]), event.frame_bytes))\n",
        "    turn.say(Ack(scope, tuple(acked[:ACK_ROWS_MAX]), 0))\n",
        "An acknowledgement gives no credit back.",
    ),
    Mutant(
        "announcements-pile-up",
        "covey.sync.session_sending",
        "    turn.telling = turn.telling._replace(announce=frozenset())\n",
        "",
        "Heads that were announced stay in the list of those to announce.",
    ),
    Mutant(
        "claims-outlive-their-session",
        "covey.sync.fetch",
        "        for log in logs:\n            del self._claims[log]\n",
        "",
        "What was wanted from a peer that has gone stays reserved for it.",
    ),
    Mutant(
        "arriving-outlives-its-session",
        "covey.sync.fetch",
        "            left = [way for way in self._arriving.pop(log) if way.peer != peer]\n",
        "            left = self._arriving.pop(log)\n",
        "What a peer that has gone was sending counts as arriving for ever.",
    ),
    Mutant(
        "patience-without-end",
        "covey.sync.session",
        "    if turn.ignored > IGNORED_MAX:\n",
        "    if turn.ignored < 0:\n",
        "A peer may go on for ever about what is not shared.",
        scenario="hostile-peer",
    ),
    Mutant(
        "claim-outlives-its-end",
        "covey.sync.fetch",
        "        if up_to >= claim.last:\n            del",
        "        if up_to > claim.last:\n            del",
        "A range that has arrived to its last entry stays reserved.",
    ),
    # The fold of the membership.
    Mutant(
        "membership-heads-in-order-of-arrival",
        "covey.sync.membership",
        "        return tuple(sorted(node.id for node in heads[:PARENTS_MAX]))\n",
        "        return tuple(node.id for node in heads[:PARENTS_MAX])\n",
        "The heads of the membership stand in the order in which they came.",
    ),
    Mutant(
        "last-name-to-arrive",
        "covey.sync.membership",
        "        insort(self._ordered, (node.depth, id, node))\n",
        "        self._ordered.append((node.depth, id, node))\n",
        "Of two names at once, the one that arrived last is taken.",
        scenario="hostile-peer",
    ),
    Mutant(
        "anybody-renames-anybody",
        "covey.sync.entitlement",
        '        if author.role != "admin" and device != node.author:\n',
        '        if author.role != "admin" and author.level != "full":\n',
        "Every member of level full may rename every other.",
        scenario="hostile-peer",
    ),
    Mutant(
        "private-keys-for-limited-devices",
        "covey.sync.registry",
        '    "limited": frozenset((2, 3)),\n',
        '    "limited": frozenset((1, 2, 3)),\n',
        "A device of level limited is given the keys of level private.",
    ),
    # Records.
    Mutant(
        "absence-is-deletion",
        "covey.sync.editing",
        "    if replace:\n",
        "    if replace or not rewrite:\n",
        "A field that a put does not name is deleted.",
    ),
    Mutant(
        "deleted-fields-come-back",
        "covey.sync.crdt",
        "        removed = sorted(old) if state.deleted else []\n",
        "        removed = [DELETED_KEY] if state.deleted else []\n",
        "A record that is written again after its deletion has its old fields again.",
    ),
    Mutant(
        "any-deletion-wins",
        "covey.sync.record_state",
        "        return all(head.deletes for head in self.heads)\n",
        "        return any(head.deletes for head in self.heads)\n",
        "A deletion also takes what was written at the same time.",
    ),
    Mutant(
        "heads-of-one-branch",
        "covey.sync.crdt",
        "    kept = [head for head in state.heads if head.hash not in change.deps]\n",
        "    kept = [head for head in state.heads if not change.deps]\n",
        "A change that follows one head is thought to follow all of them.",
    ),
)
