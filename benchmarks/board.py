"""A Python environment as a board has it: Wherry's extras `agent` and `tflite` with what they need, and nothing else.

Why: libraries look around for what else is installed. Where structlog finds `rich` it imports it, which is 4 MB of
memory that no board pays; a developer's environment has it.

Rules upheld here:
- Nothing is fetched: what is installed here is linked. What an extra asks for and is missing here fails the run.
"""

import tomllib
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.form import ROOT, Failed

EXTRAS = ("agent", "tflite")
DESCRIPTION = "extras agent and tflite alone"


def python(directory: Path) -> Path:
    """The interpreter of an environment that is made in `directory`. Raises Failed."""
    venv.create(directory, symlinks=True, with_pip=False)
    (packages,) = directory.glob("lib/python*/site-packages")
    for found in needed().values():
        for entry in _entries(found):
            if not (packages / entry.name).exists():  # shared by several: a namespace
                (packages / entry.name).symlink_to(entry)
    (packages / "wherry").symlink_to(ROOT / "wherry")
    return directory / "bin" / "python"


def needed() -> dict[str, Distribution]:
    """Every distribution that the extras need, by name. Raises Failed."""
    found: dict[str, Distribution] = {}
    waiting = [*_of_wherry()]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError as error:
            raise Failed(f"{name} is needed on a board and not installed here") from error
        waiting += _asked_for(found[name].requires or [], requirement.extras)
    return found


def _of_wherry() -> Iterator[Requirement]:
    """From the tree and not from what was installed: the two may differ until the next installation."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    yield from _asked_for(project["dependencies"], ())
    for extra in EXTRAS:
        yield from _asked_for(project["optional-dependencies"][extra], ())


def _asked_for(texts: list[str], extras: "set[str] | tuple[str, ...]") -> Iterator[Requirement]:
    """Those whose markers hold here, for any of `extras` or for none."""
    for requirement in map(Requirement, texts):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def _entries(of: Distribution) -> set[Path]:
    """What it has at the top of the packages' directory: modules, packages, native libraries, its metadata."""
    names = {Path(file).parts[0] for file in of.files or ()} - {"..", "__pycache__"}
    return {Path(str(of.locate_file(name))) for name in names}
