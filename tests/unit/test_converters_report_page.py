"""The report's page: complete, the same each time, small, and harmless whatever a model's author wrote into it."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import msgspec
import pytest

from tests.support import reports
from wherry.converters.report import Confusion, FamilyResult, Report
from wherry.converters.report_page import verdict, words
from wherry.converters.report_page.page import render

pytestmark = pytest.mark.slow

VOID = {"meta", "br", "hr", "img", "link", "input"}
MAX_BYTES = 1_000_000


class Page(HTMLParser):
    """What a browser makes of it. Every element that is opened is closed, in order."""

    def __init__(self, data: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(data.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} stands twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def attributes(self, tag: str, name: str) -> list[str | None]:
        return [attributes.get(name) for found, attributes in self.tags if found == tag]

    def sections(self) -> list[str | None]:
        return self.attributes("section", "id")


@pytest.fixture(scope="module")
def pages() -> dict[str, bytes]:
    return {name: render(make()) for name, make in reports.SAMPLES.items()}


@pytest.mark.parametrize("name", reports.SAMPLES)
def test_a_page_stands_alone(pages: dict[str, bytes], name: str) -> None:
    page = Page(pages[name])
    assert not {tag for tag, _ in page.tags} & {"script", "img", "link", "iframe", "object", "image", "base", "form"}
    for tag, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on") or key == "src"], tag
        for key in ("href", "xlink:href"):
            assert (attributes.get(key) or "#").startswith("#"), "links lead to places on the page only"
    markup = re.sub(rb">[^<]*<", b"><", pages[name])
    assert not re.search(rb"https?://|@import|url\((?!#)", markup)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@pytest.mark.parametrize("name", reports.SAMPLES)
def test_a_page_is_small_and_its_ids_are_unique(pages: dict[str, bytes], name: str) -> None:
    assert len(pages[name]) < MAX_BYTES
    ids = [attributes["id"] for _, attributes in Page(pages[name]).tags if "id" in attributes]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", ["accepted", "hostile", "minimal"])
def test_the_same_report_gives_the_same_bytes(pages: dict[str, bytes], name: str) -> None:
    assert render(reports.SAMPLES[name]()) == pages[name]


@pytest.mark.parametrize("name", reports.SAMPLES)
def test_every_plot_and_table_has_a_name_of_its_own(pages: dict[str, bytes], name: str) -> None:
    page = Page(pages[name])
    labels = page.attributes("svg", "aria-label")
    assert all(labels)
    assert len(set(labels)) == len(labels)
    assert set(page.attributes("svg", "role")) <= {"img"}
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert set(page.attributes("table", "aria-labelledby")) <= ids


def test_what_a_stranger_named_stays_text(pages: dict[str, bytes]) -> None:
    page = Page(pages["hostile"])
    assert "alert(1)" in page.text
    assert b"<script" not in pages["hostile"]
    assert b"<img" not in pages["hostile"]
    assert "\u202e" not in pages["hostile"].decode(), "nothing turns the reading direction"
    assert "$x^2$" in page.text, "no name is mathematics"


def test_the_verdict_comes_first_and_says_what_is_left_out_and_why(pages: dict[str, bytes]) -> None:
    text = Page(pages["accepted"]).text
    first = text[: text.index("Each variant against float")]
    assert "Accepted, with the variants int8, float16 and dynamic" in first
    assert "int8: accuracy 96.9 % where float has 97.6 % (−0.7 points; 1.0 may be lost); 3.5 times smaller" in first
    assert "int16x8 is left out: accuracy falls from 97.6 % to 95.1 %" in first


def test_a_refusal_says_why_what_to_do_and_which_layers_cost_most(pages: dict[str, bytes]) -> None:
    page = Page(pages["refused"])
    assert "Refused: there is no version int8 agrees with the float model on 95.8 %" in page.text
    assert "Most of the error comes from the layers backbone/stage0/unit0/conv2d (42 %)" in page.text
    assert "What to do: prepare both as in training" in page.text
    assert "stem/conv, head/boxes and head/scores" in page.text
    assert page.sections()[:2] == ["warnings", "variants"]
    assert {"remedies", "costs", "layers-0", "joins", "data", "parity"} <= set(page.sections())


def test_a_variant_that_missed_in_every_runtime_keeps_its_figures() -> None:
    missed = "agrees with the float model on 95.3% of 256 samples where 99.0% is required"
    run = reports.ran("litert", 0.41, 13, reports.scores(None, 0.953), ok=False, reason=missed, floor=None)
    bad = reports.variant("int8", 94_000, (0, 0), accepted=False, runtimes=(run,), reason=f"litert 2.3.0: {missed}")
    text = Page(
        render(reports.refused(variants=(bad,), reason=f"no variant holds the budget: int8: {bad.reason}"))
    ).text
    assert "No variant holds the budget. int8: agreement with float 95.3 % (99.0 % is required)." in text
    assert f"0.41 ms left out: {missed}; XNNPACK 13 of 66 ops" in text


def test_sections_without_data_are_left_out(pages: dict[str, bytes]) -> None:
    page = Page(pages["minimal"])
    assert page.sections() == ["data", "recipe", "making"]
    assert page.attributes("svg", "role") == []


def test_slower_integers_explain_themselves() -> None:
    said = list(verdict.speed(reports.accepted()))
    assert (
        "int8 takes 2.0 times as long as float in tflite-runtime 2.14.0 (43.1 ms against 21.4 ms): XNNPACK runs 0 of"
        " its 66 operators, and 64 of the 66 of float. tflite-runtime 2.14 sends no int8 to XNNPACK." in said
    )
    assert said[0].startswith("int8 is 2.0 times as fast as float in litert 2.3.0")
    assert any("int16x8" in line and "no kernels for 16-bit activations" in line for line in said)


def test_nothing_is_said_of_speed_where_float_did_not_run() -> None:
    assert list(verdict.speed(reports.accepted(float_model=None))) == []


def test_the_recipe_can_be_read_back_as_toml(pages: dict[str, bytes]) -> None:
    import tomllib

    from wherry.protocol.recipe import Recipe

    quoted = re.search(r"<pre>(.*?)</pre>", pages["accepted"].decode(), re.DOTALL)
    assert quoted is not None
    text = Page(f"<p>{quoted.group(1)}</p>".encode()).words[0]
    assert msgspec.convert(tomllib.loads(text), Recipe, strict=False) == reports.accepted().recipe


def test_names_that_would_read_alike_are_cut_where_they_differ() -> None:
    long = [f"efficientnet_lite0/blocks_{index}/inverted_residual/depthwise_conv/BiasAdd" for index in (3, 14)]
    short = words.shorten_all(long)
    assert len(set(short)) == 2
    assert all(len(name) <= words.NAME_CHARS for name in short)
    assert ["blocks_3/" in short[0], "blocks_14/" in short[1]] == [True, True]
    assert words.shorten("a" * 20 + "b" * 40, 21) == "aaaaaa…" + "b" * 14
    assert words.shorten_all(["conv", "conv"]) == ["conv", "conv"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.decibel(float("inf")), "exact"),
        (words.decibel(float("nan")), "–"),
        (words.points(-0.0001), "0.0 points"),
        (words.points(0.0042), "+0.4 points"),
        (words.percent(float("nan")), "–"),
        (words.size(1023), "1023 B"),
        (words.listed([]), ""),
    ],
)
def test_figures_have_words(said: str, expected: str) -> None:
    assert said == expected


def _nothing_ran() -> Report:
    failed = FamilyResult(family="litert", version="2.3.0", ok=False, reason="did not load")
    return reports.accepted(
        outcome="refused",
        float_model=None,
        variants=(reports.variant("int8", 0, (0, 0), accepted=False, runtimes=(failed,)),),
        confusions=(Confusion(who="float", counts=()), Confusion(who="int8", counts=())),
    )


def test_what_failed_early_has_a_page_too() -> None:
    page = Page(render(_nothing_ran()))
    assert "did not load" in page.text
    assert "accuracy" not in page.sections()


def test_constant_data_has_a_page() -> None:
    used = reports.used("zeros.npz", 0.0, 0.0, labelled=False)
    assert "Values of the input image" in str(Page(render(reports.minimal(calibration=used))).tags)


def test_who_makes_no_page_imports_nothing_heavy() -> None:
    heavy = "{'matplotlib', 'jinja2', 'numpy'}"
    code = f"import sys, wherry.converters.report_page.page; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
