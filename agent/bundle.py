"""Everything that helps to find out what ails a board, in one compressed file: a line of JSON an entry.

Rules upheld here:
- What is in a configuration and reads like a secret is left out: by its key, and in any URL the user and the password.
- Its size is bounded by the log lines that are kept.
"""

import gzip
import re
from collections.abc import Iterable
from typing import Any

import msgspec

SECRET = re.compile(r"password|passwd|pwd|secret|token|credential|private", re.IGNORECASE)
LEFT_OUT = "left out"

_USER = re.compile(r"(?<=://)[^\s/?#]*@")
_IN_QUERY = re.compile(rf"([?&][^\s=&#]*(?:{SECRET.pattern})[^\s=&#]*=)[^\s&#]*", re.IGNORECASE)
LEVEL = 6


def bundle(entries: Iterable[tuple[str, object]], lines: Iterable[bytes]) -> bytes:
    """`entries` are (kind, anything that becomes JSON); `lines` are log lines that are JSON already.

    Equal contents give equal bytes.
    """
    told = [
        b'{"kind":%b,"value":%b}' % (msgspec.json.encode(kind), msgspec.json.encode(entry)) for kind, entry in entries
    ]
    told += [b'{"kind":"log","value":%b}' % line for line in lines]
    return gzip.compress(b"\n".join([*told, b""]), LEVEL, mtime=0)


def without_secrets(value: Any) -> Any:
    """Plain values, with what a key calls a secret and who logs in to a URL left out, however deep."""
    plain = msgspec.to_builtins(value)
    if isinstance(plain, dict):
        return {
            key: LEFT_OUT if SECRET.search(str(key)) and entry not in ("", None) else without_secrets(entry)
            for key, entry in plain.items()
        }
    if isinstance(plain, str):
        return without_credentials(plain)
    return [without_secrets(entry) for entry in plain] if isinstance(plain, list | tuple) else plain


def without_credentials(text: str) -> str:
    """A text whose URLs do not say who logs in: the usual way to a camera is `rtsp://user:password@host/`."""
    return _IN_QUERY.sub(r"\1***", _USER.sub("***@", text)) if "://" in text else text
