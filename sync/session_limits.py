"""Limits of the session and of the membership log, by name and with their units.

What a peer sends beyond one of these closes the session with a reason, or is ignored and counted
where an honest peer of another version or with other knowledge might send it. None of them is
read from a configuration. What bounds single values and change sets stands in limits.py.

Spec: docs/protocol.md, sections 4, 5, 7 and 8; docs/threat-model.md, "Limits".
"""

PROTOCOL_VERSION = 1

ID_BYTES = 32
TAG_BYTES = 16
CONTROL_SCOPE = bytes(TAG_BYTES)
ZERO_ID = bytes(ID_BYTES)

# SQLite integers are signed; no log ever comes near.
SEQ_MAX = 2**63 - 1

# Frames (section 5) and batches (section 8).
FRAME_BYTES_MAX = 1_048_576
BATCH_BYTES_TARGET = 262_144
# A batch that is acknowledged within this was small for the link, and after that large for it.
BATCH_FAST_MS = 500
BATCH_SLOW_MS = 2_000
# Slowness makes batches no smaller; only a link that breaks does, down to one entry.
BATCH_BYTES_SLOW_MIN = 16_384
RUNS_PER_BATCH_MAX = 256
ENTRIES_PER_BATCH_MAX = 4_096
HEADS_PER_SEGMENT_MAX = 64

# Rows of one message. A vector is the only large one: 8,192 rows take 0.8 MiB.
VECTOR_ROWS_MAX = 8_192
VECTOR_TOKENS_MAX = 65_536
DIGEST_ROWS_MAX = 1_024
WANT_ROWS_MAX = 512
ACK_ROWS_MAX = 256
HOLD_ROWS_MAX = 1_024
FEATURES_MAX = 32
FEATURE_BYTES_MAX = 32
TEXT_BYTES_MAX = 256
DEVICE_STATE_BYTES_MAX = 4_096
# Databases of which a device takes only what is new; of more it takes everything.
FLOORS_MAX = 128

# Flow control: what we let a peer send ahead of our disk, and believe it lets us send. One batch of
# the largest size, because that is what a crash makes a peer send again.
CREDIT_BYTES = 1_048_576
CREDIT_BYTES_MAX = 67_108_864
# Below this a read would make batches too small to be worth a signature.
READ_CREDIT_BYTES_MIN = 65_536
# Credit that what is not urgent leaves to what is.
URGENT_CREDIT_BYTES = 65_536

# What we want from one peer at a time, and what it may want from us.
ENTRIES_IN_FLIGHT_MAX = 16_384
WANTS_QUEUED_MAX = 4_096

# Comparisons that we open or join after each change of what we hold: enough for honest races,
# and an end for a peer whose digests never match what it says it holds.
ROUNDS_PER_CHANGE_MAX = 4
# Frames of a session about scopes that we do not share, before we lose patience.
IGNORED_MAX = 10_000
# Control digests of either side that are remembered until the first match.
CONTROLS_TOLD_MAX = 256

# What is asked for on demand: databases at once, one record, questions that wait for an answer.
ASKED_MAX = 256
DEMAND_TOKENS_MAX = 512
ANSWER_BYTES_MAX = 1_000_000
NUMBER_MAX = 2**32 - 1
QUESTIONS_OPEN_MAX = 16

GREETING_MS = 10_000
QUIET_MS = 20
ANNOUNCE_MS = 20
STALL_MS = 60_000

# The membership log.
DEVICES_MAX = 64
PARENTS_MAX = 64
NAME_CHARACTERS_MAX = 40
WORD_BYTES_MAX = 32
DATABASE_BYTES_MAX = 255
EPOCH_MAX = 2**32 - 1
CERTIFICATE_BYTES = 188
SEALED_BYTES = 164
# Where one log of a device that is removed ends, for each of its logs.
CUT_ROWS_MAX = 1_000
CAPABILITIES_MAX = 16
SETTINGS_MAX = 64
SETTING_BYTES_MAX = 64
# The name of a rule names a collection and a field.
SETTING_KEY_BYTES_MAX = 336
REQUESTS_PER_DEVICE_MAX = 16
# A cut of 1,000 rows is the largest operation: five tokens and some 80 bytes a row.
OPERATION_BYTES_MAX = 131_072
OPERATION_TOKENS_MAX = 8_192
# Folds of the past that are kept: one for each set of heads that entries refer to.
FOLDS_KEPT_MAX = 256

# Blobs (section 14). What is in flight from one peer, and what it may want from us at a time.
BLOB_CHUNKS_IN_FLIGHT_MAX = 4
# From all peers together: each is a quarter of a MiB of memory until the disk has it.
BLOB_CHUNKS_COMING_MAX = 16
BLOB_IDS_PER_ASK_MAX = 64
BLOB_BITS_BYTES_MAX = 2_048
BLOB_CHUNKS_MAX = 16_384
# Chunks that are not what their id says, before the link to who sent them ends.
BLOB_BAD_CHUNKS_MAX = 3
# A peer that sends nothing of what it was asked for in this time is passed over.
BLOB_STALL_MS = 30_000

# Rulings on forked logs (section 7): those that a device keeps, of one author and of all.
RULINGS_PER_AUTHOR_MAX = 64
RULINGS_MAX = 1_024
RULING_NUMBER_MAX = 2**53
# Frames with a ruling on one link: twice as many as anybody can hold.
RULINGS_PER_LINK_MAX = 2_048
# Times that a device takes its branch of one log out because of what the author says.
RULINGS_FOLLOWED_MAX = 4
