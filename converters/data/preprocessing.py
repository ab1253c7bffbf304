"""What `--preprocess` says, as text, to the preprocessing of the manifest.

    [INPUT:]PRESET[,KEY=VALUE…]    or    [INPUT:]KEY=VALUE[,KEY=VALUE…]

Presets are for pictures of 0 to 255. Keys after a preset replace what it says. An input is named where the
model has several; the text without a name is for the only one. Every error points at the piece at fault.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from wherry.converters.data.layouts import source_layout, turned
from wherry.converters.errors import BadRequest
from wherry.converters.model import End
from wherry.protocol.manifest import Preprocessing

PRESETS = {
    "none": Preprocessing(),
    "unit": Preprocessing(scale=1 / 255),
    "signed": Preprocessing(scale=1 / 127.5, mean=(1.0,)),
    "imagenet": Preprocessing(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
}
COLOR_CHANNELS = {"gray": 1, "rgb": 3, "bgr": 3}

_FORM = (
    "say one of the presets none, unit, signed, imagenet, or "
    "scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,size=224x224,color=rgb"
)


def parse_preprocess(texts: Sequence[str]) -> dict[str, Preprocessing]:
    """By input name, "" where none was named; what changes nothing is left out. Raises BadRequest."""
    found: dict[str, Preprocessing] = {}
    for text in texts:
        name, how = _parse(text)
        if name in found:
            raise BadRequest(f"--preprocess {text}: says again what was said of input {name or 'the model'}", _FORM)
        found[name] = how
    return {name: how for name, how in found.items() if how != Preprocessing()}


def for_inputs(preprocessing: Mapping[str, Preprocessing], ends: Sequence[End]) -> dict[str, Preprocessing]:
    """The same by the model's input names, each shown to be possible for its input. Raises BadRequest."""
    by_name = {end.name: end for end in ends}
    found: dict[str, Preprocessing] = {}
    for name, how in preprocessing.items():
        if not name and len(ends) > 1:
            raise BadRequest(
                f"--preprocess does not say of which input; the model has {', '.join(by_name)}",
                f"put the name before it, as in --preprocess {ends[0].name}:unit",
            )
        end = by_name.get(name or ends[0].name)
        if end is None:
            raise BadRequest(
                f"--preprocess of {name}: the model has no such input", f"its inputs are {', '.join(by_name)}"
            )
        _check_fits(end, how)
        found[end.name] = how
    return found


def _check_fits(end: End, how: Preprocessing) -> None:
    """Raises BadRequest where no sample of the input could be prepared so."""
    layout = source_layout(end)
    said, takes = f"--preprocess of {end.name}", f"the model takes {list(end.shape)}"
    if not layout and (how.size or how.color):
        raise BadRequest(f"{said}: size and color are for pictures, and {takes}", "leave them out")
    height, width, channels = turned(end.sample_shape, layout, "NHWC") if layout else (0, 0, _last(end.sample_shape))
    if how.size and how.size != (height, width):
        raise BadRequest(
            f"{said}: size={how.size[0]}x{how.size[1]}, but {takes}", f"say size={height}x{width}, or leave it out"
        )
    if how.color and COLOR_CHANNELS[how.color] != channels:
        raise BadRequest(f"{said}: color={how.color}, but the model takes {channels} channels", "leave color out")
    for key, numbers in (("mean", how.mean), ("std", how.std)):
        if len(numbers) > 1 and len(numbers) != channels:
            raise BadRequest(
                f"{said}: {key} has {len(numbers)} numbers, the input {channels} channels",
                "give one number, or one for each channel",
            )


def _last(shape: tuple[int, ...]) -> int:
    return shape[-1] if shape else 1


def _parse(text: str) -> tuple[str, Preprocessing]:
    pieces = text.split(",")
    head = pieces[0].partition("=")[0]
    name, _, first = head.rpartition(":")
    pieces[0] = pieces[0][len(head) - len(first) :]
    at = len(head) - len(first)
    how = PRESETS["none"]
    said: set[str] = set()
    for position, piece in enumerate(pieces):
        if position == 0 and piece.strip() in PRESETS:
            how = PRESETS[piece.strip()]
        else:
            key, value = _pair(text, piece, at)
            if key in said:
                raise _wrong(text, piece, at, f"{key} is said twice")
            said.add(key)
            try:
                how = msgspec.structs.replace(how, **{key: _KEYS[key](value)})
            except (ValueError, ZeroDivisionError) as error:
                raise _wrong(text, piece, at, str(error)) from error
        at += len(piece) + 1
    return name.strip(), how


def _pair(text: str, piece: str, at: int) -> tuple[str, str]:
    key, sign, value = (part.strip() for part in piece.partition("="))
    if not sign:
        raise _wrong(text, piece, at, f"neither a preset ({', '.join(PRESETS)}) nor KEY=VALUE")
    if key not in _KEYS:
        raise _wrong(text, piece, at, f"no such key; there are {', '.join(_KEYS)}")
    return key, value


def _wrong(text: str, piece: str, at: int, why: str) -> BadRequest:
    return BadRequest(f"--preprocess {text}: `{piece}` at character {at + 1}: {why}", _FORM)


def _number(text: str) -> float:
    """`0.5`, or a fraction such as `1/255`."""
    above, slash, below = text.partition("/")
    try:
        value = float(above) / (float(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{text or 'nothing'} is not a number, such as 0.5 or 1/255") from None
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise ValueError(f"{text} is not above 0")
    return value


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise ValueError(f"{text or 'nothing'} is not HEIGHTxWIDTH in pixels, such as 224x224")
    return int(parts[0]), int(parts[1])


def _color(text: str) -> str:
    if text not in COLOR_CHANNELS:
        raise ValueError(f"{text or 'nothing'} is none of {', '.join(COLOR_CHANNELS)}")
    return text


_KEYS: dict[str, Callable[[str], Any]] = {
    "scale": _positive,
    "mean": lambda text: tuple(_number(part) for part in text.split(":")),
    "std": lambda text: tuple(_positive(part) for part in text.split(":")),
    "size": _size,
    "color": _color,
}
