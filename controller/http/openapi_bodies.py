"""What each operation reads, for the OpenAPI document: the struct of its JSON body, with an example, or raw bytes.

A test holds this table to the handlers: each that reads JSON stands here with the struct that it reads, and every
example is decoded by it.
"""

from typing import Any, NamedTuple

from wherry.controller.http.conversions import NewConversion
from wherry.controller.http.devices import Decommission, NewAction
from wherry.controller.http.groups import GroupQuery
from wherry.controller.http.models import Alias, NewVersion, Remark, Retirement
from wherry.controller.http.pins import NewPin
from wherry.controller.http.rollbacks import NewRollback
from wherry.controller.http.rollouts import Abort, Because, NewRollout, Overruling, Promotion
from wherry.controller.http.tokens import TokenOrder
from wherry.protocol.types import Struct

Operation = tuple[str, str]
"""Method and path below `/api/v1`, as in `core.roles`."""


class Body(NamedTuple):
    shape: type[Struct]
    example: dict[str, Any]


DIGEST = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"

_PLAN = {
    "model": "digits",
    "alias": "candidate",
    "target": {"query": "site=berlin and ram_mb>=2000"},
    "waves": [{"amount": 1}, {"amount": 50, "percent": True}, {"amount": 100, "percent": True}],
    "soak_s": 3600,
    "min_inferences": 500,
    "max_p95_ratio": 1.5,
    "on_breach": "revert",
}

_TENSOR = {"name": "x", "shape": [1, 28, 28, 1], "dtype": "int8", "layout": "NHWC"}

_MANIFEST = {
    "model": "digits",
    "variants": [
        {
            "name": "int8",
            "artifact": {"digest": DIGEST, "size_bytes": 41_336},
            "inputs": [_TENSOR],
            "outputs": [{"name": "y", "shape": [1, 10], "dtype": "int8"}],
            "operators": [{"name": "CONV_2D", "version": 3, "count": 2}],
            "runtimes": [{"family": "litert", "lowest": "1.0.0"}],
            "golden": {"digest": DIGEST, "size_bytes": 12_544},
            "tolerances": [{"family": "litert", "max_abs": 2, "min_cosine": 0.99}],
        }
    ],
    "labels": ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
}

BODIES: dict[Operation, Body] = {
    ("POST", "/conversions"): Body(
        NewConversion,
        {
            "model": "digits",
            "source": {"digest": DIGEST, "file_name": "net.keras"},
            "calibration": {"digest": DIGEST, "file_name": "calibration.npz"},
            "recipe": "int8,float16",
            "key": "build-1204",
        },
    ),
    ("PUT", "/devices/{device}/decommission"): Body(Decommission, {"reason": "the board is in the workshop"}),
    ("POST", "/devices/{device}/actions"): Body(NewAction, {"kind": "collect-logs", "valid_s": 300}),
    ("PUT", "/devices/{device}/pins/{slot}"): Body(NewPin, {"reason": "shown at the fair until Friday"}),
    ("PUT", "/groups/{name}"): Body(GroupQuery, {"query": "site=berlin and ram_mb>=2000 and runtime.litert>=2.1"}),
    ("POST", "/models/{model}/versions"): Body(
        NewVersion, {"manifest": _MANIFEST, "report": {}, "notes": "trained on the data of May"}
    ),
    ("PATCH", "/models/{model}/versions/{version}"): Body(Remark, {"notes": "the one for the fair"}),
    ("PUT", "/models/{model}/versions/{version}/retirement"): Body(
        Retirement, {"retired": True, "reason": "confuses 1 and 7"}
    ),
    ("PUT", "/models/{model}/aliases/{alias}"): Body(Alias, {"version": 3}),
    ("POST", "/rollouts"): Body(NewRollout, {"plan": _PLAN}),
    ("POST", "/rollouts/explain"): Body(NewRollout, {"plan": _PLAN}),
    ("POST", "/rollouts/{rollout}/promote"): Body(Promotion, {"wave": 2, "reason": "measured by hand"}),
    ("POST", "/rollouts/{rollout}/hold"): Body(Because, {"reason": "the customer has an event tonight"}),
    ("POST", "/rollouts/{rollout}/retry"): Body(Because, {"reason": "the network is mended"}),
    ("POST", "/rollouts/{rollout}/abort"): Body(Abort, {"restore": "revert", "reason": "wrong model"}),
    ("PUT", "/rollouts/{rollout}/overrides/{gate}"): Body(
        Overruling, {"reason": "the sensor is broken, not the model; see incident 118"}
    ),
    ("POST", "/rollbacks"): Body(
        NewRollback, {"model": "digits", "version": 2, "target": {"labels": {"site": "hall"}}}
    ),
    ("POST", "/tokens"): Body(TokenOrder, {"name": "ci", "role": "release-manager", "expires_in_s": 7_776_000}),
}

RAW_BODIES: dict[Operation, str] = {
    ("PUT", "/artifacts/{digest}"): "application/octet-stream",
    ("PUT", "/devices/{device}/logs/{action_id}"): "application/gzip",
}
"""The media types; of any other one the bytes count just as well."""
