"""What a client asks of a conversion job, and the request to the converters that it becomes.

Rules upheld here:
- Options are the fields of `ConversionRequest` under their own names, so a new one needs no change here.
- Paths are the controller's to fill in: an option that names one is refused, and so is one that is not known.
- Code of the client is run only where the controller was told that it may.
"""

import math
import re
import tomllib
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from wherry.controller.errors import Invalid
from wherry.protocol.conversion import ConversionRequest
from wherry.protocol.types import Digest, Name, Struct, is_name

Part = Literal["source", "calibration", "evaluation", "weights"]
PARTS: tuple[Part, ...] = ("source", "calibration", "evaluation", "weights")

FIELDS = frozenset(ConversionRequest.__struct_fields__)
CODE = frozenset({"trust_pickle"})
"""Options that let code of the client run."""

_OURS = frozenset({*PARTS, "name", "out_dir"})
_PATH = re.compile(r"(^|_)(dir|directory|path|file)$")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,16}\Z")
_CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z")


class Input(Struct, frozen=True, kw_only=True):
    """A blob that was uploaded, or, where the controller runs code of its clients, `package.module:callable`.

    Of `file_name` only the suffix counts; `.zip` is a directory.
    """

    digest: Digest | None = None
    file_name: Annotated[str, msgspec.Meta(max_length=255)] = ""
    callable: Annotated[str, msgspec.Meta(max_length=255)] = ""

    @property
    def suffix(self) -> str:
        """`.keras`, in lower case; empty where the name has none."""
        found = _SUFFIX.search(self.file_name)
        return found.group().lower() if found is not None else ""


class ConversionOrder(Struct, frozen=True, kw_only=True):
    """What is to be converted, how, and as which model.

    `recipe` has the names of variants, as in `int8,float16`, or is the text of a recipe in TOML. `options` are
    the fields of a conversion request that are no paths.
    """

    model: Name
    source: Input
    calibration: Input
    evaluation: Input | None = None
    weights: Input | None = None
    recipe: Annotated[str, msgspec.Meta(max_length=100_000)] | None = None
    options: dict[str, Any] = {}
    notes: Annotated[str, msgspec.Meta(max_length=2000)] = ""

    @property
    def inputs(self) -> dict[Part, Input]:
        """Those that were given, in a fixed order."""
        return {part: given for part in PARTS if (given := getattr(self, part)) is not None}


def check(order: ConversionOrder, *, trusted: bool) -> None:
    """Raises Invalid for what cannot become a request; `trusted` lets code of the client run."""
    for part, given in order.inputs.items():
        _check_input(part, given, trusted=trusted)
        _check_known(part)
    for name in order.options:
        _check_option(name, trusted=trusted)
    request(order, lambda part: f"/{part}", "/package", "/cache")


def request(order: ConversionOrder, path: Callable[[Part], str], out_dir: str, cache_dir: str) -> ConversionRequest:
    """The request to the converters, with the files where `path` says. Raises Invalid."""
    fields: dict[str, Any] = dict(order.options)
    if order.recipe is not None:
        if "recipe" in fields:
            raise Invalid("the recipe is given twice", "give it as `recipe`, or among the options")
        fields["recipe"] = _recipe(order.recipe)
    fields |= {"name": order.model, "out_dir": out_dir, "cache_dir": cache_dir}
    fields |= {part: given.callable or path(part) for part, given in order.inputs.items()}
    _check_fields(fields, ConversionRequest, "")
    try:
        return msgspec.convert(fields, ConversionRequest)
    except msgspec.ValidationError as error:
        raise Invalid(f"an option of the conversion is not right: {error}", "correct it") from error


def in_their_words(order: ConversionOrder, text: str, work_dir: str) -> str:
    """`text` of the converters with the client's own file names for the paths that the controller gave them."""
    for part, given in order.inputs.items():
        ours = f"{work_dir}/{part}" if given.suffix == ".zip" else f"{work_dir}/{part}{given.suffix}"
        text = text.replace(ours, given.file_name) if given.digest is not None else text
    return text.replace(f"{work_dir}/", "")


def _recipe(text: str) -> dict[str, Any]:
    variants = text.split(",")
    if all(map(is_name, variants)):
        return {"variants": variants}
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Invalid(f"the recipe is neither a variant's name nor TOML: {error}", "correct it") from error


def _check_input(part: Part, given: Input, *, trusted: bool) -> None:
    if given.callable:
        if not trusted:
            raise Invalid(
                f"{part}: {given.callable} would run code on the controller",
                "upload a file, or convert with `wherry convert` on your own machine",
            )
        if not _CALLABLE.match(given.callable) or given.digest is not None:
            raise Invalid(f"{part}: not `package.module:callable`, or a digest beside it", "give one of them")
        return
    if given.digest is None:
        raise Invalid(f"{part}: no digest", "upload the file, and name it by its digest")
    if "/" in given.file_name or "\\" in given.file_name or "\0" in given.file_name:
        raise Invalid(f"{part}: file_name {given.file_name!r} has a directory", "give the name alone, as in net.keras")
    if not given.suffix and part != "weights":
        raise Invalid(f"{part}: file_name {given.file_name!r} has no suffix", "it says what the file is, as .keras")


def _check_option(name: str, *, trusted: bool) -> None:
    if name in _OURS:
        raise Invalid(f"{name} is no option", "it is a field of the body, or the controller's to say")
    if _PATH.search(name):
        raise Invalid(f"the option {name} is a path on the controller", "leave it out")
    if name in CODE and not trusted:
        raise Invalid(
            f"the option {name} would run code on the controller", "convert with `wherry convert` on your own machine"
        )
    _check_known(name)


def _check_known(name: str) -> None:
    if name not in FIELDS:
        options = sorted(option for option in FIELDS - _OURS if not _PATH.search(option))
        raise Invalid(f"the converters know no {name}", f"options are {', '.join(options)}")


def _check_fields(fields: dict[str, Any], shape: type[msgspec.Struct], where: str) -> None:
    """Raises Invalid for a name that a part of the request does not have: on the wire it would be ignored."""
    hints = get_type_hints(shape)
    unknown = sorted(fields.keys() - hints.keys())
    if unknown:
        raise Invalid(f"no option {where}{unknown[0]}", f"there are {', '.join(hints)}")
    for name, value in fields.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise Invalid(f"{where}{name} is {value:g}, which is not a number to count to", "correct it")
        inner = _struct(hints[name])
        if inner is not None and isinstance(value, dict):
            _check_fields(value, inner, f"{where}{name}.")


def _struct(kind: Any) -> type[msgspec.Struct] | None:
    """The struct that a field holds, be it optional or not."""
    if get_origin(kind) in (Union, types.UnionType):
        found = [inner for inner in map(_struct, get_args(kind)) if inner is not None]
        return found[0] if len(found) == 1 else None
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None
