"""A controller without a network: a real database, versions, and devices that report what a test says."""

import functools
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tests.support.berths import Berth
from tests.support.controller_values import make_birth, make_manifest
from wherry.controller.operations import devices, ingest, registry
from wherry.controller.operations.desired import all_publications
from wherry.controller.operations.registry import VersionView
from wherry.controller.store.database import Database, open_database
from wherry.protocol.blob import BlobRef, describe
from wherry.protocol.down.desired import Assignment, Desired
from wherry.protocol.latency import LatencyWindow
from wherry.protocol.manifest import Variant
from wherry.protocol.runtime import Runtime
from wherry.protocol.types import VersionRef
from wherry.protocol.up import Event, Reported, Status, Telemetry
from wherry.protocol.up.event import EventKind
from wherry.protocol.up.reported import Agreement, Outcome, Phase, QuarantineEntry, Result, SlotReport
from wherry.protocol.up.telemetry import SystemReading

SYSTEM = SystemReading(
    cpu_share=0.2, load_1min=0.5, ram_available_bytes=2**29, disk_free_bytes=2**33, supervisor_rss_bytes=2**25
)

FLEET = ("pi-1", "pi-2", "pi-3", "pi-4")


@functools.cache
def _empty() -> bytes:
    """An SQLite database with its tables: migrating takes longer than most tests of what is in it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "empty.db"
        open_database(path).close()
        return path.read_bytes()


class Depot:
    """`kept` are the manifests that were stored, by digest. `now_s` is the time of everything."""

    def __init__(self, place: Path | str | Berth) -> None:
        if isinstance(place, Path) and not place.exists():
            place.write_bytes(_empty())
        self.path = place.place if isinstance(place, Berth) else place
        self._open = place.open if isinstance(place, Berth) else functools.partial(open_database, place)
        self.db = self._open()
        self.now_s = 1000.0
        self.kept: dict[str, bytes] = {}
        self._windows = 0
        self._quarantine: dict[str, tuple[QuarantineEntry, ...]] = {}

    @classmethod
    def of(cls, db: Database, now_s: float) -> "Depot":
        """Round a database that is open already; it is not closed with it."""
        depot = cls.__new__(cls)
        depot.db, depot.now_s, depot.kept = db, now_s, {}
        depot._windows, depot._quarantine = 0, {}
        return depot

    def reopen(self) -> None:
        """What a controller that was killed finds when it starts again."""
        self.db.close()
        self.db = self._open()

    def keep(self, data: bytes) -> BlobRef:
        ref = describe(data)
        self.kept[ref.digest] = data
        return ref

    def version(self, salt: str, *variants: Variant, model: str = "digits") -> VersionView:
        """Register the next version of the model, of bytes that `salt` decides."""
        manifest = make_manifest(salt, *variants, model=model)
        for variant in manifest.variants:
            registry.add_blob(self.db, variant.artifact, now_s=self.now_s)
            registry.add_blob(self.db, variant.golden, now_s=self.now_s)
        return registry.create_version(self.db, manifest, report=b"{}", keep=self.keep, now_s=self.now_s, actor="ann")

    def device(
        self, device: str, *runtimes: Runtime, online: bool = True, labels: dict[str, str] | None = None
    ) -> None:
        """A board is switched on: it says that it is there, what it can run, and that it runs nothing."""
        presence = "online" if online else "offline"
        ingest.apply_status(self.db, device, Status(presence=presence, session=1), now_s=self.now_s)
        ingest.apply_birth(self.db, device, make_birth(*runtimes, labels=labels or {}), now_s=self.now_s)
        empty = Reported(epoch=0, generation=0, slots=(SlotReport(slot="main", phase="empty"),))
        ingest.apply_reported(self.db, device, empty, now_s=self.now_s)

    def desired(self, device: str) -> Desired:
        """The document that would be published to the device, as it stands in the database."""
        found = {entry.device: entry.desired for entry in all_publications(self.db)}
        return found.get(device, Desired(epoch=1, generation=0))

    def wanted(self, device: str) -> Assignment | None:
        return next((entry for entry in self.desired(device).slots if entry.slot == "main"), None)

    def runs(self, device: str) -> VersionRef | None:
        """What the device last said that it serves."""
        found = {entry.id: entry for entry in devices.list_devices(self.db)}[device]
        return next((slot.serving for slot in found.slots), None)

    def commit(self, *names: str) -> None:
        """The devices take their documents and do as they are told."""
        for device in names:
            wanted = self.wanted(device)
            serving = wanted.ref if wanted is not None else self.runs(device)
            self._report(device, serving, "committed", "")

    def refuse(self, device: str, result: Result, reason: str) -> None:
        """The device takes its document, and keeps what it runs."""
        self._report(device, self.runs(device), result, reason)

    def trying(self, device: str, phase: Phase) -> None:
        """The device has taken its document and is busy with it; what it said of earlier attempts it says still."""
        desired, wanted = self.desired(device), self.wanted(device)
        assert wanted is not None
        (before,) = {entry.id: entry for entry in devices.list_devices(self.db)}[device].slots
        slot = msgspec.structs.replace(before, phase=phase, candidate=wanted.ref)
        reported = Reported(epoch=desired.epoch, generation=desired.generation, slots=(slot,))
        ingest.apply_reported(self.db, device, reported, now_s=self.now_s)

    def agree(self, device: str, agreed: int, compared: int) -> None:
        """The device says what it runs answered as what ran before, so many times."""
        serving = self.runs(device)
        assert serving is not None
        (before,) = {entry.id: entry for entry in devices.list_devices(self.db)}[device].slots
        found = Agreement(artifact=serving.artifact, against="0" * 64, compared=compared, agreed=agreed)
        desired = self.desired(device)
        slot = msgspec.structs.replace(before, agreement=found)
        reported = Reported(epoch=desired.epoch, generation=desired.generation, slots=(slot,))
        ingest.apply_reported(self.db, device, reported, now_s=self.now_s)

    def report(self, device: str, epoch: int, generation: int) -> None:
        """The device says that it has accepted a document of this order, whoever gave it, and is at rest."""
        serving = self.runs(device)
        slot = SlotReport(slot="main", phase="running" if serving is not None else "empty", serving=serving)
        reported = Reported(epoch=epoch, generation=generation, slots=(slot,))
        ingest.apply_reported(self.db, device, reported, now_s=self.now_s)

    def telemetry(
        self, device: str, ref: VersionRef, *, latencies_ms: Iterable[float] = (1.0,), errors: int = 0, correct: int = 0
    ) -> bool:
        """One window with an inference for every latency, all labelled."""
        latency = LatencyWindow()
        for latency_ms in latencies_ms:
            latency.add(latency_ms)
        self._windows += 1
        window = Telemetry(
            boot_id="b1", window=self._windows, window_s=10.0, slot="main", ref=ref, phase="running",
            inferences=latency.count, errors=errors, latency=latency.sketch(), labelled=latency.count,
            correct=correct, system=SYSTEM,
        )  # fmt: skip
        return ingest.apply_telemetry(self.db, device, window, now_s=self.now_s)

    def event(self, device: str, seq: int, kind: EventKind, ref: VersionRef | None = None, reason: str = "") -> bool:
        event = Event(boot_id="b1", seq=seq, at_s=5.0, kind=kind, slot="main", ref=ref, reason=reason)
        return ingest.apply_event(self.db, device, event, now_s=self.now_s)

    def step(self, device: str, seq: int, ref: VersionRef, before: str, after: str) -> bool:
        """The device tells of a step of an update."""
        event = Event(
            boot_id="b1", seq=seq, at_s=self.now_s, kind="transition", slot="main", ref=ref,
            from_phase=before, to_phase=after,
        )  # fmt: skip
        return ingest.apply_event(self.db, device, event, now_s=self.now_s)

    def _report(self, device: str, serving: VersionRef | None, result: Result, reason: str) -> None:
        desired, wanted = self.desired(device), self.wanted(device)
        order = {"epoch": desired.epoch, "generation": desired.generation}
        outcome = None
        if wanted is not None:
            outcome = Outcome(ref=wanted.ref, result=result, phase="probation", reason=reason, **order)
            if result != "committed":
                bad = QuarantineEntry(artifact=wanted.artifact, reason=reason)
                self._quarantine[device] = (*self._quarantine.get(device, ()), bad)
        phase = "running" if serving is not None else "empty"
        quarantine = self._quarantine.get(device, ())
        slot = SlotReport(slot="main", phase=phase, serving=serving, outcome=outcome, quarantine=quarantine)
        ingest.apply_reported(self.db, device, Reported(slots=(slot,), **order), now_s=self.now_s)
