"""Sandboxes for tests: as an agent that is root makes them, where the tests are root, and else as one that is not."""

import os

import msgspec

from wherry.agent.worker.messages import Sandbox

GIB = 1024**3
NOBODY = 65534
IS_ROOT = os.geteuid() == 0

SANDBOX = Sandbox(memory_bytes=4 * GIB, cpu_s=60)
OTHER_USER = msgspec.structs.replace(SANDBOX, uid=NOBODY, gid=NOBODY)
USUAL = OTHER_USER if IS_ROOT else SANDBOX
