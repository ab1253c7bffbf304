"""The agent's directory on disk; all of its disk access goes through this package.

    lock                 held by the running agent
    state.a, state.b     two copies of one record, written in turn; the newest valid one counts
    blobs/<sha256>       immutable and read-only; present means verified when it was put there
    parts/<sha256>       a blob on its way, of its final size
    events/<number>      events that the controller has not confirmed yet

Rules upheld here:
- No symlink and no index: the state record is the only commit point.
- A blob is on disk for good (fsync, rename, fsync of the directory) before a record may name it.
- What was cut short is found by its name or its digest, and is swept.
"""

from wherry.agent.adapters.store.store import Store

__all__ = ["Store"]
