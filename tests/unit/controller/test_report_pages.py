"""The page of a version's report: uploaded with the package, kept by its digest, served so that nothing in it runs."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.support.controller_values import make_manifest
from tests.support.depot import Depot
from tests.support.http_desk import HttpDesk, serving
from tests.support.wherry_command import wherry
from wherry.controller.adapters.package_dir import read_package
from wherry.controller.errors import Invalid
from wherry.controller.operations import registry
from wherry.controller.operations.live_blobs import live_blobs
from wherry.protocol.blob import describe, sha256
from wherry.protocol.manifest import encode_manifest

pytestmark = pytest.mark.slow

PAGE = b"<!DOCTYPE html><title>digits</title><script>alert(1)</script>"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[HttpDesk]:
    with serving(tmp_path) as desk:
        yield desk


def package(
    directory: Path, *, page: bytes | None = PAGE, report: bytes = b'{"name": "digits"}', salt: str = "a"
) -> Path:
    directory.mkdir()
    manifest = make_manifest(salt)
    (directory / "manifest.json").write_bytes(encode_manifest(manifest))
    (directory / "report.json").write_bytes(report)
    (directory / "int8.tflite").write_bytes(f"artifact {salt} int8".encode())
    (directory / "int8.golden").write_bytes(f"golden {salt} int8".encode())
    if page is not None:
        (directory / "report.html").write_bytes(page)
    return directory


def url(desk: HttpDesk) -> str:
    return f"http://127.0.0.1:{desk.port}"


def test_the_page_comes_with_the_package_and_is_linked_from_the_commands(desk: HttpDesk, tmp_path: Path) -> None:
    address = f"{url(desk)}/api/v1/models/digits/versions/1/report.html"
    added = wherry("models", "add", package(tmp_path / "one"), url=url(desk))
    assert added.out == f"registered as digits:1\nreport: {address}\n"
    assert wherry("models", "show", "digits:1", url=url(desk)).out.endswith(f"report: {address}\n")
    again = json.loads(wherry("models", "add", tmp_path / "one", "--json", url=url(desk)).out)
    assert (again["created"], again["report_url"]) == (False, address)
    assert json.loads(wherry("models", "show", "digits", "--json", url=url(desk)).out)["report_url"] == address
    assert httpx.get(address).content == PAGE


def test_a_page_is_served_so_that_nothing_in_it_runs_or_fetches(desk: HttpDesk, tmp_path: Path) -> None:
    wherry("models", "add", package(tmp_path / "one"), url=url(desk))
    answer = desk.client.get("/models/digits/versions/1/report.html")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "style-src 'unsafe-inline'", "img-src data:", "sandbox"} == set(policy)


def test_the_report_is_served_as_json_and_names_its_page(desk: HttpDesk, tmp_path: Path) -> None:
    wherry("models", "add", package(tmp_path / "one"), url=url(desk))
    answer = desk.client.get("/models/digits/versions/1/report")
    assert answer.json() == {"name": "digits", "page": sha256(PAGE)}
    assert desk.client.get("/models/digits").json()["report_page"] == sha256(PAGE)


def test_a_version_without_a_page_says_where_its_report_is(desk: HttpDesk, tmp_path: Path) -> None:
    added = wherry("models", "add", package(tmp_path / "one", page=None), url=url(desk))
    assert added.out == "registered as digits:1\n"
    answer = desk.client.get("/models/digits/versions/1/report.html")
    assert (answer.status_code, answer.json()["detail"]) == (404, "digits:1 has no page of its report")
    assert desk.client.get("/models/digits/versions/1/report").json() == {"name": "digits"}
    assert desk.client.get("/models/digits/versions/2/report.html").status_code == 404


def test_a_page_that_was_not_uploaded_is_refused_and_nothing_is_registered(depot: Depot) -> None:
    manifest, report = make_manifest("a"), msgspec.json.encode({"page": sha256(PAGE)})
    for variant in manifest.variants:
        for ref in (variant.artifact, variant.golden):
            registry.add_blob(depot.db, ref, now_s=1.0)
    with pytest.raises(Invalid, match="the page of the report was not uploaded"):
        registry.create_version(depot.db, manifest, report=report, keep=depot.keep, now_s=1.0, actor="ann")
    assert registry.list_models(depot.db) == []
    registry.add_blob(depot.db, describe(PAGE), now_s=1.0)
    made = registry.create_version(depot.db, manifest, report=report, keep=depot.keep, now_s=1.0, actor="ann")
    assert made.report_page == sha256(PAGE)
    assert live_blobs(depot.db) == [], "devices never fetch it"


@pytest.mark.parametrize("report", [b"[]", b"3", b'{"page": 3}', b'{"page": "../../etc/passwd"}', b'{"page": null}'])
def test_what_is_no_digest_is_no_page(report: bytes) -> None:
    assert registry.page_of(report) is None


@pytest.mark.parametrize("page", [None, b""])
def test_only_the_page_beside_the_report_counts(tmp_path: Path, page: bytes | None) -> None:
    """A report that was fetched from a controller names a page that another one does not have."""
    found = read_package(package(tmp_path / "one", page=page, report=b'{"name": "digits", "page": "%s"}' % (b"a" * 64)))
    assert (found.report, len(found.blobs)) == (b'{"name":"digits"}', 2)


def test_a_report_that_is_no_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"report\.json is damaged"):
        read_package(package(tmp_path / "one", report=b"[]"))
