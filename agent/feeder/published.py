"""Results on an MQTT topic of the feed's broker, a message each."""

from wherry.agent.feeder.session import Session


class Published:
    """See `results.Sink`. The session is closed by whoever opened it."""

    def __init__(self, session: Session, topic: str) -> None:
        self._session, self._topic = session, topic
        self.trouble = ""

    def put(self, line: bytes) -> bool:
        taken = self._session.publish(self._topic, line)
        self.trouble = "" if taken else f"results: {self._session.trouble or 'the broker does not take them in time'}"
        return taken

    def take_dropped(self) -> int:
        return 0

    def close(self) -> None:
        """Nothing is held."""
