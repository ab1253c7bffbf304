"""A folder of pictures, by class in folders of their own, or without labels all in one.

Rules upheld here:
- Pictures come upright (EXIF), in the model's size, with values from 0 to 255, height by width by channels.
- Folders are classes in the order of their names; hidden files and folders are passed over.
- Only pictures that are taken are opened, and only by decoders of common formats.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from wherry.converters.data.layouts import source_layout, turned
from wherry.converters.data.rows import Array, ArrayColumn, Found, Labels
from wherry.converters.errors import DataError
from wherry.converters.model import End
from wherry.protocol.manifest import Preprocessing

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_FORM = "put pictures (.png, .jpg, .bmp, …) into one folder a class, FOLDER/CLASS/PICTURE, or all into FOLDER"


def read_folder(where: str, path: Path, ends: tuple[End, ...], how: Preprocessing | None) -> Found:
    """The pictures below `path`. Raises DataError."""
    size, channels, flat = _picture_input(where, ends)
    classes, files = _files(where, path)
    mode = _MODES[channels]
    pictures = PictureColumn(
        where, tuple(file for file, _ in files), mode, size, how is not None and how.color == "bgr", flat
    )
    labels = np.array([label for _, label in files], np.int64)
    return Found(
        where,
        {"x": pictures},
        ArrayColumn(f"{where}: labels", labels) if classes else None,
        classes,
        layout="NHWC",
        fix=_FORM,
    )


@dataclass(frozen=True)
class PictureColumn:
    """Pictures as [N, height, width, channels] uint8; `flat` leaves the one channel out."""

    where: str
    files: tuple[Path, ...]
    mode: str
    size: tuple[int, int]
    is_bgr: bool = False
    flat: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        channels = () if self.flat else (Image.getmodebands(self.mode),)
        return (len(self.files), *self.size, *channels)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8)

    def take(self, indices: Labels) -> Array:
        taken = np.empty((len(indices), *self.shape[1:]), np.uint8)
        for place, index in enumerate(indices):
            values = _read(self.files[index], self.mode, self.size)
            taken[place] = (values[..., ::-1] if self.is_bgr else values).reshape(self.shape[1:])
        return taken


def _picture_input(where: str, ends: tuple[End, ...]) -> tuple[tuple[int, int], int, bool]:
    """Size (height, width), channels, and whether these are left out, of the model's only input."""
    if len(ends) > 1:
        names = ", ".join(end.name for end in ends)
        raise DataError(
            f"{where}: a folder of pictures, but the model has {len(ends)} inputs: {names}",
            "give a .npz file with one array for each input",
        )
    [end] = ends
    shape = end.sample_shape
    if len(shape) == 2:
        return (shape[0], shape[1]), 1, True
    layout = source_layout(end)
    height, width, channels = turned(shape, layout, "NHWC") if layout else (0, 0, 0)
    if channels not in _MODES:
        raise DataError(
            f"{where}: a folder of pictures, but the model takes {list(end.shape)}",
            "give a .npz file; pictures have 1, 3 or 4 channels",
        )
    return (height, width), channels, False


def _files(where: str, path: Path) -> tuple[tuple[str, ...], list[tuple[Path, int]]]:
    """Class names, empty without classes, and each picture with its class. Raises DataError."""
    try:
        loose = _pictures_in(path)
        folders = [entry for entry in _visible(path) if entry.is_dir()]
        by_class = [_pictures_in(folder) for folder in folders]
    except OSError as error:
        raise DataError(f"{where}: not readable: {error.strerror}", "change its permissions") from error
    if loose and any(by_class):
        raise DataError(f"{where}: has pictures both in folders and beside them, as {loose[0].name}", _FORM)
    if any(by_class):
        files = [(file, label) for label, pictures in enumerate(by_class) for file in pictures]
        return tuple(folder.name for folder in folders), files
    if loose:
        return (), [(file, 0) for file in loose]
    raise DataError(f"{where}: a folder without pictures" + _what_is_there(path, folders), _FORM)


def _what_is_there(path: Path, folders: list[Path]) -> str:
    deeper = next(
        (inner for folder in folders for inner in _visible(folder) if inner.is_dir() and _pictures_in(inner)), None
    )
    if deeper:
        return f"; they lie one level deeper, as in {deeper.relative_to(path)}: name {deeper.parent.name} instead"
    suffixes = sorted({entry.suffix or entry.name for entry in _visible(path) if entry.is_file()})
    return f" (found: {', '.join(suffixes[:5])})" if suffixes else ""


def _visible(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if not entry.name.startswith((".", "__MACOSX")))


def _pictures_in(path: Path) -> list[Path]:
    return [entry for entry in _visible(path) if entry.suffix.lower() in SUFFIXES and entry.is_file()]


def _read(path: Path, mode: str, size: tuple[int, int]) -> Array:
    """uint8 [height, width, channels], or [height, width] of one channel. Raises DataError."""
    height, width = size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                upright = ImageOps.exif_transpose(image)
                return np.asarray(_converted(upright, mode).resize((width, height), Image.Resampling.BILINEAR))
    except MemoryError:
        raise
    except PermissionError as error:
        raise DataError(f"{path}: not readable by this user", "change its permissions") from error
    except Exception as error:  # decoders raise what they like on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not a picture that can be read: {reason}", "remove it, or save it anew") from error


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """The picture with 8 bits a channel; transparency is kept only where the model takes it."""
    if image.mode.startswith("I"):  # 16 bits
        image = Image.fromarray((np.asarray(image, np.float64) / 257).clip(0, 255).round().astype(np.uint8))
    if "transparency" in image.info and mode != "L":
        image = image.convert("RGBA")
    return image.convert(mode)
