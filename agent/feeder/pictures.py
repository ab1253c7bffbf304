"""A camera's picture, brought to what the model takes. The one place on a board with a picture library.

Rules upheld here:
- Size and color are those of the manifest's preprocessing; where it says nothing, those of the input's shape, and
  three channels are RGB.
- With preprocessing the picture is given as raw values, which are prepared as the converter did it. Without it, a
  model of uint8 gets the pixels as they are, and any other gets them as real values between 0 and 255.
- Shrinking averages areas, which comes nearest to the converter's own.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from wherry.agent.worker.runtimes.interpreter import Tensor
from wherry.protocol.manifest import TensorSpec

Picture = npt.NDArray[Any]

CHANNELS = {1: "gray", 3: "rgb"}
_CODES = {"gray": cv2.COLOR_BGR2GRAY, "rgb": cv2.COLOR_BGR2RGB}


class NoPicture(ValueError):
    """The input is none that a picture can be brought to; the text says why."""


def size_of(spec: TensorSpec) -> tuple[int, int]:
    """Height and width. Raises NoPicture."""
    how = spec.preprocessing
    return how.size if how is not None and how.size is not None else _lengths(spec)[:2]


def color_of(spec: TensorSpec) -> str:
    """Raises NoPicture."""
    channels = _lengths(spec)[2]
    said = spec.preprocessing.color if spec.preprocessing is not None else ""
    color = said or CHANNELS.get(channels, "")
    if not color:
        raise NoPicture(f"{spec.name} takes {channels} channels, a camera gives 1 or 3")
    return color


def bring(picture: Picture, spec: TensorSpec) -> Tensor:
    """`picture` (BGR, uint8, [height, width, 3]) as the array that an app would give. Raises NoPicture."""
    height, width = size_of(spec)
    if picture.ndim == 2:
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    if picture.shape[:2] != (height, width):
        shrinks = picture.shape[0] > height or picture.shape[1] > width
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    color = color_of(spec)
    if color in _CODES:
        picture = cv2.cvtColor(picture, _CODES[color])
    picture = picture.reshape(height, width, -1)
    if _is_planar(spec):
        picture = picture.transpose(2, 0, 1)
    as_it_is = spec.preprocessing is None and spec.dtype == "uint8"
    shaped: Tensor = picture.reshape(_shape(spec, picture))
    return shaped if as_it_is else shaped.astype(np.float32)


def _shape(spec: TensorSpec, picture: Picture) -> tuple[int, ...]:
    """Gray pictures may have no axis for their one channel."""
    return spec.shape if picture.size == np.prod(spec.shape) else picture.shape


def _lengths(spec: TensorSpec) -> tuple[int, int, int]:
    """Height, width and channels by the shape. Raises NoPicture."""
    shape = spec.shape[1:] if spec.shape[:1] == (1,) else spec.shape
    if len(shape) == 2:
        return shape[0], shape[1], 1
    if len(shape) != 3:
        raise NoPicture(f"{spec.name} is {list(spec.shape)}, which is no picture")
    return (shape[1], shape[2], shape[0]) if _is_planar(spec) else (shape[0], shape[1], shape[2])


def _is_planar(spec: TensorSpec) -> bool:
    if spec.layout:
        return spec.layout == "NCHW"
    return len(spec.shape) == 4 and spec.shape[1] in CHANNELS and spec.shape[3] not in CHANNELS
