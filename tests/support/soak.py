"""How many tries a harness makes: few enough for `make test`, many more under `make soak`, from the same code."""

import os

SOAKING = os.environ.get("WHERRY_SOAK", "") not in ("", "0")


def scaled(tries: int, *, soak: int) -> int:
    """`tries`, or `soak` where WHERRY_SOAK is set."""
    return soak if SOAKING else tries
