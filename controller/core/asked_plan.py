"""A plan as it is asked for: its version may be a number, an alias, or left out for the newest."""

from wherry.controller.core.plan import Positive, RolloutPlan
from wherry.controller.errors import Invalid
from wherry.protocol.types import Name


class AskedPlan(RolloutPlan, frozen=True, kw_only=True):
    """Every other field is that of the plan. What the version means is found out once, when the rollout is started."""

    version: Positive | None = None  # type: ignore[assignment]  # narrower in what is kept
    alias: Name | None = None

    @property
    def version_name(self) -> str:
        """`digits:3`, `digits@stable` or `digits`. Raises Invalid where two are named."""
        if self.version is not None and self.alias is not None:
            raise Invalid(
                f"both version {self.version} and alias {self.alias!r} are named", "name one, or none for the newest"
            )
        if self.alias is not None:
            return f"{self.model}@{self.alias}"
        return f"{self.model}:{self.version}" if self.version is not None else self.model


def numbered(plan: RolloutPlan, version: int) -> RolloutPlan:
    """The plan as it is kept."""
    return RolloutPlan(**{name: getattr(plan, name) for name in RolloutPlan.__struct_fields__} | {"version": version})


def version_name(plan: RolloutPlan) -> str:
    """How the plan names its version. Raises Invalid."""
    return plan.version_name if isinstance(plan, AskedPlan) else f"{plan.model}:{plan.version}"
