"""The result of one check, and where all of them are called from."""

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

Verdict = Literal["ok", "warn", "fail"]


class Check(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`fix` says what to do; empty where there is nothing to do."""

    name: str
    verdict: Verdict
    says: str
    fix: str = ""


def ok(name: str, says: str) -> Check:
    return Check(name=name, verdict="ok", says=says)


def warn(name: str, says: str, fix: str = "") -> Check:
    return Check(name=name, verdict="warn", says=says, fix=fix)


def fail(name: str, says: str, fix: str) -> Check:
    return Check(name=name, verdict="fail", says=says, fix=fix)


def guarded(name: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """The results of `look`; a check that fails itself is told of, and does not keep the others from being made."""
    try:
        return list(look())
    except Exception as error:  # noqa: BLE001  a board in trouble breaks what nobody thought of
        return [
            warn(name, f"could not be checked: {type(error).__name__}: {error}", "report this: it is a bug of ours")
        ]
