"""A conversion process that does as its source says: a real program that speaks the protocol, without TensorFlow.

The source is JSON of a `Script`. Started as `python fake_converter.py`, as the controller starts the converters.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.controller_values import make_manifest
from wherry.protocol.blob import sha256
from wherry.protocol.conversion import ConversionLine, ConversionRequest, Converted, Failed, Progress, Warned
from wherry.protocol.manifest import encode_manifest

PROGRAM = (sys.executable, __file__)
STEPS = 3
HANGING = "hanging"
PATIENCE_S = 60.0


class Script(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`salt` decides the bytes of the package. `gate` is a file that is waited for in the second step."""

    salt: str = "a"
    end: str = "succeed"
    gate: str = ""
    warning: str = ""
    chatter: str = ""

    @property
    def source(self) -> bytes:
        return msgspec.json.encode(self)


def main() -> None:
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=ConversionRequest)
    script = msgspec.json.decode(Path(request.source).read_bytes(), type=Script)
    _say(Progress(step=1, steps=STEPS, text="reading"))
    if script.warning:
        _say(Warned(message=script.warning.format(request=request), fix="look at it"))
    print(script.chatter, file=sys.stderr, flush=True)  # noqa: T201
    _say(Progress(step=2, steps=STEPS, text=HANGING if script.gate or script.end in STAY else "working"))
    _pass(script.gate)
    _ENDS[script.end](request, script)


def _pass(gate: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while gate and not Path(gate).exists() and time.monotonic() < deadline_s:
        time.sleep(0.01)


def _say(line: ConversionLine) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def _write(request: ConversionRequest, salt: str, model: str) -> None:
    out_dir = Path(request.out_dir)
    out_dir.mkdir()
    for what, suffix in (("artifact", "tflite"), ("golden", "golden")):
        (out_dir / f"int8.{suffix}").write_bytes(f"{what} {salt} int8".encode())
    (out_dir / "manifest.json").write_bytes(encode_manifest(make_manifest(salt, model=model)))
    (out_dir / "report.json").write_bytes(_report(request))
    (out_dir / "report.html").write_text("<p>well</p>")


def _report(request: ConversionRequest) -> bytes:
    """What it was given: its data by digest, and the request."""
    paths = {"calibration": request.calibration, "evaluation": request.evaluation or ""}
    seen = {part: _digest(Path(path)) for part, path in paths.items() if path}
    return msgspec.json.encode({"seen": seen, "labels": request.labels, "recipe": request.recipe})


def _digest(path: Path) -> Any:
    if path.is_dir():
        return {inner.relative_to(path).as_posix(): sha256(inner.read_bytes()) for inner in path.rglob("*.*")}
    return sha256(path.read_bytes())


def _succeed(request: ConversionRequest, script: Script) -> None:
    _write(request, script.salt, request.name)
    _say(Converted(out_dir=request.out_dir, report=msgspec.Raw(b"{}")))


def _refuse(request: ConversionRequest, script: Script) -> None:
    refused = Path(request.out_dir + "-refused")
    refused.mkdir()
    (refused / "report.json").write_bytes(b'{"accuracy": 0.1}')
    (refused / "report.html").write_text("<p>bad</p>")
    _say(Failed(kind="BudgetMissed", message="too much is lost", fix="use more data", report_dir=str(refused)))
    sys.exit(2)


def _break(request: ConversionRequest, script: Script) -> None:
    _say(Failed(kind="KeyError", message="'x'", ours=True))
    sys.exit(1)


def _complain(request: ConversionRequest, script: Script) -> None:
    _say(Failed(kind="DataError", message=f"{request.source} and {request.evaluation}/a.png", fix="mend"))
    sys.exit(2)


def _die(request: ConversionRequest, script: Script) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _out_of_memory(request: ConversionRequest, script: Script) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _leave(request: ConversionRequest, script: Script) -> None:
    sys.exit(3)


def _babble(request: ConversionRequest, script: Script) -> None:
    sys.stdout.write("Not JSON\n")


def _lie(request: ConversionRequest, script: Script) -> None:
    """A package of another model."""
    _write(request, script.salt, "other")
    _say(Converted(out_dir=request.out_dir, report=msgspec.Raw(b"{}")))


def _lack(request: ConversionRequest, script: Script) -> None:
    """A result without a package."""
    _say(Converted(out_dir=request.out_dir, report=msgspec.Raw(b"{}")))


def _hang(request: ConversionRequest, script: Script) -> None:
    time.sleep(PATIENCE_S)


def _cling(request: ConversionRequest, script: Script) -> None:
    """Neither it nor what it starts, in a session of its own, ends when it is asked to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({PATIENCE_S})"], start_new_session=True)
    _say(Progress(step=3, steps=STEPS, text="clinging"))
    time.sleep(PATIENCE_S)


STAY = ("hang", "cling")
_ENDS = {
    "succeed": _succeed, "refuse": _refuse, "complain": _complain, "break": _break, "die": _die,
    "out-of-memory": _out_of_memory, "leave": _leave, "babble": _babble, "lie": _lie,
    "lack": _lack, "hang": _hang, "cling": _cling,
}  # fmt: skip

if __name__ == "__main__":
    main()
