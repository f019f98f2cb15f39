"""PNG images: writing, header checks before anything is decoded, and reading.

Only PNG is opened, because exact pixels matter, and because other decoders start other programs (EPS starts
Ghostscript).

Source: PNG specification, third edition, sections 5, 9 and 11.2.1.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PureWindowsPath
from typing import Literal

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from helpers.records import RESTORE, DatasetError, explain, read_bytes, require_file

Mode = Literal["L", "RGB"]

LARGEST_IMAGE = 2**24
"""Pixels: 50 MB as RGB. Larger images are refused by their headers."""
_REMEDY = f"{RESTORE}, or move it away and take its record out"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_LENGTH = 33  # bytes: signature, length, IHDR, 13 bytes of content, checksum
_COLOUR_TYPES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_OTHER_FORMATS = {
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"RIFF": "WebP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"%!PS": "EPS",
}


# Writing


def write_image(path: Path, image: UInt8[np.ndarray, "H W *C"]) -> None:
    """Write a grey [H, W] or colour [H, W, 3] image as PNG.

    Each row is stored as its difference to the row above, and only runs of equal bytes are compressed. For drawings the
    files are as small as Pillow's. Pillow with the same strategy (`compress_type=zlib.Z_RLE`) takes 3 to 4 times as
    long, because it tries all five filters on every row: 4.1 instead of 1.1 ms for a detection image, 0.56 instead of
    0.19 ms for a keypoint image. Both datasets would take 0.80 of the handout's time, not 0.45
    (`benchmarks.data_generation`; to reach: 0.50).
    """
    height, width = image.shape[:2]
    pixels = image.reshape(height, -1)
    rows = np.empty((height, 1 + pixels.shape[1]), np.uint8)
    rows[:, 0] = 2  # the filter "up"
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    deflate = zlib.compressobj(level=1, strategy=zlib.Z_RLE)
    compressed = deflate.compress(rows.data) + deflate.flush()
    colour_type = 0 if image.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", compressed), (b"IEND", b""))
    path.write_bytes(_PNG_SIGNATURE + b"".join(_pack_chunk(name, data) for name, data in chunks))


def _pack_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))


# Names


def leaves_folder(name: str) -> bool:
    """Return whether the file name `name` may lie outside its folder, or is no name of a file at all.

    Refused are absolute paths, drive letters, empty parts, "." and ".." (with either slash), control characters and
    characters that no file system can store.
    """
    parts = name.replace("\\", "/").split("/")
    if any(part in ("", ".", "..") for part in parts) or PureWindowsPath(name).drive:
        return True
    return any(ord(letter) < 32 or 0xD800 <= ord(letter) <= 0xDFFF for letter in name)


# Headers


def read_image_sizes(folder: Path, file_names: Sequence[str], mode: Mode | None = None) -> Int64[np.ndarray, "M 2"]:
    """Return (height, width) of PNG images from their first bytes: thirty thousand take about a second.

    Args:
        mode: the mode that every image has to have; `None` accepts any.

    Raises:
        DatasetError: an image is missing, no PNG, larger than `LARGEST_IMAGE` or of another mode.
    """
    sizes = np.empty((len(file_names), 2), np.int64)
    for row, name in enumerate(file_names):
        path = folder / name
        sizes[row] = _check_header(path, _read_start(path), None, mode)
    return sizes


def _read_start(path: Path) -> bytes:
    require_file(path, "image", _REMEDY)
    try:
        with path.open("rb") as stream:
            return stream.read(_HEADER_LENGTH)
    except OSError as error:
        raise DatasetError(f"{path}: the image cannot be read ({explain(error)}). {_REMEDY}") from None


def _parse_header(path: Path, start: bytes) -> tuple[tuple[int, int], str]:
    """Return (height, width) and mode of the PNG image that begins with the bytes `start`."""
    for signature, name in _OTHER_FORMATS.items():
        if start.startswith(signature):
            raise DatasetError(f"{path}: no PNG image, but {name}. Images of a set are PNG: save them as PNG")
    header = start[:_HEADER_LENGTH]
    checksum = struct.pack(">I", zlib.crc32(header[12:29]))
    if len(header) < _HEADER_LENGTH or header[:16] != _PNG_SIGNATURE + b"\0\0\0\x0dIHDR" or header[29:] != checksum:
        raise DatasetError(f"{path}: no PNG image, or one whose beginning is damaged. {_REMEDY}")
    width, height, depth, colour_type = struct.unpack(">IIBB", header[16:26])
    if width == 0 or height == 0 or depth not in _BIT_DEPTHS.get(colour_type, ()):
        raise DatasetError(f"{path}: no PNG image: its header allows no pixels. {_REMEDY}")
    if height * width > LARGEST_IMAGE:
        raise DatasetError(
            f"{path}: the image is {(height, width)} (height, width), more than {LARGEST_IMAGE} pixels. "
            "Scale it down, and its annotations with it"
        )
    mode = _COLOUR_TYPES[colour_type]
    return (height, width), mode if depth == 8 or mode == "P" else f"{mode} with {depth} bits"


def _check_header(path: Path, start: bytes, size: tuple[int, int] | None, mode: Mode | None) -> tuple[int, int]:
    """Return (height, width) of the image that begins with `start`; refuse another size or mode than expected."""
    actual_size, actual_mode = _parse_header(path, start)
    if size is not None and actual_size != size:
        raise DatasetError(f"{path}: the image is {actual_size} (height, width), but recorded as {size}. {_REMEDY}")
    if mode is not None and actual_mode != mode:
        raise DatasetError(f"{path}: its mode is {actual_mode}, not {mode}. Convert the image to {mode}")
    return actual_size


# Reading


def read_images(
    folder: Path, file_names: Sequence[str], sizes: Int64[np.ndarray, "M 2"], mode: Mode
) -> UInt8[np.ndarray, "M H W *C"]:
    """Return the images as one array, [M, H, W] for mode "L" and [M, H, W, 3] for "RGB".

    The header of every image is checked before memory is reserved. One thread decodes: images this small are decoded
    faster than they are handed over to a second one.

    Raises:
        DatasetError: an image is missing, truncated, of another mode or size than recorded, the sizes differ, or all
            images together do not fit into memory.
    """
    channels = (3,) if mode == "RGB" else ()
    if len(file_names) == 0:
        return np.empty((0, 0, 0, *channels), np.uint8)
    height, width = sizes[0].tolist()
    differing = int((sizes != sizes[0]).any(axis=1).argmax())
    if differing:
        raise DatasetError(
            f"{folder / file_names[differing]}: it is recorded as {tuple(sizes[differing].tolist())} (height, width), "
            f"the first image as {(height, width)}. Images of one set have one size: resize them and their annotations"
        )
    paths = [folder / name for name in file_names]
    _try_all(paths, lambda row: _check_header(paths[row], _read_start(paths[row]), (height, width), mode))
    try:
        pixels = np.empty((len(file_names), height, width, *channels), np.uint8)
    except MemoryError:
        size = len(file_names) * height * width * (3 if channels else 1) / 2**30
        raise DatasetError(f"{folder}: {len(file_names)} images take {size:.0f} GB of memory. Read fewer") from None

    def decode(row: int) -> None:
        pixels[row] = read_image(paths[row], (height, width), mode)

    _try_all(paths, decode)
    return pixels


def _try_all(paths: Sequence[Path], read: Callable[[int], object]) -> None:
    """Call `read(row)` for every image; raise the first error, with the number of broken images."""
    problems = []
    for row in range(len(paths)):
        try:
            read(row)
        except DatasetError as error:
            problems.append(error)
    if problems:
        others = f" ({len(problems)} of {len(paths)} images are broken)" if len(problems) > 1 else ""
        raise DatasetError(f"{problems[0]}{others}")


def read_image(path: Path, size: tuple[int, int], mode: Mode) -> UInt8[np.ndarray, "H W *C"]:
    """Return one image, [H, W] for mode "L" and [H, W, 3] for "RGB"; it cannot be written to.

    Raises:
        DatasetError: it is missing, no PNG, truncated, of another mode, or not as large as `size` (height, width).
    """
    content = read_bytes(path, "image", _REMEDY)
    _check_header(path, content[:_HEADER_LENGTH], size, mode)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # `verify` compares every chunk's checksum, which decoding alone does not.
            Image.open(io.BytesIO(content), formats=("PNG",)).verify()
            with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
                if (image.height, image.width) != size or image.mode != mode:  # Pillow follows a second header
                    raise ValueError("two headers that differ")
                return np.asarray(image)
    except Exception as error:  # Pillow raises many kinds, depending on the damaged byte
        reason = explain(error, 80)
        raise DatasetError(f"{path}: the image is truncated or damaged ({reason}). {_REMEDY}") from None
