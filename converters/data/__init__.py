"""Calibration and evaluation data: read, brought to the form of the model's inputs, and looked through for faults."""

from wherry.converters.data.fitness import check_labels, check_variation
from wherry.converters.data.loading import load
from wherry.converters.data.preprocessing import parse_preprocess
from wherry.converters.data.sample_set import SampleSet
from wherry.converters.data.spread import evenly

__all__ = [
    "SampleSet",
    "check_labels",
    "check_variation",
    "evenly",
    "load",
    "parse_preprocess",
]
