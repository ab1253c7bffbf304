"""Sizes that both sides enforce, in bytes unless the name says otherwise."""

KIB = 1024

BLOCK_BYTES = 64 * KIB
"""A block of an artifact: small enough for every broker's default, large enough for speed."""

HASH_BYTES = 32
MAX_HASHES_BYTES = 1024 * KIB
MAX_BLOB_BYTES = MAX_HASHES_BYTES // HASH_BYTES * BLOCK_BYTES
"""What one list of block hashes can describe: 2 GiB."""

MAX_MANIFEST_BYTES = BLOCK_BYTES
"""A manifest is one block, so its own digest is enough to verify it."""

MAX_DESIRED_BYTES = 16 * KIB
MAX_ACTION_BYTES = 4 * KIB
MAX_RECEIPT_BYTES = 4 * KIB
MAX_STATUS_BYTES = 1 * KIB
MAX_BIRTH_BYTES = 16 * KIB
MAX_REPORTED_BYTES = 16 * KIB
MAX_EVENT_BYTES = 8 * KIB
MAX_TELEMETRY_BYTES = 32 * KIB
MAX_LOG_BYTES = 64 * KIB
UPLOAD_BLOCK_BYTES = 48 * KIB
"""A block of what an action brought: 64 KiB once it is text, so small enough for every broker's default."""

MAX_UPLOAD_BLOCKS = 64
MAX_UPLOAD_BYTES = MAX_UPLOAD_BLOCKS * UPLOAD_BLOCK_BYTES
"""3 MiB, of compressed lines: far more than an agent keeps."""

MAX_UPLOAD_MESSAGE_BYTES = 66 * KIB
MAX_GOLDEN_BYTES = 16 * KIB * KIB

MAX_SLASHES = 7
"""Some managed brokers allow no more levels in a topic."""
