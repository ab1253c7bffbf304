"""Starts real conversions, as the command line does, and reads what they say."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from wherry.converters.report import Report
from wherry.protocol.conversion import ConversionLine, ConversionRequest, Converted, Failed, Progress, Warned
from wherry.protocol.golden import GoldenSet, decode_golden
from wherry.protocol.manifest import Manifest, decode_manifest
from wherry.protocol.recipe import Recipe, VariantName

_line: msgspec.json.Decoder[ConversionLine] = msgspec.json.Decoder(ConversionLine)
_COMMAND = [sys.executable, "-m", "wherry.converters"]


@dataclass(frozen=True)
class Conversion:
    """A conversion process that has ended. Every line of its standard output is one of ours."""

    request: ConversionRequest
    status: int
    lines: list[ConversionLine]
    stderr: str

    @property
    def progress(self) -> list[Progress]:
        return [line for line in self.lines if isinstance(line, Progress)]

    @property
    def warned(self) -> list[str]:
        return [line.message for line in self.lines if isinstance(line, Warned)]

    @property
    def failed(self) -> Failed:
        last = self.lines[-1]
        assert isinstance(last, Failed), (last, self.stderr[-2000:])
        return last

    @property
    def report(self) -> Report:
        last = self.lines[-1]
        assert isinstance(last, Converted), (last, self.stderr[-2000:])
        return msgspec.json.decode(last.report, type=Report)

    @property
    def manifest(self) -> Manifest:
        return decode_manifest(self.file("manifest.json"))

    @property
    def golden(self) -> GoldenSet:
        return decode_golden(self.file(f"{self.manifest.variants[0].name}.golden"))

    def file(self, name: str) -> bytes:
        return (Path(self.request.out_dir) / name).read_bytes()


def request(
    source: Path | str,
    data: Path,
    out_dir: Path,
    *variants: VariantName,
    recipe: dict[str, Any] | None = None,
    **more: Any,
) -> ConversionRequest:
    """Of `variants`, int8 without any; `recipe` has the other fields of a recipe."""
    how = msgspec.convert({"variants": variants or ("int8",), **(recipe or {})}, Recipe)
    return ConversionRequest(
        source=str(source), name="digits", calibration=str(data), out_dir=str(out_dir), recipe=how, **more
    )


def convert(wanted: ConversionRequest, **env: str) -> Conversion:
    """Run a conversion to its end."""
    done = subprocess.run(
        _COMMAND, input=msgspec.json.encode(wanted), capture_output=True, check=False, env=os.environ | env
    )
    lines = [_line.decode(line) for line in done.stdout.splitlines()]
    return Conversion(wanted, done.returncode, lines, done.stderr.decode(errors="replace"))


def interrupt(wanted: ConversionRequest, step: int, by: signal.Signals) -> int:
    """Send a signal as soon as the conversion says that it has begun `step`; its exit status."""
    with subprocess.Popen(_COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(msgspec.json.encode(wanted))
        child.stdin.close()
        for raw in child.stdout:
            line = _line.decode(raw)
            assert isinstance(line, Progress | Warned), line
            if isinstance(line, Progress) and line.step == step:
                child.send_signal(by)
        return child.wait()
