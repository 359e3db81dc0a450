"""Mutants of the floor `node`: writing, receiving, links, keys, and starting and ending."""

from .mutant import Mutant

NODE_MUTANTS = (
    # Writing.
    Mutant(
        "acknowledged-before-commit",
        "covey.node.committer",
        "                reserved = self._to_reserve()\n                try:\n",
        "                reserved = self._to_reserve()\n"
        "                for staged in group:\n"
        "                    if staged.operation is None and not staged.done.done():\n"
        "                        staged.done.set_result(None)\n"
        "                try:\n",
        "A caller is told that its write is durable before it is.",
    ),
    Mutant(
        "tails-stay-after-failure",
        "covey.node.committer",
        "            self.ledger.roll_back(staged.log)\n"
        "            self._ends.pop(staged.log, None)\n",
        "            pass\n",
        "After a failed commit a log goes on behind entries that are on no disk.",
        scenario="disk",
    ),
    Mutant(
        "queue-survives-failure",
        "covey.node.committer",
        "        lost = group + self._queue\n        self._queue = []\n",
        "        lost = group\n",
        "What was staged behind a failed group is still written.",
        scenario="disk",
    ),
    Mutant(
        "records-without-entries",
        "covey.node.committer",
        "        for log_number, entries in by_log.items():\n"
        "            log_rows.append_entries(conn, log_number, entries)\n",
        "        log_rows.append_entries(conn, log_number := group[0].log.number,"
        " by_log[log_number])\n",
        "Of a commit that touches several logs, only the first gets its entries.",
    ),
    Mutant(
        "no-salt",
        "covey.node.committer",
        "        salt = self.entropy.draw(SALT_BYTES)\n",
        "        salt = bytes(SALT_BYTES)\n",
        "Every entry has the same salt.",
        plan="restored_machine.json",
    ),
    Mutant(
        "clock-forgotten-at-restart",
        "covey.node.engine",
        "        self._wire(stored.hlc, stored.mesh)\n",
        "        self._wire(0, stored.mesh)\n",
        "After a restart stamps begin anew at the wall clock.",
        scenario="clocks",
    ),
    Mutant(
        "states-of-failed-writes-stay",
        "covey.node.engine",
        "            self.shelf.drop((row.scope, row.collection, row.id) for row in staged.rows)\n",
        "            self.shelf.unpin(())\n",
        "The next write of a record builds on one that failed.",
        scenario="disk",
    ),
    Mutant(
        "failed-operations-stay",
        "covey.node.engine",
        "        if operations:\n            self.mesh.take_back(operations)\n",
        "",
        "A membership operation that failed stays in the fold.",
        scenario="disk",
    ),
    Mutant(
        "heading-numbers-learned-too-early",
        "covey.node.headings",
        "            made[key] = number\n",
        "            made[key] = self._known[key] = number\n",
        "The number of a heading is believed before it is durable.",
        scenario="disk",
    ),
    Mutant(
        "first-row-counts",
        "covey.node.projection",
        "        last = {row.id: row for row in group}\n",
        "        last = {row.id: row for row in reversed(group)}\n",
        "Of several rows for one record, the oldest is kept.",
    ),
    Mutant(
        "turns-not-kept-apart",
        "covey.node.turns",
        "        return not self._alone and (not alone or self._sharing == 0)\n",
        "        return not alone or self._sharing == 0\n",
        "Local writes go on while a batch is being applied.",
    ),
    Mutant(
        "born-too-private",
        "covey.node.writer",
        "        born = next((d for d in places if d.scope.privacy == level), None)\n",
        "        born = next((d for d in places if d.scope.privacy <= level), None)\n",
        "A new record goes into the most private scope that there is.",
    ),
    Mutant(
        "month-not-looked-for",
        "covey.node.buckets",
        "    return (message.node, tags) if tags else None\n",
        "    return None\n",
        "A bucket that is not near our own month is never found out by its tag.",
        scenario="months",
    ),
    # Receiving.
    Mutant(
        "last-entry-dropped",
        "covey.node.ingest",
        "        for arrived in fresh.entries:\n",
        "        for arrived in fresh.entries[: max(len(fresh.entries) - 1, 1)]:\n",
        "The last entry of a run is counted and not kept.",
    ),
    Mutant(
        "discard-forgotten",
        "covey.node.ingest",
        "            except BaseException:\n"
        "                self.discard(prepared)\n"
        "                raise\n"
        "            finally:\n",
        "            except BaseException:\n                raise\n            finally:\n",
        "A batch that could not be stored still counts as received.",
    ),
    Mutant(
        "dependencies-not-looked-at",
        "covey.node.ingest",
        "if record_change.past or change.deps or change.flat is None or key in fresh_keys:\n",
        "if change.flat is None or key in fresh_keys:\n",
        "A change that rests on others is taken for the first one of its record.",
    ),
    Mutant(
        "known-entry-again",
        "covey.node.receiving",
        "    fresh = entries[overlap + 1 :]\n",
        "    fresh = entries[overlap:]\n",
        "Where a run overlaps with what is held, one entry is taken twice.",
    ),
    Mutant(
        "signature-not-kept",
        "covey.node.receiving",
        "    entries[-1].signature = run.signature\n",
        "",
        "A received run cannot be passed on, because its signature is gone.",
    ),
    Mutant(
        "operations-not-kept",
        "covey.node.ingest_rows",
        "            if e.operation is not None\n",
        "            if e.operation is not None and e.state != APPLIED\n",
        "Membership operations of others are gone after a restart.",
    ),
    Mutant(
        "applied-but-still-pending",
        "covey.node.ingest_rows",
        "        log_rows.set_entry_state(conn, number, changes)\n",
        "        log_rows.set_entry_state(conn, number, changes[:-1])\n",
        "The last entry of those that were applied together still counts as waiting on the disk.",
    ),
    Mutant(
        "slow-batch-overwrites",
        "covey.node.ingest_rows",
        "    known = taken(conn, [row for e in plain for row in e.rows])\n",
        "    known = set()\n",
        "A record that exists already is written as if it were new.",
    ),
    # Waiting and applying.
    Mutant(
        "pending-forgotten-at-restart",
        "covey.node.applying",
        "self._waiting.add(place, () if log.scope.tag == CONTROL_SCOPE else None)\n",
        "return log.unapplied.discard(row.seq)\n",
        "What waited when the process ended is never applied.",
        scenario="disk",
    ),
    Mutant(
        "one-crash-is-enough",
        "covey.node.applying",
        "ATTEMPTS_MAX = 6\n",
        "ATTEMPTS_MAX = 1\n",
        "An entry that was being applied when the process died is set aside for good.",
        scenario="disk",
    ),
    Mutant(
        "overtaking-within-a-log",
        "covey.node.applying",
        "            if opened.log in unread or"
        " self._waiting.stands_before(opened.log.number, records):\n",
        "            if opened.log in unread:\n",
        "An entry that can be applied at once overtakes one of its log that waits.",
        scenario="hostile-peer",
    ),
    Mutant(
        "never-next-in-line",
        "covey.node.waiting",
        "        return all(line.by_record[record][0] == seq"
        " for record in line.records.get(seq, ()))\n",
        "        return all(line.by_record[record][-1] == seq"
        " for record in line.records.get(seq, ()))\n",
        "Of the waiting entries of one record, the last is taken first.",
    ),
    Mutant(
        "order-in-a-log-not-asked",
        "covey.node.applying",
        "        if not self._waiting.is_next(place):\n            return False\n",
        "",
        "An entry is applied although an earlier one of its log waits.",
        scenario="hostile-peer",
    ),
    # Keys.
    Mutant(
        "nothing-follows-after-a-crash",
        "covey.node.engine",
        "        await self.mesh.learned(())\n        await self.ingest.resume()\n",
        "        await self.ingest.resume()\n",
        "What follows from an operation is not drawn if the process died right behind it.",
        scenario="disk",
    ),
    Mutant(
        "grants-to-everybody",
        "covey.node.granting",
        "        if may_hold(device.level, scope, privacy) and device.sig_pk not in without\n",
        "        if device.sig_pk not in without\n",
        "The key of a new scope is given to all, whatever their level.",
    ),
    Mutant(
        "shared-if-either-is-entitled",
        "covey.node.mesh_view",
        "            if all(self.registry.entitled(device, level) for device in both)\n",
        "            if any(self.registry.entitled(device, level) for device in both)\n",
        "A level is shared with a device that may not read it.",
    ),
    # Forks.
    Mutant(
        "fork-not-healed",
        "covey.node.forks",
        "        if len(self._forked) == 1:\n",
        "        if not self._forked:\n",
        "A device whose own log has forked does nothing about it.",
        plan="restored_machine.json",
    ),
    Mutant(
        "fork-goes-on-under-its-instance",
        "covey.node.forks",
        "            engine.instance = await engine.database.write(change)\n",
        "            await engine.database.write(change)\n",
        "After a healed fork the device goes on under the instance that forked.",
        plan="restored_machine.json",
    ),
    Mutant(
        "forks-behind-us-not-seen",
        "covey.node.forks",
        "            if ours is not None and ours != head.entry_id:\n",
        "            if ours is None:\n",
        "A branch that is shorter than ours is not noticed.",
        plan="restored_machine.json",
    ),
    Mutant(
        "ruling-not-followed",
        "covey.node.forks",
        "            self._overrule(log, span.begins)\n",
        "            pass\n",
        "A device keeps its branch of somebody else's log though it is shown the one that stays.",
        plan="branches_apart.json",
    ),
    Mutant(
        "what-others-wrote-goes-with-the-branch",
        "covey.node.rewriting",
        "    if not missing:\n        return None\n",
        "    if missing or not missing:\n        return None\n",
        "Edits that rest on a branch that was ruled against are lost.",
        plan="branches_apart.json",
    ),
    # Links and dialling.
    Mutant(
        "acknowledged-to-peers-before-stored",
        "covey.node.switchboard",
        "            await self._engine.ingest.store(prepared)\n",
        '            self._engine.spawn(self._engine.ingest.store(prepared), "store")\n',
        "A batch is answered before it is on the disk.",
    ),
    Mutant(
        "news-not-passed-on",
        "covey.node.switchboard",
        "                if log.head_seq > before_seq:\n",
        "                if log.head_seq < before_seq:\n",
        "What came from one peer is not announced to the others.",
    ),
    Mutant(
        "copies-push-each-other-out",
        "covey.node.switchboard",
        '            if other.remote_state.get("run") != run:\n                continue\n',
        "",
        "Two machines that run one store are taken for one machine with two links.",
    ),
    Mutant(
        "each-keeps-its-own-link",
        "covey.node.ties",
        "    return new_dialled_by_us == (our_key < their_key)\n",
        "    return new_dialled_by_us\n",
        "Of two links that were dialled at once, each side closes the other one.",
    ),
    Mutant(
        "link-leaves-tasks-behind",
        "covey.node.links",
        "            if task is not current:\n"
        "                task.cancel()\n"
        "        await asyncio.gather(*self._tasks, return_exceptions=True)\n",
        "            if task is current:\n                task.cancel()\n",
        "A link that ends does not end what it began.",
    ),
    Mutant(
        "prepared-batch-left-behind",
        "covey.node.links",
        "                if prepared is not None:\n"
        "                    self.office.discard_batch(prepared)\n"
        "                raise\n",
        "                raise\n",
        "A batch that was prepared when its link ended still counts as received.",
        scenario="disk",
    ),
    Mutant(
        "nobody-is-woken",
        "covey.node.links",
        "                self.office.wake_others(self)\n",
        "                pass\n",
        "What a peer that has gone did not bring is not asked of the others.",
    ),
    Mutant(
        "changed-message-skipped",
        "covey.node.secure_channel",
        '            await self._end(End.TAMPERED, "a message was changed on its way", ABORT)\n',
        "            return await self._next_message()\n",
        "A message that does not open is skipped, and the channel stays.",
        scenario="flaky-wifi",
    ),
    Mutant(
        "no-new-link-after-the-end",
        "covey.node.switchboard",
        "            self.traffic_ended.add(link.traffic)\n"
        "            self._engine.links_changed()\n",
        "            self.traffic_ended.add(link.traffic)\n",
        "When a link has ended, nobody dials again.",
    ),
    Mutant(
        "dials-who-is-linked",
        "covey.node.reach",
        "            if is_wanted and not engine.switchboard.links_to(device):\n",
        "            if is_wanted:\n",
        "Devices are dialled although there is a link.",
    ),
    Mutant(
        "another-device-for-ever",
        "covey.node.dialing",
        "                candidate.not_these[attempt.device] = now_ms + BACKOFF_MS_MAX\n",
        "                candidate.not_these[attempt.device] = now_ms + BACKOFF_MS_MAX * 1_000\n",
        "An address where a handshake broke is never tried again for that device.",
        scenario="flaky-wifi",
    ),
    # Whoever knocks.
    Mutant(
        "strangers-let-in",
        "covey.node.channel",
        "        if channel.purpose is Purpose.MEMBER and not knows(channel.remote_static):\n",
        "        if channel.purpose is Purpose.QR and not knows(channel.remote_static):\n",
        "Whoever can finish a handshake is taken for a member.",
        scenario="hostile-peer",
    ),
    Mutant(
        "instance-of-two-authors",
        "covey.node.ingest",
        "            if self._ledger.author_of(run.instance) not in (None, run.author):\n",
        "            if self._ledger.author_of(run.instance) is run.author:\n",
        "A member may write under the instance of another.",
        scenario="hostile-peer",
    ),
    Mutant(
        "anybody-writes-anywhere",
        "covey.node.ingest",
        "            if not self._mesh.may_write(run.author, scope, segment.heads):\n",
        "            if len(run.author) != 32:\n",
        "Entries are taken from devices that are not entitled to their scope.",
        scenario="hostile-peer",
    ),
)
