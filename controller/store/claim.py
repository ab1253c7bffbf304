"""The claim on a PostgreSQL database: at most one controller has it.

Rules upheld here:
- The server's own session is what holds it, so it ends with the process, however that ends.
- The server looks for a machine that is gone within seconds, not within the hours that TCP takes by itself.
- A session that was lost is never taken up again: whoever lost it has to gain the claim anew.
"""

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

CONTROLLER_LOCK = 0x77_68_65_72_72_79_02
"""An advisory lock of PostgreSQL: any number, if others that use the same database take other ones."""

KEEPALIVES = ("tcp_keepalives_idle = 2", "tcp_keepalives_interval = 1", "tcp_keepalives_count = 3")
"""Set for every connection of the engine."""


class Claim:
    """Gained, kept and let go by one controller."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT", wherry_read=True)
        self._connection: Connection | None = None

    @property
    def held(self) -> bool:
        """Whether it was held when that was last asked."""
        return self._connection is not None

    def gain(self, wait_ms: int = 0) -> bool:
        """Whether it is ours now; waits for another controller's end that long. Raises DBAPIError."""
        if self._connection is not None:
            return True
        connection = self._engine.connect()
        try:
            if _lock(connection, wait_ms):
                self._connection = connection
                return True
        finally:
            if self._connection is None:
                _end(connection)
        return False

    def keep(self) -> bool:
        """Ask the server whether the session still lives; where not, the claim is lost."""
        if self._connection is None:
            return False
        try:
            self._connection.exec_driver_sql("SELECT 1")
        except DBAPIError:
            self.let_go()
        return self.held

    def let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            _end(connection)


def _lock(connection: Connection, wait_ms: int) -> bool:
    if not wait_ms:
        return bool(connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({CONTROLLER_LOCK})").scalar())
    connection.exec_driver_sql(f"SET lock_timeout = {wait_ms}")
    try:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({CONTROLLER_LOCK})")
    except OperationalError:
        return False
    return True


def _end(connection: Connection) -> None:
    """End the session itself: the pool would keep it, and the lock with it."""
    connection.invalidate()
    connection.close()
