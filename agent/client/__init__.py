"""Predictions for apps on the same device: `with Client(slot="main") as client: client.infer(picture).top(3)`."""

from wherry.agent.client.answer import Answer, Prediction
from wherry.agent.client.client import Client
from wherry.agent.client.errors import ClientError, Lost, ModelFailed, NotServed, Refused

__all__ = ["Answer", "Client", "ClientError", "Lost", "ModelFailed", "NotServed", "Prediction", "Refused"]
