"""What a fleet looked like when a test of it failed, told with the failure: a rare one cannot be looked at again."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

LINES = 40
"""The last ones of each log."""

QUESTIONS = (
    "SELECT id, state, reason, wave FROM rollouts",
    """SELECT rollout, device, wave, standing, round(sent_s, 1), round(restored_s, 1), reason FROM rollout_devices
    WHERE standing != 'committed' LIMIT 20""",
    """SELECT d.device, d.epoch, d.generation, d.published_epoch, d.published_generation, v.presence, v.reported_epoch,
    v.reported_generation, round(v.last_seen_s, 1), v.reported
    FROM desired d JOIN devices v ON v.id = d.device ORDER BY (v.reported_epoch, v.reported_generation)
    >= (d.epoch, d.generation), d.device LIMIT 10""",
    "SELECT device, round(received_s, 1), body FROM events ORDER BY id DESC LIMIT 20",
)


@contextmanager
def told_on_failure(directory: Path) -> Iterator[None]:
    """Add to whatever the block raises the ends of all logs under `directory`, and what its database says."""
    try:
        yield
    except Exception as error:
        for text in _texts(directory):
            error.add_note(text)
        raise


def _texts(directory: Path) -> Iterator[str]:
    for database in sorted(directory.rglob("controller.db")):
        for question in QUESTIONS:
            yield "\n".join([f"--- {' '.join(question.split())}", *_rows(database, question)])
    for log in sorted(directory.rglob("*.log")):
        yield "\n".join([f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-LINES:]])


def _rows(database: Path, question: str) -> list[str]:
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
            return [str(row) for row in db.execute(question)]
    except sqlite3.Error as error:
        return [f"cannot be asked: {error}"]
