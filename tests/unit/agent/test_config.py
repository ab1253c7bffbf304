"""The configuration and the command line: what is wrong, where, in one line."""

from pathlib import Path

import pytest

from wherry.agent.adapters.store.record import FORMAT, pack
from wherry.agent.config import Config, FeedConfig, load
from wherry.agent.errors import BadConfig

GOOD = 'device = "boat-1"\nfleet = "harbour"\nstate_dir = "state"\n'


def _load(directory: Path, text: str, **environment: str) -> Config:
    path = directory / "agent.toml"
    path.write_text(text)
    return load(path, environment)


def test_defaults_are_enough(tmp_path: Path) -> None:
    config = _load(tmp_path, GOOD)
    assert config.broker.port == 1883
    assert tuple(config.slots) == ("main",)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = _load(tmp_path, GOOD + '[slots.main.feed]\ndirectory = "feed"\nrate_hz = 20\n')
    assert config.state_dir == str(tmp_path / "state")
    assert config.slots["main"].feed == FeedConfig(directory=str(tmp_path / "feed"), rate_hz=20)


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        GOOD + "[broker]\nport = 1\n",
        WHERRY_AGENT_DEVICE="boat-2",
        WHERRY_AGENT_BROKER_PORT="2883",
        WHERRY_AGENT_BROKER_KEEPALIVE_S="60",
        WHERRY_AGENT_TELEMETRY_WINDOW_S="2.5",
        HOME="/nowhere",
    )
    assert (config.device, config.broker.port, config.broker.keepalive_s) == ("boat-2", 2883, 60)
    assert config.telemetry_window_s == 2.5


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("device =", "is not TOML"),
        ('fleet = "f"\nstate_dir = "s"\n', "missing required field `device`"),
        (GOOD.replace("boat-1", "Boat 1"), "device: Expected `str` matching regex"),
        (GOOD + "[broker]\nport = 70000\n", "broker.port: Expected `int` <= 65535"),
        (GOOD + "[broker]\nprot = 5\n", "broker: Object contains unknown field `prot`"),
        (GOOD + 'runtime = "onnx"\n', "runtime: Invalid enum value 'onnx'"),
        (GOOD + "telemetry_window_s = 0\n", "telemetry_window_s: Expected `float` >= 0.5"),
        (
            GOOD + '[slots.main.results]\nlog = "x"\n',
            "slots.<name>: results are those of a feed, and the slot has none",
        ),
        (
            GOOD + '[slots.main.feed]\ntopic = "a"\n[slots.main.results]\ntopic = "a"\n',
            "slots.<name>: results must go to another topic",
        ),
        (
            GOOD + '[slots.main.feed]\ntopic = "a"\n[slots.main.results]\nlog = ""\n',
            "slots.<name>.results: log, topic and command are left out",
        ),
        (
            GOOD + '[slots.main.feed]\ntopic = "a/#"\n[slots.main.results]\ntopic = "a/b"\n',
            "slots.<name>: results must go to another topic",
        ),
        (
            GOOD + '[slots.main.feed]\ntopic = "a/#/b"\n',
            "slots.<name>.feed: topic is no filter of MQTT: + and # stand alone between slashes, # comes last",
        ),
        (GOOD + '[slots.main.feed]\ntopic = ""\n', "slots.<name>.feed: topic is no filter of MQTT"),
        (
            GOOD + '[slots.main.feed]\ntopic = "a"\n[slots.main.results]\ntopic = "b/+/c"\n',
            "slots.<name>.results: nothing can be published on a topic with + or #",
        ),
        (GOOD + "[slots.agent]\n", "a slot cannot be named agent: its socket would be that of the agent itself"),
        (GOOD + '[slots.main]\n[slots."main.fast"]\n', "a slot cannot be named main.fast: names of sockets end so"),
        (GOOD + "[slots.main.feed]\nrate_hz = 1\n", "slots.<name>.feed: a feed has one of directory, camera and topic"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(BadConfig) as caught:
        _load(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "agent.toml"))
    assert problem in str(caught.value)


def test_names_that_only_look_like_those_of_sockets_are_taken(tmp_path: Path) -> None:
    """The negative control."""
    config = _load(tmp_path, GOOD + '[slots.agents]\n[slots."main.fast.2"]\n[slots.fast]\n')
    assert set(config.slots) == {"agents", "main.fast.2", "fast"}


def test_an_unknown_variable_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="environment variable WHERRY_AGENT_BROKR_PORT: no such key: brokr_port"):
        _load(tmp_path, GOOD, WHERRY_AGENT_BROKR_PORT="1")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="cannot be read: No such file"):
        load(tmp_path / "none.toml", {})


def test_the_command_exits_with_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from wherry.agent.__main__ import main

    (tmp_path / "agent.toml").write_text(GOOD)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.a").write_bytes(pack(1, b"later", record_format=FORMAT + 1))
    assert main(["run", "--config", str(tmp_path / "none.toml")]) == 2
    assert main(["--config", str(tmp_path / "agent.toml")]) == 2
    missing, newer = capsys.readouterr().err.splitlines()
    assert missing == f"wherry-agent: {tmp_path}/none.toml: cannot be read: No such file or directory"
    said = f"wherry-agent: {tmp_path}/state: state of format {FORMAT + 1} was written by a newer agent"
    assert newer.startswith(said)


def test_a_key_deep_down_is_reached_by_its_path(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        GOOD + '[slots.main.feed]\ndirectory = "feed"\n',
        WHERRY_AGENT_LABELS__SITE="north",
        WHERRY_AGENT_SLOTS__MAIN__FEED__RATE_HZ="25",
        WHERRY_AGENT_SLOTS__SIDE__THREADS="2",
        WHERRY_AGENT_DATA_PLANE_SOCKET_MODE="600",
        WHERRY_AGENT_BROKER__PORT="2883",
    )
    assert (config.labels, config.broker.port, config.data_plane.socket_mode) == ({"site": "north"}, 2883, "600")
    feed = config.slots["main"].feed
    assert feed is not None
    assert (feed.rate_hz, config.slots["side"].threads) == (25, 2)


def test_a_path_through_a_value_is_refused_by_its_variable(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="WHERRY_AGENT_DEVICE__NAME: device is a value in the file, and no table"):
        _load(tmp_path, GOOD, WHERRY_AGENT_DEVICE__NAME="x")
