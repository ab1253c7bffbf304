"""What an operator of a `.tflite` file works on: types, shapes and scales of its tensors, and its options.

Everything may be missing in a file that somebody else wrote; it then reads as None, (), 0 or False.
"""

from typing import Any

from wherry.converters.flatbuffer import indices, shape, type_names


def scales(tensor: Any) -> tuple[float, ...]:
    """One for each channel, one in all, or none where the tensor is not quantized."""
    stored = tensor.quantization
    return () if stored is None or stored.scale is None else tuple(float(scale) for scale in stored.scale)


class Signature:
    """One operator in its subgraph."""

    def __init__(self, graph: Any, op: Any) -> None:
        self._options = op.builtinOptions
        self._inputs = [self._tensor(graph, index) for index in indices(op.inputs)]
        self._outputs = [self._tensor(graph, index) for index in indices(op.outputs)]

    def input(self, at: int) -> Any | None:
        return self._inputs[at] if at < len(self._inputs) else None

    def output(self, at: int) -> Any | None:
        return self._outputs[at] if at < len(self._outputs) else None

    def type(self, at: int = 0) -> str:
        """Type of an input; the empty string where there is none."""
        return _type(self.input(at))

    def output_type(self, at: int = 0) -> str:
        return _type(self.output(at))

    def types(self) -> tuple[str, str, str]:
        """Types of the input, the weights and the output."""
        return self.type(0), self.type(1), self.output_type(0)

    def shape(self, at: int = 0) -> tuple[int, ...]:
        tensor = self.input(at)
        return () if tensor is None else shape(tensor)

    def rank(self, at: int = 0) -> int:
        return len(self.shape(at))

    @property
    def operands(self) -> int:
        """How many operands are named, those included that are left out by -1."""
        return len(self._inputs)

    @property
    def broadcasts_beyond_4d(self) -> bool:
        """Whether two inputs of different shapes are broadcast, and one has more than four dimensions."""
        return self.operands >= 2 and self.shape(0) != self.shape(1) and max(self.rank(0), self.rank(1)) > 4

    def scales(self, at: int) -> tuple[float, ...]:
        tensor = self.input(at)
        return () if tensor is None else scales(tensor)

    def output_scales(self, at: int = 0) -> tuple[float, ...]:
        tensor = self.output(at)
        return () if tensor is None else scales(tensor)

    def has_quantization(self, *at: int) -> bool:
        """Whether any of the inputs has a quantization entry, be it an empty one."""
        return any(getattr(self.input(index), "quantization", None) is not None for index in at)

    @property
    def sparse_weights(self) -> bool:
        return getattr(self.input(1), "sparsity", None) is not None

    def option(self, name: str) -> int:
        """An option of the operator, flags included; 0 where it has none of that name."""
        return int(getattr(self._options, name, 0) or 0)

    @staticmethod
    def _tensor(graph: Any, index: int) -> Any | None:
        return graph.tensors[index] if graph.tensors is not None and 0 <= index < len(graph.tensors) else None


def _type(tensor: Any | None) -> str:
    return "" if tensor is None else type_names().get(tensor.type, "")
