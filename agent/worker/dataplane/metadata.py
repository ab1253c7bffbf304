"""What the data plane says of itself and of the model.

What the protocol has no field for is under `parameters`, which its clients pass over.
"""

from typing import Any

import msgspec

from wherry import __version__
from wherry.agent.worker.dataplane.datatypes import datatype
from wherry.agent.worker.messages import Identity
from wherry.protocol.manifest import TensorSpec

PARAMETERS = {
    "label": "of a request: the index of the right class, which is counted",
    "dequantize": "of a request or an output: real values (FP32) instead of stored ones",
    "binary_data_output": "of a request: every output in binary form",
    "binary_data": "of an output: in binary form",
    "classification": "of an output: so many classes, the highest first, as score:index:label",
}


def server_metadata() -> bytes:
    return msgspec.json.encode(
        {"name": "wherry", "version": __version__, "extensions": ["binary_tensor_data", "classification"]}
    )


def model_metadata(identity: Identity, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> bytes:
    return msgspec.json.encode(
        {
            "name": identity.model or identity.slot,
            "versions": [str(identity.version)],
            "platform": "tflite",
            "inputs": [_tensor(spec) for spec in inputs],
            "outputs": [_tensor(spec) for spec in outputs],
            "parameters": {
                "slot": identity.slot,
                "variant": identity.variant,
                "labels": identity.labels,
                "request_parameters": PARAMETERS,
            },
        }
    )


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    said = {"quantization": spec.quantization, "layout": spec.layout, "preprocessing": spec.preprocessing}
    parameters = {name: msgspec.to_builtins(value) for name, value in said.items() if value}
    return {"name": spec.name, "datatype": datatype(spec.dtype), "shape": spec.shape, "parameters": parameters}
