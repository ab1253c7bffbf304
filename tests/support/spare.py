"""Runs a program of the tests without what frameworks take along: `python -m tests.support.spare MODULE …`.

Importing TensorFlow is most of what such programs take.
"""

import runpy
import sys

from wherry.converters.passes.spare import spare_imports

if __name__ == "__main__":
    spare_imports()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
