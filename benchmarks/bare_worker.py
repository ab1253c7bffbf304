"""A bare worker: `python -m benchmarks.bare_worker MODEL`. Imports LiteRT, loads the model, answers once, leaves."""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
(given,) = interpreter.get_input_details()
interpreter.set_tensor(given["index"], np.zeros(given["shape"], given["dtype"]))
interpreter.invoke()
answer = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
print(answer.size, flush=True)
sys.stdin.read()
