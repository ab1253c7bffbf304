"""What the lengths of a picture mean, and bringing data from one layout to the other."""

from typing import Any

import numpy.typing as npt

from wherry.converters.errors import BadRequest
from wherry.converters.model import End

Array = npt.NDArray[Any]

_CHANNELS_FIRST_AXES = (0, 2, 3, 1)
_CHANNELS = (1, 2, 3, 4)


def source_layout(end: End) -> str:
    """`NHWC` or `NCHW` of a picture in the source; empty for anything else.

    Where the source was transposed on its way to TFLite it is NCHW; else the length that can be channels decides,
    and the last where both or neither can.
    """
    shape = end.sample_shape
    if len(shape) != 3:
        return ""
    if end.axes:
        return "NCHW" if end.axes == _CHANNELS_FIRST_AXES else "NHWC"
    return "NCHW" if shape[0] in _CHANNELS and shape[2] not in _CHANNELS else "NHWC"


def parse_layout(text: str | None) -> str:
    """`NHWC`, `NCHW`, or empty where nothing was said. Raises BadRequest."""
    if text is None or text == "":
        return ""
    if text.upper() not in ("NHWC", "NCHW"):
        raise BadRequest(f"--layout {text}: not a layout", "say nhwc or nchw: how the data has its pictures")
    return text.upper()


def turned(shape: tuple[int, ...], source: str, target: str) -> tuple[int, ...]:
    """The shape of one sample in the layout `target`."""
    if not source or not target or source == target:
        return shape
    a, b, c = shape
    return (c, a, b) if target == "NCHW" else (b, c, a)


def turn(samples: Array, source: str, target: str) -> Array:
    """Samples [N, ...] from one layout to the other."""
    if not source or not target or source == target:
        return samples
    return samples.transpose(0, 3, 1, 2) if target == "NCHW" else samples.transpose(0, 2, 3, 1)
