"""The report of a conversion as one HTML page that stands alone: verdict first, then why.

Rules upheld here:
- No script, nothing fetched from anywhere, and a policy in the page itself that forbids both.
- Whatever comes from a model or from data is text on one line, without characters that control or reorder;
  only the plots are markup, and we drew them.
- The same report gives the same bytes. Sections without data are left out.
- jinja2 and matplotlib are imported when a page is made, not before.
"""

from collections.abc import Iterator

from wherry.converters.report import Report
from wherry.converters.report_page import given, inside, measured, verdict
from wherry.converters.report_page.parts import Section
from wherry.converters.report_page.words import clean


def sections(report: Report) -> Iterator[Section]:
    """In the order in which a person asks."""
    yield given.faults(report)
    yield measured.variants(report)
    yield measured.accuracy(report)
    yield measured.cost(report)
    yield inside.remedies(report)
    yield inside.costs(report)
    yield from inside.layers(report)
    yield inside.joins(report)
    yield inside.confusions(report)
    yield given.data(report)
    yield given.parity(report)
    yield given.operators(report)
    yield given.recipe(report)
    yield given.making(report)


def render(report: Report) -> bytes:
    """The whole page, UTF-8."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("wherry.converters.report_page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_cleaned,
    )
    found = [section for section in sections(report) if not section.empty]
    page = environment.get_template("report.html.j2").render(
        name=report.name,
        framework=report.framework,
        accepted=report.outcome == "accepted",
        headline=verdict.headline(report),
        sentences=list(verdict.sentences(report)),
        sections=found,
    )
    return page.encode("utf-8", errors="replace")


def _cleaned(value: object) -> object:
    """Of every value that the template prints; markup is a subclass of str and stays as it is."""
    return clean(value) if type(value) is str else value
