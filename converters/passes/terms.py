"""What the pipeline and a child process say to each other: one JSON object a line, one task at a time."""

from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from wherry.protocol.types import Count, Struct

Options = TypeVar("Options", bound=Struct)
Result = TypeVar("Result", bound=Struct)


@dataclass(frozen=True)
class Pass(Generic[Options, Result]):
    """One kind of work. `where` is `module:function`, imported in the child only.

    The function is called with (files, options, out, say): the paths by name, the options, an empty directory for what
    it makes, and a callback for (done, total). `tools` are the packages whose versions have a part in the result.
    `edition` is raised when our own code for it comes to another result.
    """

    name: str
    where: str
    options: type[Options]
    result: type[Result]
    tools: tuple[str, ...] = ()
    edition: int = 1


class Task(Struct, frozen=True, kw_only=True):
    """`name` is that of a Pass; paths are absolute."""

    name: str
    files: dict[str, str]
    options: msgspec.Raw
    out: str


class Told(Struct, frozen=True, kw_only=True, tag="told", tag_field="type"):
    """So much of the task is done."""

    done: Count
    total: Count


class Done(Struct, frozen=True, kw_only=True, tag="done", tag_field="type"):
    """The files lie in `out`."""

    result: msgspec.Raw


class Fault(Struct, frozen=True, kw_only=True, tag="fault", tag_field="type"):
    """`kind` is a class of wherry.converters.errors, or of anything else where the bug is ours."""

    kind: str
    message: str
    fix: str = ""


Line = Told | Done | Fault
