"""What can keep a conversion from producing a version.

ConversionError
├── BadRequest            the request itself
├── SourceError           the model file
│   ├── SourceMissing         nothing readable at the path
│   ├── UnreadableModel       truncated, damaged, or not a model
│   ├── UnsafeModel           holds code, which is never run
│   └── UnsupportedModel      a sound model that cannot be converted yet
├── DataError             the calibration or evaluation file
├── OutputError           the place where the package should go
├── Exhausted             memory or time ran out
├── ToolFailed            a converter of others gave up on this model
└── Refused               converted, but not shown to be right
    ├── UnsupportedOperators  custom or TensorFlow operators, which no device runtime has
    ├── ParityLost            the float TFLite does not compute what the source computes
    ├── BudgetMissed          quantizing costs more than the request allows
    └── NoRuntime             no installed runtime runs the file

All of these are for the person who asked: `message` says what is wrong and where, `fix` what to do.
Every other exception is a bug of ours.
"""


class ConversionError(Exception):
    """The conversion cannot give a version, and the user can change that."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class BadRequest(ConversionError):
    """The request is not valid, or asks for what does not fit together."""


class SourceError(ConversionError):
    """The model file is at fault."""


class SourceMissing(SourceError):
    """There is no readable file at the path."""


class UnreadableModel(SourceError):
    """The file is truncated, damaged, or not a model of the kind that its name says."""


class UnsafeModel(SourceError):
    """Loading the file would run code that is stored in it."""


class UnsupportedModel(SourceError):
    """The model is sound, but of a form that cannot be converted yet."""


class DataError(ConversionError):
    """The calibration or evaluation data cannot be used with this model."""


class OutputError(ConversionError):
    """The package cannot be written where it should be."""


class Exhausted(ConversionError):
    """The conversion needs more memory or time than it may have."""


class ToolFailed(ConversionError):
    """A converter that is not ours, such as onnx2tf, ended without a result."""


class Refused(ConversionError):
    """The model was converted, but what came out must not be shipped.

    `report_dir` holds the report of how far it came; empty where there is none.
    """

    report_dir = ""


class UnsupportedOperators(Refused):
    """The model needs operators that the runtimes of devices do not have."""


class ParityLost(Refused):
    """The float TFLite computes something else than the source."""


class BudgetMissed(Refused):
    """The compressed model is worse than the float model by more than the request allows."""


class NoRuntime(Refused):
    """No installed runtime loads and runs the file."""
