"""What a source says about itself, and what the user may say about it: the terms between sources and pipeline.

Shapes are those of one call, with every length fixed. Where the source has a batch dimension it is the
first, and 1; samples of such an input are [N, *shape[1:]], of any other [N, *shape].
"""

from typing import Literal

from wherry.protocol.manifest import DType, Quantization
from wherry.protocol.types import Count, Struct

Framework = Literal["keras", "tf_keras", "saved_model", "onnx", "pytorch", "tflite"]


class SourceOptions(Struct, frozen=True, kw_only=True):
    """What cannot be read off the source, or should be other than it says.

    `input_shapes`: by input name, whole, with the batch; the name "" stands for the only input.
    `layout`: `nhwc` turns channels-first pictures, `keep` leaves inputs as the source has them.
    `signature`: of a SavedModel; `serving_default`, or the only one, without it.
    `weights`: absolute path of a state dict for a `module:factory` source.
    `trust_pickle`: the user says that a pickled file may run its code.
    """

    input_shapes: dict[str, tuple[int, ...]] = {}
    layout: Literal["nhwc", "keep"] = "nhwc"
    signature: str = ""
    weights: str = ""
    trust_pickle: bool = False


class End(Struct, frozen=True, kw_only=True):
    """One input or output, in the source's own name, layout and type.

    `axes` takes the source's shape (batch included) to that of the float TFLite, as numpy.transpose
    does; empty where both are the same. With `quantization` the source stores integers of `dtype` for real values:
    data of that very type is taken as stored, any other as real.
    """

    name: str
    shape: tuple[Count, ...]
    dtype: DType = "float32"
    batched: bool = True
    axes: tuple[Count, ...] = ()
    quantization: Quantization | None = None

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.shape[1:] if self.batched else self.shape


class SourceModel(Struct, frozen=True, kw_only=True):
    """A source that was brought to a float TFLite; inputs and outputs are in the order of that file.

    `layers`: from tensor names of the float TFLite to the names that the source's author gave the layers.
    `tools`: versions of the packages that had a part in the bytes. `quantized`: the source is a TFLite file
    that holds integers already, so there is no float model to compare with.
    """

    framework: Framework
    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    layers: dict[str, str] = {}
    tools: dict[str, str] = {}
    quantized: bool = False
