"""What can go wrong in the agent, by who must act.

AgentError
├── SetupError             the operator must change something before the agent can start; exit status 2
│   ├── BadConfig          a key of the configuration is missing or wrong
│   ├── StateDirInUse      another agent holds the state directory
│   ├── StateDirUnusable   it cannot be created, or cannot be written and holds nothing to serve
│   ├── NewerFormat        it was written by a newer agent
│   └── SocketUnusable     a socket of the data plane cannot be opened
└── StoreError             the disk failed or is full while running; the attempt fails, what serves stays
    ├── DamagedBlob        bytes on disk do not have their digest
    └── Shortage           the board has no file descriptor or memory left to look with; the disk may be well
"""

from pathlib import Path


class AgentError(Exception):
    """Base of what the agent raises itself."""


class SetupError(AgentError):
    """One line for the operator: what is wrong, where, what to do."""


class BadConfig(SetupError):
    """`key` is dotted, as in `broker.port`; empty where the file itself is wrong."""

    def __init__(self, source: str, key: str, problem: str) -> None:
        super().__init__(f"{source}: {key}: {problem}" if key else f"{source}: {problem}")
        self.source = source
        self.key = key
        self.problem = problem


class StateDirInUse(SetupError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: another agent uses this state directory; stop it, or set state_dir to another one")
        self.path = path


class StateDirUnusable(SetupError):
    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}; set state_dir to a directory that this user can write")
        self.path = path


class NewerFormat(SetupError):
    def __init__(self, path: Path, found: int, known: int) -> None:
        super().__init__(
            f"{path}: state of format {found} was written by a newer agent, this one knows {known}; "
            "install that agent again, or set state_dir to another directory"
        )
        self.path = path
        self.found = found
        self.known = known


class SocketUnusable(SetupError):
    def __init__(self, address: str, problem: str) -> None:
        super().__init__(f"{address}: {problem}; set data_plane.directory, or another http_port for the slot")
        self.address = address
        self.problem = problem


class StoreError(AgentError):
    """The disk did not do what was asked."""


class Shortage(StoreError):
    """It says nothing about what is on the disk."""


class DamagedBlob(StoreError):
    def __init__(self, digest: str) -> None:
        super().__init__(f"blob {digest[:12]} on disk does not have its digest")
        self.digest = digest
