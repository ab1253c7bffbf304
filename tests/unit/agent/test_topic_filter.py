"""What is a topic and what a filter, and which matches which, as the MQTT client has it."""

import itertools

import pytest
from paho.mqtt.client import topic_matches_sub

from tests.conftest import Tried
from wherry.agent.core.topic_filter import is_filter, is_topic, matches


def test_every_short_filter_matches_as_the_client_says(tried: Tried) -> None:
    levels = ["", "a", "b", "$x"]
    topics = ["/".join(parts) for length in (1, 2, 3) for parts in itertools.product(levels, repeat=length)]
    filters = {"/".join(parts) for n in (1, 2, 3) for parts in itertools.product([*levels, "+", "#"], repeat=n)}
    cases = [(wanted, topic) for wanted in sorted(filters) if is_filter(wanted) for topic in topics if is_topic(topic)]
    wrong = [case for case in cases if matches(*case) != topic_matches_sub(*case)]
    assert wrong == []
    assert any(matches(*case) for case in cases if "+" in case[0])
    tried(f"{len(cases)} pairs of a filter and a topic")


@pytest.mark.parametrize("text", ["", "a\0b", "a" * 65_536, "a/b#", "#/a", "a+", "a/+b/c", "$share/group/a#"])
def test_what_no_broker_takes_is_neither(text: str) -> None:
    assert not is_topic(text)
    assert not is_filter(text)


@pytest.mark.parametrize("text", ["#", "+", "a/#", "a/+/b", "+/+/#", "$share/group/a/#"])
def test_wildcards_are_for_filters_alone(text: str) -> None:
    assert is_filter(text)
    assert not is_topic(text)


def test_of_a_shared_subscription_the_filter_counts() -> None:
    assert matches("$share/group/a/#", "a/b")
    assert not matches("$share/group/a/#", "group/a")
