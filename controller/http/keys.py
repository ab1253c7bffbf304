"""The header `Idempotency-Key`: a name of the client's own choice, by which a repeated request is known again."""

from typing import Annotated

from fastapi import Header

MAX_KEY_CHARACTERS = 200
PRINTABLE = "^[!-~]([ -~]*[!-~])?$"

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY_CHARACTERS,
        pattern=PRINTABLE,
        description="The same request with the same key again gives the same answer, and makes nothing new.",
    ),
]
