"""What only a live interpreter shows: memory in use, and how much of the graph a delegate has taken.

Both work with the interpreters of ai-edge-litert and tflite-runtime alike, and import neither. They read the list of
nodes, for which there is no public way; a delegate appears there as a node more, at the end.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

_ALIGNMENT = 64
"""Of tensors in an arena, and so the largest gap between two that touch."""

Block = tuple[int, int]
"""Where a tensor begins and ends."""


def arena_measured(interpreter: Any) -> int:
    """Bytes that activations and the scratch memory of kernels take, in an interpreter without delegates, once run."""
    written = {int(details["index"]) for details in interpreter.get_input_details()}
    read: set[int] = set()
    for details in interpreter._get_ops_details():  # noqa: SLF001  there is no public way
        written.update(int(index) for index in details["outputs"])
        read.update(int(index) for index in details["inputs"])
    scratch = {int(details["index"]) for details in interpreter.get_tensor_details()} - read
    blocks = sorted(block for index in written | scratch for block in _address(interpreter, index))
    total, end = 0, 0
    for low, high in blocks:
        if low > end + _ALIGNMENT:  # another arena, or the heap
            end = low
        total += max(0, high - end)
        end = max(end, high)
    return total


def delegated(interpreter: Any) -> tuple[int, int]:
    """How many operators of the main subgraph a delegate has taken, and how many there are.

    Of an interpreter of either package, once its tensors are allocated. A delegate is a node more, at the
    end, whose inputs are all that its operators read from elsewhere; walking back from its outputs finds them.
    """
    nodes = interpreter._get_ops_details()  # noqa: SLF001  there is no public way
    own = [node for node in nodes if "DELEGATE" not in str(node["op_name"]).upper()]
    maker = {int(index): at for at, node in enumerate(own) for index in node["outputs"]}
    taken: set[int] = set()
    for node in nodes[len(own) :]:
        given = {int(index) for index in node["inputs"]}
        wanted = [int(index) for index in node["outputs"]]
        while wanted:
            at = maker.get(wanted.pop())
            if at is not None and at not in taken:
                taken.add(at)
                wanted += [int(index) for index in own[at]["inputs"] if int(index) not in given]
    return len(taken), len(own)


def _address(interpreter: Any, index: int) -> Iterator[Block]:
    try:
        view = interpreter.tensor(index)()
    except ValueError:  # not allocated, or of a type without memory of its own
        return
    start = int(np.asarray(view).__array_interface__["data"][0])
    if view.nbytes:
        yield start, start + int(view.nbytes)
