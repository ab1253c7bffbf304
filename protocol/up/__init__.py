"""What a device sends, one message a file."""

from wherry.protocol.up.birth import Birth
from wherry.protocol.up.event import Event
from wherry.protocol.up.log import Log, LogLine
from wherry.protocol.up.reported import Reported
from wherry.protocol.up.status import Status
from wherry.protocol.up.telemetry import Telemetry
from wherry.protocol.up.upload import Upload

UpMessage = Status | Birth | Reported | Event | Telemetry | Log | Upload

__all__ = ["Birth", "Event", "Log", "LogLine", "Reported", "Status", "Telemetry", "UpMessage", "Upload"]
