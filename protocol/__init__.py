"""The contract between device and controller: topics, messages, manifest and limits.

Rules upheld here:
- A released message never changes meaning: fields are added with defaults, never reused.
- Unknown fields are ignored, so old and new programs understand each other.
- Every decoder has a size limit, and refuses with a typed error.
- Nothing here does I/O; the only imports are msgspec and ddsketch.
"""
