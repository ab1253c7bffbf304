"""What the controller sends to one device, one message a file."""

from wherry.protocol.down.action import Action
from wherry.protocol.down.desired import Desired
from wherry.protocol.down.receipt import Receipt

DownMessage = Desired | Action | Receipt

__all__ = ["Action", "Desired", "DownMessage", "Receipt"]
