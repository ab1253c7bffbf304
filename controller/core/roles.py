"""Who may call what: one table from the route to the least role.

Rules upheld here:
- A role may do all that the roles below it may.
- A route that is not in the table is for nobody: somebody who adds one has to say who may call it.
"""

from typing import Literal, get_args

Role = Literal["viewer", "operator", "release-manager", "admin"]

ROLES: tuple[Role, ...] = get_args(Role)
"""From the least to the most: looks; runs what there is, and stops it; decides what is to run; decides who may."""

ANYBODY = None
"""No token is asked for: what devices fetch and bring. They name it by a digest, or by the secret id of an order."""

LEAST_ROLE: dict[tuple[str, str], Role | None] = {
    ("GET", "/status"): ANYBODY,
    ("GET", "/audit"): "viewer",
    ("GET", "/logs"): "viewer",
    # Artifacts: nobody guesses a digest, and devices have no token.
    ("GET", "/artifacts/{digest}"): ANYBODY,
    ("HEAD", "/artifacts/{digest}"): ANYBODY,
    ("GET", "/artifacts/{digest}/hashes"): ANYBODY,
    ("PUT", "/artifacts/{digest}"): "release-manager",
    # Devices.
    ("GET", "/devices"): "viewer",
    ("GET", "/devices/{device}"): "viewer",
    ("GET", "/devices/{device}/events"): "viewer",
    ("GET", "/devices/{device}/story"): "viewer",
    ("PUT", "/devices/{device}/decommission"): "operator",
    ("DELETE", "/devices/{device}/decommission"): "operator",
    ("DELETE", "/devices/{device}"): "operator",
    ("POST", "/devices/{device}/actions"): "operator",
    ("GET", "/devices/{device}/actions"): "viewer",
    ("GET", "/devices/{device}/actions/{action_id}"): "viewer",
    ("PUT", "/devices/{device}/logs/{action_id}"): ANYBODY,
    ("GET", "/devices/{device}/logs/{action_id}"): "operator",
    ("GET", "/devices/{device}/pins/{slot}"): "viewer",
    ("PUT", "/devices/{device}/pins/{slot}"): "operator",
    ("DELETE", "/devices/{device}/pins/{slot}"): "operator",
    ("GET", "/pins"): "viewer",
    ("GET", "/groups"): "viewer",
    ("GET", "/groups/{name}"): "viewer",
    ("PUT", "/groups/{name}"): "operator",
    ("DELETE", "/groups/{name}"): "operator",
    # The registry.
    ("GET", "/models"): "viewer",
    ("GET", "/models/{model}"): "viewer",
    ("GET", "/models/{model}/history"): "viewer",
    ("GET", "/models/{model}/aliases"): "viewer",
    ("GET", "/models/{model}/aliases/{alias}"): "viewer",
    ("PUT", "/models/{model}/aliases/{alias}"): "release-manager",
    ("DELETE", "/models/{model}/aliases/{alias}"): "release-manager",
    ("GET", "/models/{model}/versions"): "viewer",
    ("GET", "/models/{model}/versions/{version}/history"): "viewer",
    ("GET", "/models/{model}/versions/{version}/report"): "viewer",
    ("GET", "/models/{model}/versions/{version}/report.html"): "viewer",
    ("PUT", "/models/{model}/versions/{version}/retirement"): "release-manager",
    ("GET", "/models/{model}/versions/{version}"): "viewer",
    ("POST", "/models/{model}/versions"): "release-manager",
    ("PATCH", "/models/{model}/versions/{version}"): "release-manager",
    ("DELETE", "/models/{model}/versions/{version}"): "admin",
    ("GET", "/conversions"): "viewer",
    ("GET", "/conversions/{conversion}"): "viewer",
    ("GET", "/conversions/{conversion}/log"): "viewer",
    ("GET", "/conversions/{conversion}/report.html"): "viewer",
    ("POST", "/conversions"): "release-manager",
    ("POST", "/conversions/{conversion}/cancel"): "release-manager",
    # Rollouts: whoever is called at night may stop one and take a version back, not send a new one.
    ("GET", "/rollouts"): "viewer",
    ("GET", "/rollouts/{rollout}"): "viewer",
    ("GET", "/rollouts/{rollout}/verdicts"): "viewer",
    ("GET", "/rollouts/{rollout}/watch"): "viewer",
    ("POST", "/rollouts/explain"): "viewer",
    ("POST", "/rollouts"): "release-manager",
    ("POST", "/rollouts/{rollout}/pause"): "operator",
    ("POST", "/rollouts/{rollout}/resume"): "operator",
    ("POST", "/rollouts/{rollout}/hold"): "operator",
    ("POST", "/rollouts/{rollout}/abort"): "operator",
    ("POST", "/rollouts/{rollout}/retry"): "operator",
    ("POST", "/rollouts/{rollout}/promote"): "release-manager",
    ("PUT", "/rollouts/{rollout}/overrides/{gate}"): "release-manager",
    ("DELETE", "/rollouts/{rollout}/overrides/{gate}"): "release-manager",
    ("POST", "/rollbacks"): "operator",
    # Tokens.
    ("GET", "/tokens"): "admin",
    ("POST", "/tokens"): "admin",
    ("DELETE", "/tokens/{name}"): "admin",
}


def reaches(role: Role, least: Role) -> bool:
    """Whether `role` may do what needs at least `least`."""
    return ROLES.index(role) >= ROLES.index(least)
