"""What all sources say about their inputs and outputs, and how they are fed.

Rules upheld here:
- The batch is 1. Every other length is the source's own, or what the user gave with --input-shape.
- Samples go through a source in batches where all of its ends have a batch that was left open.
"""

from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from wherry.converters.errors import BadRequest, UnsupportedModel
from wherry.converters.model import SourceModel, SourceOptions
from wherry.protocol.manifest import DType

Array = npt.NDArray[Any]
Shape = tuple[int | None, ...]
"""As the source has it; None where a length is open."""

BATCH = 64


def dtype_of(side: str, name: str, dtype: Any) -> DType:
    """The manifest's name for `dtype` (text or anything with a name). Raises UnsupportedModel."""
    found = str(getattr(dtype, "name", dtype))
    for known in get_args(DType):
        if known == found:
            return known  # type: ignore[no-any-return]
    raise UnsupportedModel(
        f"{side} {name!r} is {found}, which devices do not take",
        "save the model with float32 or integer ends; do what needs text or float64 outside of it",
    )


def check_names(options: SourceOptions, names: Sequence[str]) -> None:
    """Raises BadRequest for shapes of inputs that do not exist."""
    for name in options.input_shapes:
        if name and name not in names:
            raise BadRequest(f"--input-shape names {name!r}, the inputs are {', '.join(names)}", "use one of these")
        if not name and len(names) > 1:
            raise BadRequest(
                f"--input-shape without a name, but the model has the inputs {', '.join(names)}",
                f"say which, as in --input-shape {names[0]}=1,224,224,3",
            )


def fixed_shape(name: str, shape: Shape | None, options: SourceOptions, *, only: bool) -> tuple[int, ...]:
    """The shape of one call, batch 1 first where the source has an open batch. Raises UnsupportedModel where a
    length is open and not given, BadRequest where what was given does not fit; `None` is an unknown rank."""
    given = options.input_shapes.get(name) or (options.input_shapes.get("") if only else None)
    if given is not None:
        return _given(name, shape, given)
    if shape is None or any(length is None for length in shape[1:]):
        option = "" if only else f"{name}="
        raise UnsupportedModel(
            f"the shape of input {name!r} is not fixed: {_show(shape)}",
            f"give it with the batch, as in --input-shape {option}{_example(shape)}",
        )
    return tuple(1 if length is None else length for length in shape)


def in_batches(
    call: Callable[[list[Array]], list[Array]], model: SourceModel, inputs: list[Array], *, together: bool = True
) -> list[Array]:
    """The outputs, [N, *sample_shape], of `call`, which takes and gives the whole shapes with any batch.

    Goes one by one without `together`, where an end has no batch, or where the outputs turn out not to grow with it.
    """
    together = together and all(end.batched for end in (*model.inputs, *model.outputs))
    count = len(inputs[0])
    found: list[list[Array]] = [[] for _ in model.outputs]
    start = 0
    while start < count:
        size = min(BATCH if together else 1, count - start)
        outputs = call(
            [_chunk(x, start, size, batched=end.batched) for x, end in zip(inputs, model.inputs, strict=True)]
        )
        if together and any(not value.ndim or len(value) != size for value in outputs):
            together = False
            continue
        for kept, value, end in zip(found, outputs, model.outputs, strict=True):
            kept.append(value.reshape((size, *end.sample_shape)))
        start += size
    return [np.concatenate(kept) for kept in found]


def unique(names: Sequence[str]) -> list[str]:
    """The names, with a number where one occurs again."""
    seen: list[str] = []
    for name in names:
        candidate, number = name, 1
        while candidate in seen:
            candidate, number = f"{name}_{number}", number + 1
        seen.append(candidate)
    return seen


def first_line(error: BaseException) -> str:
    """What an exception of someone else's says, shortened to what fits on a line or two."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


def _given(name: str, shape: Shape | None, given: tuple[int, ...]) -> tuple[int, ...]:
    own = shape if shape is not None else (None,) * len(given)
    fits = len(given) == len(own) and all(a is None or a == b for a, b in zip(own, given, strict=True))
    if not fits or any(length < 1 for length in given):
        raise BadRequest(
            f"--input-shape gives {_show(given)} for input {name!r}, the model has {_show(shape)}",
            "give the whole shape with the batch, and change open lengths only",
        )
    if own and own[0] is None and given[0] != 1 and shape is not None:
        raise BadRequest(f"--input-shape gives a batch of {given[0]} for input {name!r}", "the batch is always 1")
    return given


def _chunk(x: Array, start: int, size: int, *, batched: bool) -> Array:
    return x[start : start + size] if batched else x[start]


def _show(shape: Shape | None) -> str:
    return "of unknown rank" if shape is None else f"[{', '.join('?' if n is None else str(n) for n in shape)}]"


def _example(shape: Shape | None) -> str:
    if shape is None:
        return "1,224,224,3"
    return ",".join(["1", *(str(length or 224) for length in shape[1:])])
