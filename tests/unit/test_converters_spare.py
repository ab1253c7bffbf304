"""Frameworks are imported without what they only take along, which stays for whoever asks for it himself.

Small packages of the same names stand for the real ones; tests/integration/test_convert.py has those.
"""

import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = {
    "tensorflow": "import keras\ntry:\n    import pandas\nexcept ImportError:\n    pandas = None\n",
    "keras": "try:\n    import sklearn.base\nexcept ImportError:\n    sklearn = None\n",
    "sklearn": "",
    "sklearn/base": "",
    "pandas": "",
}
SAY = "import tensorflow, keras, sys; print('sklearn' in sys.modules, 'pandas' in sys.modules);"
SPARE = "from wherry.converters.passes.spare import spare_imports; spare_imports();"


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    for name, content in PACKAGES.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(content)
    return tmp_path


def ran(directory: Path, program: str) -> list[str]:
    program = f"import sys; sys.path.insert(0, {str(directory)!r}); {program}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_frameworks_come_without_what_they_take_along(packages: Path) -> None:
    assert ran(packages, SAY) == ["True", "True"], "as they do by themselves"
    assert ran(packages, SPARE + SAY) == ["False", "False"]


def test_layers_of_the_user_find_it_nevertheless(packages: Path) -> None:
    assert ran(packages, SPARE + SAY + "import sklearn.base; print(sklearn.__name__)")[2:] == ["sklearn"]


def test_what_was_there_before_stays(packages: Path) -> None:
    assert ran(packages, SPARE + "import sklearn;" + SAY + "print(keras.sklearn is sklearn)") == [
        "True",
        "False",
        "True",
    ]


def test_a_framework_that_fails_to_load_hides_nothing_afterwards(packages: Path) -> None:
    (packages / "keras" / "__init__.py").write_text("raise OSError")
    program = "\ntry:\n    import keras\nexcept OSError:\n    import sklearn\n    print(sklearn.__name__)"
    assert ran(packages, SPARE + program) == ["sklearn"]
