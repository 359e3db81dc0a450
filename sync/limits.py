"""Every limit of the `sync` floor, by name and with its unit.

A peer that exceeds one of these gets a `DecodeError`, an application a `BadValueError`; neither
costs more than the limit allows. Names end in what they bound and its unit: `…_BYTES_MAX`,
`…_MS_MAX`, or a plain count. The values are those of docs/protocol.md, sections 3, 8 and 9, and
of docs/threat-model.md, "Limits"; nothing here is read from a configuration.
"""

# Canonical msgpack (section 9): membership operations and session frames.
CONTROL_BYTES_MAX = 65_536
CONTROL_TOKENS_MAX = 4_096
CONTROL_DEPTH_MAX = 8

# Change sets (section 3).
CHANGE_SET_BYTES_MAX = 1_048_576
# The largest body of ours: padded and with the tag of the cipher it fits an entry of 1 MiB.
OWN_CHANGE_SET_BYTES_MAX = 1_032_188
CHANGES_PER_SET_MAX = 65_535
DATABASE_NAME_BYTES_MAX = 64
COLLECTION_NAME_BYTES_MAX = 64
RECORD_ID_BYTES_MAX = 256
PAST_INSTANCES_MAX = 1_024
FIELDS_PER_CHANGE_MAX = 10_000

# One Automerge change (section 3, "The gate").
TAIL_BYTES_MAX = 1_048_576
OPS_PER_CHANGE_MAX = 10_000
PREDECESSORS_PER_CHANGE_MAX = 40_000
DEPS_PER_CHANGE_MAX = 256
ACTORS_PER_CHANGE_MAX = 1_024
# The library counts operations in 32 bits and panics beyond; a counter this high needs 2 billion
# real operations on one record.
OP_COUNTER_MAX = 2**31 - 1

# What a change of ours may take: sealed and padded it must still fit an entry of 1 MiB.
OWN_TAIL_BYTES_MAX = 1_015_808

# Records, as an application may write them.
RECORD_BYTES_MAX = 921_600
RECORD_DEPTH_MAX = 32
NAME_BYTES_MAX = 256
INTEGER_MAX = 2**63 - 1
# From the year 2 to the year 9998: the library panics near the ends of Python's calendar.
TIMESTAMP_MS_MIN = -62_104_060_800_000
TIMESTAMP_MS_MAX = 253_370_764_799_999

# Hybrid logical clock: how far a remote stamp may drag ours ahead of the wall clock.
HLC_AHEAD_MS_MAX = 300_000

# Blobs (section 14). 4 GiB are 16,384 chunks, whose ids take half a MiB of one record.
BLOB_CHUNK_BYTES = 262_144
BLOB_BYTES_MAX = 4_294_967_296
BLOB_TYPE_BYTES_MAX = 127
BLOB_NAME_BYTES_MAX = 255
VARIANTS_MAX = 8
VARIANT_NAME_BYTES_MAX = 32
VARIANT_BYTES_MAX = 16_777_216
