"""A fleet in memory that a rollout runs over: the engine's actions are carried out on plain values.

Nothing is kept but the rows, so every tick starts from what a restarted controller would read.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from tests.support.controller_values import make_birth, make_variant
from wherry.controller.core import actions as act
from wherry.controller.core.behaviour import Behaviour
from wherry.controller.core.candidate import Candidate
from wherry.controller.core.gates import GateResult
from wherry.controller.core.members import LIVE, Member, Order, Restored, Rollout, Sent
from wherry.controller.core.plan import RolloutPlan
from wherry.controller.core.rollout import decide
from wherry.protocol.blob import describe
from wherry.protocol.down.desired import Assignment
from wherry.protocol.up import Birth
from wherry.protocol.up.reported import Outcome, Phase, QuarantineEntry, Result, SlotReport


def assignment(version: int) -> Assignment:
    return Assignment(
        slot="main",
        model="digits",
        version=version,
        variant="int8",
        manifest=describe(f"manifest {version}".encode()),
        artifact=make_variant(f"v{version}").artifact.digest,
    )


Engine = Callable[[Rollout, Sequence[Member], float, Sequence[Candidate]], list[act.Action]]
OLD = assignment(1)
NEW = assignment(2)


class World:
    """`documents` are what devices would be sent; `told` every action so far, in order.

    `outside` are devices of the fleet that the rollout has not, yet.
    """

    def __init__(
        self,
        plan: RolloutPlan,
        waves: Sequence[Sequence[str]],
        *,
        births: Mapping[str, Birth | None] | None = None,
        engine: Engine = decide,
    ) -> None:
        self.rollout = Rollout(
            plan=plan, variants=(make_variant("v2"),), state="running", wave=1, wave_count=len(waves), wave_opened_s=0.0
        )
        self.members: dict[str, Member] = {}
        self.documents: dict[str, tuple[Order, Assignment | None]] = {}
        self.told: list[act.Action] = []
        self.gates: tuple[GateResult, ...] = ()
        self.now_s = 0.0
        self.outside: dict[str, Birth | None] = {}
        self.engine = engine
        for number, wave in enumerate(waves, start=1):
            for device in wave:
                birth = births.get(device, make_birth()) if births is not None else make_birth()
                self._admit(device, number, birth)

    def _admit(self, device: str, wave: int, birth: Birth | None) -> None:
        report = SlotReport(slot="main", phase="running", serving=OLD.ref)
        self.members[device] = Member(device=device, wave=wave, birth=birth, report=report, standing_s=self.now_s)
        self.documents[device] = ((1, 1), OLD)

    def tick(self, passed_s: float = 0.0) -> list[act.Action]:
        """Let time pass, decide, carry out."""
        self.now_s += passed_s
        actions = self.engine(self.rollout, list(self.members.values()), self.now_s, self._newcomers())
        for action in actions:
            self._carry_out(action)
        self.told += actions
        return actions

    def _newcomers(self) -> list[Candidate]:
        """Those outside, and those set apart, as the operations give them."""
        apart = {
            device for device, member in self.members.items() if member.standing == "incompatible" and not member.wave
        }
        births = {device: self.members[device].birth for device in apart} | self.outside
        return [Candidate(device=device, online=True, birth=birth) for device, birth in births.items()]

    @property
    def ended(self) -> bool:
        return self.rollout.state not in LIVE

    @property
    def standings(self) -> dict[str, str]:
        return {device: member.standing for device, member in self.members.items()}

    def sent(self) -> list[str]:
        return [action.device for action in self.told if isinstance(action, act.Send)]

    def change(self, device: str, **values: object) -> None:
        self.members[device] = msgspec.structs.replace(self.members[device], **values)

    def accept(self, device: str, phase: Phase = "download") -> None:
        """The device takes its document, and is busy with it."""
        order, wanted = self.documents[device]
        candidate = wanted.ref if wanted is not None else None
        report = SlotReport(slot="main", phase=phase, serving=OLD.ref, candidate=candidate)
        self.change(device, accepted=order, report=report)

    def settle(self, device: str, result: Result = "committed", reason: str = "") -> None:
        """The device ends its attempt at whatever its document asks for."""
        order, wanted = self.documents[device]
        serving = wanted.ref if wanted is not None and result == "committed" else OLD.ref
        outcome = quarantine = None
        if wanted is not None:
            outcome = Outcome(
                ref=wanted.ref, epoch=order[0], generation=order[1], result=result, phase="probation", reason=reason
            )
            quarantine = QuarantineEntry(artifact=wanted.artifact, reason=reason) if result != "committed" else None
        report = SlotReport(
            slot="main",
            phase="running",
            serving=serving,
            outcome=outcome,
            quarantine=(quarantine,) if quarantine else (),
        )
        self.change(device, accepted=order, report=report)

    def answer(self, device: str, inferences: int, errors: int = 0) -> None:
        """Telemetry of the version arrives from the device."""
        seen = self.members[device].behaviour
        self.change(device, behaviour=Behaviour(inferences=seen.inferences + inferences, errors=seen.errors + errors))

    def _carry_out(self, action: act.Action) -> None:
        match action:
            case act.Classify(device=device, standing=standing, reason=reason):
                since_s = self.members[device].standing_s if self.members[device].standing == standing else self.now_s
                self.change(device, standing=standing, reason=reason, standing_s=since_s)
            case act.Judge(results=results):
                self.gates = results
            case act.Promote(wave=wave):
                self.rollout = msgspec.structs.replace(self.rollout, wave=wave, wave_opened_s=self.now_s)
            case act.Send(device=device):
                order = self._write(device, NEW)
                before = self.members[device].sent
                attempts = before.attempts + 1 if before is not None else 1
                sent = Sent(assignment=NEW, previous=OLD, order=order, at_s=self.now_s, attempts=attempts)
                self.change(device, sent=sent, standing="sent", reason="", standing_s=self.now_s)
            case act.Join():
                self._join(action)
            case act.Rewind():
                self._rewind()
            case act.Revert(ending=ending, reason=reason, restore_from=wave):
                self.rollout = msgspec.structs.replace(
                    self.rollout, state="reverting", ending=ending, reason=reason, restore_from=wave
                )
            case act.Restore(device=device):
                sent_before = self.members[device].sent
                assert sent_before is not None
                order = self._write(device, sent_before.previous)
                self.change(device, restored=Restored(order=order, at_s=self.now_s))
            case act.Finish(state=state, reason=reason):
                self.rollout = msgspec.structs.replace(self.rollout, state=state, reason=reason)

    def _join(self, action: act.Join) -> None:
        if action.device in self.outside:
            self._admit(action.device, action.wave, self.outside.pop(action.device))
        standing = "waiting" if action.wave else "incompatible"
        self.change(action.device, wave=action.wave, standing=standing, reason=action.reason, standing_s=self.now_s)

    def _rewind(self) -> None:
        opened_s, created_s = min(self.rollout.wave_opened_s, self.now_s), min(self.rollout.created_s, self.now_s)
        self.rollout = msgspec.structs.replace(self.rollout, wave_opened_s=opened_s, created_s=created_s)
        for device, member in self.members.items():
            sent, restored = member.sent, member.restored
            self.change(
                device,
                standing_s=min(member.standing_s, self.now_s),
                presence_s=min(member.presence_s, self.now_s),
                sent=msgspec.structs.replace(sent, at_s=min(sent.at_s, self.now_s)) if sent else None,
                restored=msgspec.structs.replace(restored, at_s=min(restored.at_s, self.now_s)) if restored else None,
            )

    def _write(self, device: str, wanted: Assignment | None) -> Order:
        epoch, generation = self.documents[device][0]
        self.documents[device] = ((epoch, generation + 1), wanted)
        return (epoch, generation + 1)
