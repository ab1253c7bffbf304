"""What the controller refuses, split by who must act.

ControllerError
├── UserError           the caller must change the request; one line says what is wrong and what to do
│   ├── NotFound        no such model, version, device, rollout or blob
│   ├── Conflict        right in itself, but not in the present state
│   ├── Changed         meant for a state that is no more
│   ├── Invalid         wrong in itself
│   └── NotAllowed      the caller is not known, or may not
└── Unavailable         the machine must change: a port is taken, a directory unwritable, a broker missing
    ├── Deposed         another controller leads by now
    └── NewerSchema     the database was written by a newer Wherry
"""


class ControllerError(Exception):
    """`str(error)` is one line for a person; `fix` says what to do, and may be empty."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    @property
    def line(self) -> str:
        """What is wrong and what to do, in one line."""
        return f"{self.message}; {self.fix}" if self.fix else self.message


class UserError(ControllerError):
    """The caller must change the request."""


class NotFound(UserError):
    """What was named does not exist."""


class Conflict(UserError):
    """The present state does not allow it."""


class Changed(UserError):
    """The order names the state that it is meant for, and that is no more. `present` is the revision now, if any."""

    def __init__(self, present: str | None) -> None:
        super().__init__("it has changed since it was looked at", "look again, and decide anew")
        self.present = present


class Invalid(UserError):
    """The request cannot be right in any state."""


class NotAllowed(UserError):
    """Whoever calls is not known, or is known and may not."""


class Unavailable(ControllerError):
    """Something that the controller needs from its machine is not there."""


class Deposed(Unavailable):
    """Another controller works for the fleet by now, so this one must not."""


class NewerSchema(Unavailable):
    """The database has migrations that this program does not know."""
