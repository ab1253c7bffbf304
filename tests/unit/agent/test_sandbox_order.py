"""What the supervisor orders for workers, from the configuration."""

import os

import msgspec
import psutil
import pytest

from wherry.agent.adapters import sandbox
from wherry.agent.adapters.sandbox import MAPPED_BYTES, shortcomings, worker_sandbox
from wherry.agent.cli.check_board import check_sandbox
from wherry.agent.config import Config, FeedConfig, SandboxConfig, SlotConfig, WorkerConfig
from wherry.agent.errors import BadConfig
from wherry.agent.worker.fast import MAX_CONNECTIONS

CONFIG = Config(device="board-1", fleet="harbour", state_dir="/nowhere")


def config(**keys: object) -> Config:
    return msgspec.structs.replace(CONFIG, sandbox=SandboxConfig(**keys))  # type: ignore[arg-type]


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_a_sandbox_that_is_switched_off_is_none_and_lacks_nothing() -> None:
    assert worker_sandbox(config(enabled=False)) is None
    assert shortcomings(config(enabled=False)) == []


def test_memory_is_what_the_board_has_unless_it_is_given() -> None:
    usual, given = worker_sandbox(CONFIG), worker_sandbox(config(memory_bytes=2**30))
    assert usual is not None
    assert given is not None
    assert usual.memory_bytes == psutil.virtual_memory().total + MAPPED_BYTES
    assert given.memory_bytes == 2**30


def test_processor_time_is_enough_for_every_thread_until_the_limits_of_the_supervisor() -> None:
    slots = {"main": SlotConfig(), "other": SlotConfig(threads=4)}
    limits = WorkerConfig(load_limit_s=10, self_test_limit_s=20)
    order = worker_sandbox(msgspec.structs.replace(CONFIG, slots=slots, worker=limits))
    assert order is not None
    assert order.cpu_s >= 4 * (10 + 20)


def test_threads_are_enough_for_all_that_may_run_as_the_same_user_after_a_worker_was_loaded() -> None:
    slots = {"main": SlotConfig(feed=FeedConfig(topic="a")), "side": SlotConfig(threads=8)}
    order = worker_sandbox(msgspec.structs.replace(CONFIG, slots=slots))
    assert order is not None
    supervisor, feeder, workers_of_main, workers_of_side = 64, 64, 2 * (64 + 1), 2 * (64 + 8)
    assert order.processes == supervisor + feeder + workers_of_main + workers_of_side
    assert MAX_CONNECTIONS < 64, "a worker has a thread for each, and others"


@pytest.mark.usefixtures("root")
def test_root_gives_workers_another_user_and_the_groups_that_are_named() -> None:
    order = worker_sandbox(config(user="nobody", groups=("video",)))
    assert order is not None
    assert order.uid
    assert order.gid
    assert len(order.groups) == 1


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("key", ["user", "groups"])
def test_a_user_or_group_that_is_not_there_is_named(key: str) -> None:
    with pytest.raises(BadConfig, match=rf"sandbox\.{key}: there is no stowaway on this board"):
        worker_sandbox(config(**{key: "stowaway" if key == "user" else ("stowaway",)}))


def test_who_is_not_root_stays_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    order = worker_sandbox(config(user="stowaway", groups=("stowaway",)))
    assert order is not None
    assert (order.uid, order.gid, order.groups) == (None, None, ())


@pytest.mark.usefixtures("root")
def test_a_board_without_users_or_libseccomp_says_so_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "USERS", ("stowaway",))
    monkeypatch.setattr(sandbox, "LIBRARY", "libnowhere.so.2")
    told = shortcomings(CONFIG)
    assert "workers run as root: there is no user stowaway" in told
    assert any("libnowhere.so.2 is missing" in lack for lack in told)
    assert not any("system calls" in lack for lack in shortcomings(config(seccomp=False)))


@pytest.mark.usefixtures("root")
def test_the_doctor_tells_what_is_lacking_and_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [check.verdict for check in check_sandbox(config(enabled=False))] == ["warn"]
    (wrong,) = check_sandbox(config(user="stowaway"))
    assert (wrong.verdict, wrong.says) == ("fail", "sandbox.user: there is no stowaway on this board")
    monkeypatch.setattr(sandbox, "LIBRARY", "libnowhere.so.2")
    told = [*check_sandbox(CONFIG)]
    assert {check.verdict for check in told} == {"warn"}
    assert any("libnowhere.so.2 is missing" in check.says for check in told)
