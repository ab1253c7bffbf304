"""Predictions for apps on the same device: `with Client(slot="main") as client: client.infer(picture).top(3)`."""

from wherry.agent.client.answer import Answer, Prediction
from wherry.agent.client.client import Client
from wherry.agent.client.errors import ClientError, Lost, ModelFailed, NotServed, Refused
from wherry.protocol.first_use import learn_types

__all__ = ["Answer", "Client", "ClientError", "Lost", "ModelFailed", "NotServed", "Prediction", "Refused"]

learn_types("wherry.")  # an app's first requests may come from several threads at once
