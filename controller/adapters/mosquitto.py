"""mosquitto: where it is, how it is configured, and as whom it runs.

Rules upheld here:
- It listens on the one address it is told; without authentication it admits only who can reach that.
- `set_tcp_nodelay`: without it one subscriber gets 55 QoS 1 messages a second, with it 11,000.
- All paths in the configuration are relative to its working directory, which it owns, so that it
  can run as its own user below directories that this user may not enter.
"""

import os
import pwd
import shutil
from pathlib import Path

from wherry.protocol import limits

PROGRAM = "mosquitto"
SYSTEM_PATH = os.pathsep.join(["/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/homebrew/sbin"])
"""Where system packages put it; not on everybody's PATH."""

CONFIGURATION = "mosquitto.conf"

SETTINGS = {
    "set_tcp_nodelay": "true",
    "allow_anonymous": "true",
    "persistence": "true",
    "persistence_location": "./",
    "persistence_file": "mosquitto.db",
    # A killed broker loses at most this many seconds of sessions; what is wanted is published again.
    "autosave_interval": "30",
    "persistent_client_expiration": "14d",
    # The longest message is a list of block hashes; its topic and properties need little more.
    "max_packet_size": str(limits.MAX_HASHES_BYTES + 4 * limits.KIB),
    "max_inflight_messages": "128",
    # For each device that is away: events and actions in between, not telemetry (QoS 0).
    "max_queued_messages": "10000",
    "max_queued_bytes": str(64 * limits.KIB * limits.KIB),
    "log_dest": "stderr",
    "connection_messages": "false",
}

LOG_TYPES = ("error", "warning", "notice")


def find() -> str | None:
    """The path of mosquitto, or None where it is not installed."""
    return shutil.which(PROGRAM) or shutil.which(PROGRAM, path=SYSTEM_PATH)


def configuration(host: str, port: int) -> str:
    """The text of the configuration file for one listener."""
    lines = [f"listener {port} {host}"]
    lines += [f"{key} {value}" for key, value in SETTINGS.items()]
    lines += [f"log_type {kind}" for kind in LOG_TYPES]
    if os.geteuid() == 0 and user() == "":
        lines.append("user root")
    return "\n".join(lines) + "\n"


def user() -> str:
    """Whom to become: `mosquitto` where we are root and it exists, else nobody else (empty)."""
    if os.geteuid() != 0:
        return ""
    return next((entry.pw_name for entry in pwd.getpwall() if entry.pw_name == "mosquitto"), "")


def set_aside(run_dir: Path, said: str) -> bool:
    """Move a database that mosquitto could not read out of its way; whether there was one.

    It holds sessions and retained messages, and all of these are said and published again.
    """
    database = run_dir / SETTINGS["persistence_file"]
    if "database" not in said or not database.exists():
        return False
    database.replace(database.with_suffix(".damaged"))
    return True


def prepare(run_dir: Path, host: str, port: int) -> list[str]:
    """Write the configuration and hand the directory over; the arguments to start it with."""
    (run_dir / CONFIGURATION).write_text(configuration(host, port))
    owner = user()
    if owner:
        for path in (run_dir, *run_dir.iterdir()):
            shutil.chown(path, owner, owner)
    program = find()
    assert program is not None, "asked for only where it was found"
    return [program, "-c", CONFIGURATION]
