"""What the controller sends to one device, one message a file."""

from wherry.protocol.down.action import Action
from wherry.protocol.down.desired import Desired

DownMessage = Desired | Action

__all__ = ["Action", "Desired", "DownMessage"]
