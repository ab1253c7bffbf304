"""The probe's model is what its generator makes, and nobody else's."""

from tests.support.tiny_model import probe_dense
from wherry.agent.adapters import probe_model


def test_the_probe_model_is_what_the_generator_makes() -> None:
    dense = probe_dense()
    assert dense.file() == probe_model.FILE
    assert (dense.input_spec, dense.output_spec) == (probe_model.INPUT, probe_model.OUTPUT)
