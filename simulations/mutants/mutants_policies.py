"""Mutants of selective sync: what policies let travel, what is asked for, and who may say so.

They lie in the floors `sync` and `node`. Those of time buckets are with the scenario `months`.
"""

from .mutant import Mutant

_BARRIER = "    elif not (turn.telling.echoes and _is_of_other_terms(turn, message)):\n"

_PLANS = {"profile-forgotten-until-somebody-speaks": "profile_alone.json"}
"""In the scenario somebody says something of policies soon."""

POLICY_MUTANTS = tuple(
    Mutant(
        *(name, f"covey.{module}", old, new, about),
        scenario="policies",
        plan=_PLANS.get(name, ""),
    )
    for name, module, old, new, about in (
        # The rule.
        (
            "terms-ignore-a-direction",
            "sync.policy",
            '    if is_own and direction == "receive":\n',
            '    if is_own and mode == "receive":\n',
            "What a device that only receives writes goes to others.",
        ),
        (
            "consent-of-one-side",
            "sync.policy",
            'everything it knows is in its arguments.\n    """\n    for party in (giver, taker):\n',
            'everything it knows is in its arguments.\n    """\n    for party in (taker,):\n',
            "Membership, level and consent of the device that sends are not looked at.",
        ),
        (
            "on-demand-comes-by-itself",
            "sync.policy",
            '    if not is_own and mode == "on-demand":\n',
            '    if is_own and mode == "on-demand":\n',
            "A device that takes a database on demand takes it like any other, and gives nothing.",
        ),
        (
            "the-device-goes-before-the-database",
            "sync.policy",
            '    names = (device, database), (b"", database), (device, ""), (b"", "")\n',
            '    names = (device, database), (device, ""), (b"", database), (b"", "")\n',
            "A word about a device counts more than one about a database.",
        ),
        (
            "profile-forgotten-until-somebody-speaks",
            "node.mesh_view",
            '            (b"", name) in COMPANION for name in self._ledger.databases()\n',
            '            (name, b"") in COMPANION for name in self._ledger.databases()\n',
            "Where nobody said anything, what the profile keeps at home goes everywhere.",
        ),
        # The session.
        (
            "digest-of-all-authors",
            "sync.vectors",
            "        if terms.only is not None or terms.without:\n"
            "            return self._limited(known, terms)[1]\n",
            "",
            "The digest of a scope covers logs that are not shared; its vector does not.",
        ),
        (
            "pushes-of-all-authors",
            "sync.session",
            "    if not turn.shares(event.scope, event.author):\n"
            "        return\n    turn.unsettle(moved=True)\n",
            "    if not turn.is_shared(event.scope):\n"
            "        return\n    turn.unsettle(moved=True)\n",
            "New entries are pushed if anything of their scope is shared.",
        ),
        (
            "batches-of-all-authors-are-taken",
            "sync.session_receiving",
            "    if not all(turn.shares(scope, run.author) for run in batch.runs):\n",
            "    if not turn.is_shared(scope):\n",
            "What comes is stored if anything of its scope is shared.",
        ),
        (
            "wants-served-that-are-not-shared-any-more",
            "sync.session_state",
            "        return head if head is not None and self.shares(scope, head.author) else None",
            "        return head",
            "What was wanted is served by scope, whoever wrote it.",
        ),
        (
            "read-under-older-terms",
            "sync.session_sending",
            "event.runs and all(turn.shares(event.scope, run.author) for run in event.runs):",
            "event.runs:",
            "What was read for a peer is sent although it is not shared any more.",
        ),
        (
            "links-do-not-hear-of-policies",
            "node.switchboard",
            "                link.deliver(SharedScopesChanged(self.sharing_on(link)))\n",
            "                link.deliver(SharedScopesChanged(link.state.sharing))\n",
            "An open link goes on under the terms under which it was opened.",
        ),
        # On demand.
        (
            "answer-ignores-privacy",
            "node.demands",
            "Item(log.scope.privacy, author) for author",
            "Item(3, author) for author",
            "Whoever asks is answered, however private the record is.",
        ),
        (
            "answer-looks-at-the-last-author",
            "node.demands",
            "        return found | {log.author}\n",
            "        return {log.author}\n",
            "What an answer tells is taken to be by whoever wrote to the record last.",
        ),
        (
            "answer-ignores-direction",
            "sync.policy",
            '    if item.author == giver.id and giver.policy.direction == "receive":\n',
            '    if item.author == giver.id and giver.policy.mode == "receive":\n',
            "What a device that only receives has written is told to whoever asks.",
        ),
        (
            "fetch-never-ends-its-ask",
            "node.demands",
            "                del self._fetching[database]\n            self._tell()\n",
            "                del self._fetching[database]\n",
            "Nobody is told that a fetch is over.",
        ),
        (
            "ask-without-an-echo-barrier",
            "sync.session",
            _BARRIER,
            "    else:\n",
            "What was said before a peer had heard an ask is compared with what came after it.",
        ),
        # Who may say so, and which word is the last.
        (
            "policy-of-a-member-counts-for-all",
            "sync.entitlement",
            '        if author.role != "admin" and not may_itself:\n'
            "            return Ignored.NOT_ENTITLED\n"
            "        if device and",
            '        if author.role not in ("admin", "member") and not may_itself:\n'
            "            return Ignored.NOT_ENTITLED\n"
            "        if device and",
            "Any member sets policies of every device.",
        ),
        (
            "consent-given-by-the-device-itself",
            "sync.policy",
            "    return not device or key in ADMIN_KEYS or key.startswith((TAG, SUMMARY))",
            "    return not device or key.startswith((TAG, SUMMARY))",
            "A device takes back the withdrawal of its own consent.",
        ),
        (
            "last-word-by-arrival",
            "sync.membership",
            "        insort(self._ordered, (node.depth, id, node))\n",
            "        self._ordered.append((node.depth, id, node))\n",
            "Of several words that which a device heard last counts for it.",
        ),
        (
            "words-are-not-taken-back",
            "sync.folding",
            "                settings.pop(key, None)\n",
            "                settings.get(key, None)\n",
            "What was said of a key stays after it was taken back.",
        ),
    )
)
