"""The environment that configures an agent: this process's own, over the file that the service reads."""

import os
from collections.abc import Mapping
from pathlib import Path

from wherry.agent.errors import BadConfig

SUFFIX = ".env"


def environment(config: Path, own: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`agent.env` beside `agent.toml`, lines `NAME=value` as systemd reads them, and `own` over it. Raises BadConfig.

    So that a person who asks sees the device that the service runs.
    """
    path = config.with_suffix(SUFFIX)
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        lines = []
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(str(path), "", f"cannot be read: {error}") from error
    return dict(_pair(path, line) for line in map(str.strip, lines) if line and line[0] not in "#;") | dict(own)


def _pair(path: Path, line: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals:
        raise BadConfig(str(path), "", f"not NAME=value: {line[:60]}")
    value = value.strip()
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return name.strip(), value[1:-1] if quoted else value
