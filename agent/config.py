"""The agent's configuration: one TOML file, overridden by environment variables.

A key `broker.port` is overridden by `WHERRY_AGENT_BROKER_PORT`, and one deeper down, such as
`slots.main.feed.rate_hz` or `labels.site`, by its path with two underscores: `WHERRY_AGENT_SLOTS__MAIN__FEED__RATE_HZ`.
Every field has a docstring below it, of which the reference page is made. Units are in the names. Whatever is
wrong is said in one line with the file and the key, before anything starts.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from wherry.agent.core.topic_filter import is_filter, is_topic, matches
from wherry.agent.errors import BadConfig
from wherry.protocol.types import DeviceId, Name

ENV_PREFIX = "WHERRY_AGENT_"
MIB = 1024 * 1024

SECTIONS = ("broker", "artifacts", "worker", "data_plane", "sandbox")
"""Tables whose keys an environment variable can name."""

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Bytes = Annotated[int, msgspec.Meta(ge=0)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A misspelt key must not pass for its default."""


class BrokerConfig(_Section, frozen=True, kw_only=True):
    """`auto` tries MQTT 5, then 3.1.1, which NATS and older RabbitMQ speak."""

    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    """Name or address of the broker; a name that does not resolve is tried again."""
    port: Port = 1883
    """TCP port of the broker."""
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    """Version of MQTT. `auto`: 5 first, 3.1.1 where nobody answers within 5 s."""
    keepalive_s: Annotated[int, msgspec.Meta(ge=5, le=3600)] = 30
    """A lost device is noticed after one and a half times this; a cellular link wants more."""
    session_expiry_s: Annotated[int, msgspec.Meta(ge=0)] = 7 * 24 * 3600
    """How long the broker keeps orders for a device that is away; the desired document is kept for ever."""
    reconnect_limit_s: Positive = 60.0
    """The longest wait between two tries; waits are jittered from zero, so that a fleet does not call at once."""


class FeedConfig(_Section, frozen=True, kw_only=True):
    """What drives the slot where no app does; exactly one of `directory`, `camera` and `topic`."""

    directory: str | None = None
    """Directory of `.npz` files, read in name order, again and again."""
    camera: str | None = None
    """Camera, as OpenCV names it: a number, a device such as `/dev/video0`, or a URL."""
    topic: str | None = None
    """MQTT topic, or filter, whose messages are inputs: a tensor's raw bytes, or a request in JSON."""
    broker: Annotated[str, msgspec.Meta(pattern=r"^[^:/]+(:[0-9]{1,5})?$")] = "127.0.0.1:1883"
    """Broker of `topic`, as `host:port`: mostly one on the board itself, not the fleet's."""
    rate_hz: Annotated[float, msgspec.Meta(gt=0, le=10_000)] = 10.0
    """Inferences per second at most. Of a topic, a camera or a slow model it may be fewer."""

    def __post_init__(self) -> None:
        """Raises ValueError, on decoding ValidationError."""
        if sum(source is not None for source in (self.directory, self.camera, self.topic)) != 1:
            raise ValueError("a feed has one of directory, camera and topic")
        if self.topic is not None and not is_filter(self.topic):
            raise ValueError("topic is no filter of MQTT: + and # stand alone between slashes, # comes last")


class ResultsConfig(_Section, frozen=True, kw_only=True):
    """Where the answers to a feed go; none is needed, several may be given."""

    log: str | None = None
    """File to which a line of JSON is added for each answer; begun anew at `log_max_bytes`, the one before is kept."""
    log_max_bytes: Bytes = 4 * MIB
    """Size at which the file of `log` is begun anew; with the one before it, twice as much is used."""
    topic: str | None = None
    """MQTT topic, at the feed's broker, to which each answer is published as JSON."""
    command: tuple[str, ...] = ()
    """Process that reads a line of JSON for each answer on its standard input; started again when it ends."""

    def __post_init__(self) -> None:
        """Raises ValueError, on decoding ValidationError."""
        if self.log == "" or self.topic == "" or "" in self.command[:1]:
            raise ValueError("log, topic and command are left out where there is none, and not empty")
        if self.topic is not None and not is_topic(self.topic):
            raise ValueError("nothing can be published on a topic with + or #, nor on one of more than 65,535 bytes")


class SlotConfig(_Section, frozen=True, kw_only=True):
    """One slot. A name of its own for each model that the device runs at the same time.

    Not `agent`, and none that ends in `.fast`: names of other sockets end so.
    """

    feed: FeedConfig | None = None
    """Drives the slot without an app."""
    results: ResultsConfig | None = None
    """Where the answers to the feed go."""
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Threads of the interpreter. More help large models only."""
    http_port: Port | None = None
    """TCP port on 127.0.0.1 for the data plane, beside the Unix socket; none unless given."""

    def __post_init__(self) -> None:
        """Raises ValueError, on decoding ValidationError."""
        if self.results is None:
            return
        if self.feed is None:
            raise ValueError("results are those of a feed, and the slot has none")
        asked, told = self.feed.topic, self.results.topic
        if asked is not None and told is not None and matches(asked, told):
            raise ValueError("results must go to another topic than the feed's, or each answer would be a sample")


class DataPlaneConfig(_Section, frozen=True, kw_only=True):
    """The sockets on which apps ask for predictions: `<slot>.sock` speaks HTTP, `<slot>.fast.sock` frames."""

    directory: str = ""
    """Directory of the sockets. Empty: what systemd gives as RUNTIME_DIRECTORY, else `sockets` in `state_dir`."""
    socket_mode: Annotated[str, msgspec.Meta(pattern=r"^0?[0-7]{3}$")] = "660"
    """Permissions of the sockets: who may ask for predictions."""
    max_request_bytes: Annotated[int, msgspec.Meta(ge=4096)] = 16 * MIB
    """Larger requests are refused: a board has little memory."""
    drain_s: Annotated[float, msgspec.Meta(ge=0)] = 5.0
    """How long a connection on which nothing is asked is kept when another worker takes over."""


class SandboxConfig(_Section, frozen=True, kw_only=True):
    """What is taken from workers: a model is a program that somebody else wrote."""

    enabled: bool = True
    """Off only to find out whether the sandbox is what stops a model."""
    memory_bytes: Bytes = 0
    """Address space of a worker. 0: as much memory as the board has, and 2 GiB for what is mapped but never used."""
    user: str = ""
    """User that workers run as where the agent is root. Empty: `wherry-worker` where there is one, else `nobody`."""
    groups: tuple[str, ...] = ()
    """Groups that such workers keep, for an accelerator: mostly `video` or `render`."""
    seccomp: bool = True
    """System calls that inference does not need are refused, once the model is warm."""


class ArtifactsConfig(_Section, frozen=True, kw_only=True):
    """Limits on what is fetched and kept."""

    max_bytes: Bytes = 512 * MIB
    """Larger artifacts are refused before anything of them is fetched."""
    disk_reserve_bytes: Bytes = 64 * MIB
    """Left free for everything else on the board: a full root partition stops more than us."""
    ram_reserve_bytes: Bytes = 32 * MIB
    """Memory that a version must leave free, or it is refused before it is tried."""
    window_blocks: Annotated[int, msgspec.Meta(ge=1, le=256)] = 16
    """1 MiB on its way: enough for a fast link, little enough for a small broker queue."""
    stall_s: Positive = 5.0
    """Silence after which blocks are asked for over the other transport."""
    give_up_s: Positive = 1800.0
    """Silence after which an attempt is rejected; time offline does not count."""


class WorkerConfig(_Section, frozen=True, kw_only=True):
    """Limits on a worker's answers and restarts."""

    load_limit_s: Positive = 60.0
    """A worker that has not loaded its model by then is killed; so is one that does not begin to serve."""
    self_test_limit_s: Positive = 120.0
    """A worker that has not run its golden vectors by then is killed."""
    stop_limit_s: Positive = 10.0
    """How long a worker may finish what it answers. The service's TimeoutStopSec must be longer."""
    silence_limit_s: Positive = 60.0
    """A serving worker that says nothing this long hangs; far more than one inference should take. So does a feeder."""
    restart_base_s: Positive = 0.2
    """The longest wait before a failed worker is started again for the first time; it doubles with each failure."""
    restart_limit_s: Positive = 30.0
    """The longest that this wait becomes."""
    max_failures: Annotated[int, msgspec.Meta(ge=1)] = 5
    """Failures in a row of the incumbent's worker before the agent falls back."""
    stable_s: Positive = 30.0
    """A worker that served this long has recovered: the next failure is counted from one."""
    samples_bytes: Annotated[int, msgspec.Meta(ge=0, le=64 * MIB)] = 8 * MIB
    """Most memory a worker may use for its last inputs, up to 100, which a new version is compared on; they stay on
    the board. It counts as the worker's. 0 keeps none."""


class Config(_Section, frozen=True, kw_only=True):
    """The device itself; these keys stand at the top of the file, before any table."""

    device: DeviceId
    """Name of this device, unique in the fleet: lower case letters, digits and hyphens; also its MQTT client id."""
    fleet: Name
    """Name of the fleet, the same as the controller's."""
    state_dir: Annotated[str, msgspec.Meta(min_length=1)]
    """Directory for everything that must outlive a restart; one agent each."""
    runtime: Literal["auto", "litert", "tflite-runtime"] = "auto"
    """Runtime of the workers. `auto`: whichever work on this board, LiteRT first."""
    labels: dict[str, str] = {}
    """Labels that rollouts can select by, such as `site = "north"`."""
    telemetry_window_s: Annotated[float, msgspec.Meta(ge=0.5, le=3600)] = 10.0
    """How often each slot sends telemetry."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least serious lines that are logged, and sent up."""
    broker: BrokerConfig = BrokerConfig()
    artifacts: ArtifactsConfig = ArtifactsConfig()
    worker: WorkerConfig = WorkerConfig()
    data_plane: DataPlaneConfig = DataPlaneConfig()
    sandbox: SandboxConfig = SandboxConfig()
    slots: Annotated[dict[Name, SlotConfig], msgspec.Meta(min_length=1, max_length=8)] = msgspec.field(
        default_factory=lambda: {"main": SlotConfig()}
    )

    def __post_init__(self) -> None:
        """No two sockets may have one name. Raises ValueError, on decoding ValidationError."""
        for name in self.slots:
            if name == "agent":
                raise ValueError("a slot cannot be named agent: its socket would be that of the agent itself")
            if name.endswith(".fast"):
                raise ValueError(f"a slot cannot be named {name}: names of sockets end so")


def load(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Read and check the configuration; relative paths in it are relative to it. Raises BadConfig."""
    try:
        raw = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadConfig(str(path), "", f"cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(str(path), "", f"is not TOML: {error}") from error
    for name, value in (os.environ if environment is None else environment).items():
        if name.startswith(ENV_PREFIX):
            _override(raw, name, value)
    try:
        config = msgspec.convert(raw, Config, strict=False)
    except msgspec.ValidationError as error:
        raise _explain(str(path), str(error)) from error
    return _anchored(config, path.resolve().parent)


def _override(raw: dict[str, Any], name: str, value: str) -> None:
    """Set the key that an environment variable names. Raises BadConfig where there is none of that name."""
    *tables, key = _path(name)
    table: Any = raw
    for part in tables:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise BadConfig(f"environment variable {name}", "", f"{part} is a value in the file, and no table")
    table[key] = value


def _path(name: str) -> list[str]:
    """Two underscores lead one level down; sections need but one, for their names are known."""
    key = name.removeprefix(ENV_PREFIX).lower()
    if "__" in key:
        return key.split("__")
    section = next((entry for entry in SECTIONS if key.startswith(entry + "_")), None)
    if section is not None:
        return [section, key.removeprefix(section + "_")]
    if key not in Config.__struct_fields__:
        raise BadConfig(f"environment variable {name}", "", f"no such key: {key}")
    return [key]


def _explain(source: str, problem: str) -> BadConfig:
    """msgspec says ``Expected `int` - at `$.broker.port` ``; turn it round."""
    what, _, where = problem.partition(" - at `")
    return BadConfig(source, where.rstrip("`").removeprefix("$").removeprefix(".").replace("[...]", ".<name>"), what)


def _anchored(config: Config, directory: Path) -> Config:
    """With every path that is relative to the file made absolute."""
    replace = msgspec.structs.replace
    slots = {name: _anchored_slot(slot, directory) for name, slot in config.slots.items()}
    state_dir = str(directory / config.state_dir)
    sockets = config.data_plane.directory or os.environ.get("RUNTIME_DIRECTORY") or f"{state_dir}/sockets"
    data_plane = replace(config.data_plane, directory=str(directory / sockets))
    return replace(config, state_dir=state_dir, slots=slots, data_plane=data_plane)


def _anchored_slot(slot: SlotConfig, directory: Path) -> SlotConfig:
    replace = msgspec.structs.replace
    if slot.feed is not None and slot.feed.directory is not None:
        slot = replace(slot, feed=replace(slot.feed, directory=str(directory / slot.feed.directory)))
    if slot.results is not None and slot.results.log is not None:
        slot = replace(slot, results=replace(slot.results, log=str(directory / slot.results.log)))
    return slot
