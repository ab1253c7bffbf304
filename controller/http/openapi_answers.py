"""What each operation answers, for the OpenAPI document: the type of its JSON, or a media type, and the statuses.

Tests hold this table to the routes that there are, and to what a live controller answers.
"""

from typing import Any, NamedTuple

from wherry.controller.core.outlook import Outlook
from wherry.controller.http.openapi_bodies import Operation
from wherry.controller.operations.actions import ActionView
from wherry.controller.operations.aliases import AliasView
from wherry.controller.operations.audit import AuditView
from wherry.controller.operations.conversions import ConversionView
from wherry.controller.operations.deletion import Deleted
from wherry.controller.operations.devices import DeviceDetail, DeviceView, LogView
from wherry.controller.operations.groups import GroupView
from wherry.controller.operations.pins import PinView
from wherry.controller.operations.registry import ModelView, VersionView
from wherry.controller.operations.retry import Retried
from wherry.controller.operations.rollout_view import RolloutView
from wherry.controller.operations.story import Story
from wherry.controller.operations.tokens import NewToken, TokenView
from wherry.controller.operations.verdicts import VerdictView
from wherry.protocol.blob import BlobRef
from wherry.protocol.down.action import Action
from wherry.protocol.up import Event


class Answer(NamedTuple):
    """`shape` is a type, or a media type where it is not JSON."""

    shape: Any
    statuses: tuple[int, ...] = (200,)


class ShownVersion(VersionView, frozen=True, kw_only=True, omit_defaults=False):
    """As `digits:3` it is its `name`. Lists have no `report`."""

    name: str


NEW_OR_THERE = (200, 201)

_ROLLOUT_ORDERS = ("pause", "resume", "promote", "hold", "abort")

ANSWERS: dict[Operation, Answer] = {
    ("GET", "/audit"): Answer(list[AuditView]),
    ("GET", "/logs"): Answer(list[LogView]),
    ("GET", "/artifacts/{digest}"): Answer("application/octet-stream", (200, 206)),
    ("GET", "/artifacts/{digest}/hashes"): Answer("application/octet-stream"),
    ("PUT", "/artifacts/{digest}"): Answer(BlobRef, NEW_OR_THERE),
    ("GET", "/devices"): Answer(list[DeviceView]),
    ("GET", "/devices/{device}"): Answer(DeviceDetail),
    ("GET", "/devices/{device}/events"): Answer(list[Event]),
    ("GET", "/devices/{device}/story"): Answer(Story),
    ("PUT", "/devices/{device}/decommission"): Answer(DeviceView),
    ("DELETE", "/devices/{device}/decommission"): Answer(DeviceView),
    ("POST", "/devices/{device}/actions"): Answer(Action, (202,)),
    ("GET", "/devices/{device}/actions"): Answer(list[ActionView]),
    ("GET", "/devices/{device}/actions/{action_id}"): Answer(ActionView),
    ("PUT", "/devices/{device}/logs/{action_id}"): Answer(dict[str, Any], NEW_OR_THERE),
    ("GET", "/devices/{device}/logs/{action_id}"): Answer("application/gzip"),
    ("GET", "/devices/{device}/pins/{slot}"): Answer(PinView),
    ("PUT", "/devices/{device}/pins/{slot}"): Answer(PinView),
    ("GET", "/pins"): Answer(list[PinView]),
    ("GET", "/groups"): Answer(list[GroupView]),
    ("GET", "/groups/{name}"): Answer(GroupView),
    ("PUT", "/groups/{name}"): Answer(GroupView, NEW_OR_THERE),
    ("GET", "/models"): Answer(list[ModelView]),
    ("GET", "/models/{model}"): Answer(ShownVersion),
    ("GET", "/models/{model}/history"): Answer(list[AuditView]),
    ("GET", "/models/{model}/aliases"): Answer(dict[str, int]),
    ("GET", "/models/{model}/aliases/{alias}"): Answer(AliasView),
    ("PUT", "/models/{model}/aliases/{alias}"): Answer(ModelView),
    ("DELETE", "/models/{model}/aliases/{alias}"): Answer(ModelView),
    ("GET", "/models/{model}/versions"): Answer(list[ShownVersion]),
    ("POST", "/models/{model}/versions"): Answer(ShownVersion, NEW_OR_THERE),
    ("GET", "/models/{model}/versions/{version}"): Answer(ShownVersion),
    ("PATCH", "/models/{model}/versions/{version}"): Answer(ShownVersion),
    ("DELETE", "/models/{model}/versions/{version}"): Answer(Deleted),
    ("GET", "/models/{model}/versions/{version}/history"): Answer(list[AuditView]),
    ("GET", "/models/{model}/versions/{version}/report.html"): Answer("text/html"),
    ("PUT", "/models/{model}/versions/{version}/retirement"): Answer(ShownVersion),
    ("GET", "/conversions"): Answer(list[ConversionView]),
    ("POST", "/conversions"): Answer(ConversionView, (200, 202)),
    ("GET", "/conversions/{conversion}"): Answer(ConversionView),
    ("GET", "/conversions/{conversion}/log"): Answer("text/plain"),
    ("GET", "/conversions/{conversion}/report.html"): Answer("text/html", (200, 303)),
    ("POST", "/conversions/{conversion}/cancel"): Answer(ConversionView),
    ("GET", "/rollouts"): Answer(list[RolloutView]),
    ("POST", "/rollouts"): Answer(RolloutView, NEW_OR_THERE),
    ("POST", "/rollouts/explain"): Answer(Outlook),
    ("GET", "/rollouts/{rollout}"): Answer(RolloutView),
    ("GET", "/rollouts/{rollout}/verdicts"): Answer(list[VerdictView]),
    ("GET", "/rollouts/{rollout}/watch"): Answer("text/event-stream"),
    **{("POST", f"/rollouts/{{rollout}}/{order}"): Answer(RolloutView) for order in _ROLLOUT_ORDERS},
    ("POST", "/rollouts/{rollout}/retry"): Answer(Retried),
    ("PUT", "/rollouts/{rollout}/overrides/{gate}"): Answer(RolloutView),
    ("DELETE", "/rollouts/{rollout}/overrides/{gate}"): Answer(RolloutView),
    ("POST", "/rollbacks"): Answer(RolloutView, NEW_OR_THERE),
    ("GET", "/tokens"): Answer(list[TokenView]),
    ("POST", "/tokens"): Answer(NewToken, (201,)),
    ("DELETE", "/tokens/{name}"): Answer(TokenView),
}
"""Those that are not here answer a JSON value that is told in words."""

ANYTHING = Answer(Any)
