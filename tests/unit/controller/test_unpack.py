"""Archives of strangers: what is in them stays in the directory, within limits, or nothing is written."""

import io
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from wherry.controller.adapters.artifacts import ArtifactStore
from wherry.controller.adapters.job_files import JobFiles, JobLog
from wherry.controller.adapters.unpack import unpack
from wherry.controller.core.conversion_order import Input
from wherry.controller.errors import Invalid, Unavailable

Entries = list[tuple[str | zipfile.ZipInfo, bytes]]


def _zip(entries: Entries, compression: int = zipfile.ZIP_STORED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return packed.getvalue()


def _odd(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (mode | 0o644) << 16
    return entry


def _encrypted() -> bytes:
    """The flag alone: no password is asked for before."""
    data = bytearray(_zip([("a.txt", b"secret")]))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def _bent() -> bytes:
    """One byte of the content is another one than its checksum says."""
    return _zip([("a.txt", b"content")]).replace(b"content", b"contend", 1)


BAD: dict[str, Callable[[], bytes]] = {
    "absolute": lambda: _zip([("/etc/cron.d/x", b"x")]),
    "upwards": lambda: _zip([("../x", b"x")]),
    "upwards within": lambda: _zip([("a/../../x", b"x")]),
    "backslashes": lambda: _zip([(_odd("a\\..\\x", stat.S_IFREG), b"x")]),
    "a link": lambda: _zip([(_odd("link", stat.S_IFLNK), b"/etc/passwd")]),
    "a link to a directory, and a file in it": lambda: _zip([(_odd("d", stat.S_IFLNK), b"/tmp"), ("d/x", b"x")]),
    "a device": lambda: _zip([(_odd("null", stat.S_IFCHR), b"")]),
    "no name": lambda: _zip([(".", b"x")]),
    "a long name": lambda: _zip([("x" * 300, b"x")]),
    "a file and a directory of one name": lambda: _zip([("a", b"x"), ("a/b", b"x")]),
    "a directory and a file of one name": lambda: _zip([("a/b", b"x"), ("a", b"x")]),
    "more files than allowed": lambda: _zip([(f"{number}", b"") for number in range(21)]),
    "more bytes than allowed": lambda: _zip([("a", bytes(600)), ("b", bytes(600))]),
    "a bomb": lambda: _zip([("a", bytes(50_000_000))], zipfile.ZIP_DEFLATED),
    "encrypted": _encrypted,
    "bent": _bent,
    "cut": lambda: _zip([("a", bytes(600))])[:-30],
    "something else": lambda: b"no archive at all",
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_archive_is_refused_and_leaves_nothing(tmp_path: Path, case: str) -> None:
    archive = tmp_path / "in" / "a.zip"
    archive.parent.mkdir()
    archive.write_bytes(BAD[case]())
    with pytest.raises(Invalid) as refused:
        unpack(archive, tmp_path / "in" / "out", max_files=20, max_bytes=1000)
    assert refused.value.fix
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["in", "in/a.zip"]


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive.write_bytes(_zip([("a", b"1"), ("a", b"2")]))
    with pytest.raises(Invalid, match="twice"):
        unpack(archive, tmp_path / "out")


def test_a_good_archive_is_unpacked_whole(tmp_path: Path) -> None:
    """The negative control: the very limits of the bad ones, kept to."""
    archive = tmp_path / "a.zip"
    archive.write_bytes(_zip([("empty/", b""), ("a/b/c.txt", bytes(999)), ("d", b"1")], zipfile.ZIP_DEFLATED))
    unpack(archive, tmp_path / "out", max_files=3, max_bytes=1000)
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
    assert files == {"empty", "a", "a/b", "a/b/c.txt", "d"}
    assert (tmp_path / "out/a/b/c.txt").read_bytes() == bytes(999)


def test_a_source_may_be_packed_with_its_directory(tmp_path: Path) -> None:
    artifacts = ArtifactStore(tmp_path / "artifacts")
    files = JobFiles(tmp_path / "jobs", artifacts)
    ref = artifacts.put(_zip([("saved_model/saved_model.pb", b"pb"), ("saved_model/variables/v", b"v")]))
    files.begin(1)
    given = Input(digest=ref.digest, file_name="m.zip")
    assert [path.name for path in sorted(files.lay_out(1, "source", given).iterdir())] == [
        "saved_model.pb",
        "variables",
    ]
    assert [path.name for path in files.lay_out(1, "calibration", given).iterdir()] == ["saved_model"]


def test_a_file_that_the_disk_has_changed_is_not_converted(tmp_path: Path) -> None:
    artifacts = ArtifactStore(tmp_path / "artifacts")
    files = JobFiles(tmp_path / "jobs", artifacts)
    ref = artifacts.put(b"a network")
    artifacts.path(ref.digest).write_bytes(b"a netwerk")
    files.begin(1)
    with pytest.raises(Unavailable, match="damaged on disk"):
        files.lay_out(1, "source", Input(digest=ref.digest, file_name="net.keras"))


def test_a_log_keeps_its_newest_lines_and_no_more_than_twice_its_bound_on_disk(tmp_path: Path) -> None:
    log = JobLog(tmp_path / "1.log", max_bytes=1000)
    for number in range(1000):
        log.append(f"line {number}\n".encode())
        assert (tmp_path / "1.log").stat().st_size <= 2000
    lines = log.read().decode().splitlines()
    assert lines[-1] == "line 999"
    assert all(line.startswith("line ") for line in lines)
    assert 50 < len(lines) < 120
