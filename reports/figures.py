"""The report's pictures: mosaics as one array each."""

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secondglance.imaging.glance_changes import ADDED, CHANGED, REMOVED

COLOURS = {1: (230, 159, 0), 2: (86, 180, 233), 3: (204, 121, 167)}
"""WM, GM and CSF as RGB, distinct for colour-blind readers too (Okabe and Ito)."""

CHANGES = {REMOVED: (213, 94, 0), ADDED: (0, 158, 115), CHANGED: (204, 121, 167)}
"""What the second glance removed, added and relabelled; no yellow, which outlines the mask."""

WARM, COLD = (255, 176, 60), (70, 160, 255)
"""Ends of signed values."""

INFERNO = (
    *((0, 0, 4), (27, 12, 65), (74, 12, 107), (120, 28, 109), (165, 44, 96)),
    *((207, 68, 70), (237, 105, 37), (251, 155, 6), (247, 209, 61), (252, 255, 164)),
)
"""The colour map of that name at ten even steps."""

LEAST_TILE = 40
"""Pixels of a slice in a mosaic below which numbers would cover it."""

MASK_COLOUR = (255, 212, 59)
PICTURE_WIDTH = 1400
"""Of a mosaic, pixels; it is at least three quarters of this wide."""
QUALITY = 75
"""Of pictures inside a page, JPEG's 1 to 95."""

JPEG_SIDE = 65500
"""Longest side that a JPEG can hold, pixels (libjpeg's ``JPEG_MAX_DIMENSION``)."""


def occupied_box(stack: NDArray, masks: NDArray) -> tuple[slice, slice, slice]:
    """Find the box in plane beyond which a stack is empty.

    Parameters
    ----------
    stack : (N, H, W) array
    masks : (N, H, W) bool array
        Are in the box, too.

    Returns
    -------
    (slice, slice, slice)
        All slices, and the extent along H and W; the whole frame where all is empty.

    Examples
    --------
    >>> image = np.zeros((2, 9, 9))
    >>> image[1, 3:5, 6] = 1
    >>> occupied_box(image, image > 0)[1:]
    (slice(3, 5, None), slice(6, 7, None))
    """
    n, *frame = stack.shape
    found = [slice(0, n)]
    for axis, size in enumerate(frame, 1):
        used = np.flatnonzero(((stack != 0) | masks).any(axis=(0, 3 - axis)))
        found.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, size))
    return found[0], found[1], found[2]


def grey(stack: NDArray, like: NDArray | None = None) -> NDArray[np.uint8]:
    """Turn intensities to grey, each stack between its 1st and 99.5th percentile.

    Parameters
    ----------
    stack : (N, H, W) array
    like : (N, H, W) array, optional
        The stack that has the percentiles, where it is another.

    Returns
    -------
    (N, H, W, 3) uint8 array
    """
    stack = np.nan_to_num(np.asarray(stack, np.float32))
    scale = stack if like is None else np.nan_to_num(np.asarray(like, np.float32))
    positive = scale[scale > 0]
    high = np.percentile(positive, 99.5) if positive.size else 1.0
    low = np.percentile(scale, 1)
    level = np.clip((stack - low) / max(high - low, 1e-12), 0, 1)
    return np.repeat((255 * level).astype(np.uint8)[..., None], 3, axis=-1)


def diverging(stack: NDArray) -> NDArray[np.uint8]:
    """Turn signed values to blue, black and orange; each slice has its own range.

    Parameters
    ----------
    stack : (N, H, W) array
        Any unit; NaN is taken as 0.

    Returns
    -------
    (N, H, W, 3) uint8 array
    """
    level = signed_level(stack)[..., None]
    warm, cold = np.array(WARM), np.array(COLD)
    return (np.clip(level, 0, 1) * warm + np.clip(-level, 0, 1) * cold).astype(np.uint8)


def signed_level(stack: NDArray) -> NDArray[np.float32]:
    """Bring each slice of signed values to [-1, 1] by the 99.5th percentile of its magnitude.

    Parameters
    ----------
    stack : (N, H, W) array
        Any unit; NaN is taken as 0.

    Returns
    -------
    (N, H, W) float32 array
    """
    stack = np.nan_to_num(np.asarray(stack, np.float32))
    high = np.percentile(np.abs(stack), 99.5, axis=(1, 2), keepdims=True)
    return np.clip(stack / np.maximum(high, 1e-30), -1, 1)


def heat(base: NDArray[np.uint8], stack: NDArray) -> NDArray[np.uint8]:
    """Lay values in [0, 1] over grey slices.

    Parameters
    ----------
    base : (N, H, W, 3) uint8 array
        Grey slices.
    stack : (N, H, W) array
        In [0, 1]; cut to that range, and NaN is taken as 0.

    Returns
    -------
    (N, H, W, 3) uint8 array
    """
    level = np.clip(np.nan_to_num(np.asarray(stack, np.float32)), 0, 1)
    steps = np.linspace(0, 1, len(INFERNO))
    colour = np.stack(
        [np.interp(level, steps, channel) for channel in zip(*INFERNO, strict=True)], -1
    )
    part = (0.85 * np.sqrt(level))[..., None]
    return ((1 - part) * 0.8 * base + part * colour).astype(np.uint8)


def ramp(kind: str) -> str:
    """Give a colour map as a gradient of CSS, from its lowest value to its highest.

    Parameters
    ----------
    kind : {'heat', 'signed'}
        Of :func:`heat` over black, or of :func:`diverging`.

    Examples
    --------
    >>> ramp('signed')
    'linear-gradient(to right, rgb(70, 160, 255), rgb(0, 0, 0), rgb(255, 176, 60))'
    """
    if kind == 'signed':
        colours: list[tuple[int, ...]] = [COLD, (0, 0, 0), WARM]
    else:
        levels = np.linspace(0, 1, 9)[None, None]
        shown = heat(np.zeros((*levels.shape, 3), np.uint8), levels)
        colours = [tuple(colour) for colour in shown[0, 0].tolist()]
    return f'linear-gradient(to right, {", ".join(f"rgb{colour}" for colour in colours)})'


def tissue_overlay(
    base: NDArray[np.uint8], labels: NDArray, opacity: float = 0.6
) -> NDArray[np.uint8]:
    """Lay labels over grey slices.

    Parameters
    ----------
    base : (N, H, W, 3) uint8 array
        Grey slices.
    labels : (N, H, W) int array
        Keys of `COLOURS`; others stay grey.
    opacity : float
        In [0, 1].

    Returns
    -------
    (N, H, W, 3) uint8 array
    """
    out = base.astype(np.float32)
    for value, colour in COLOURS.items():
        where = np.asarray(labels) == value
        out[where] = (1 - opacity) * out[where] + opacity * np.array(colour)
    return out.astype(np.uint8)


def changed(base: NDArray[np.uint8], kinds: NDArray) -> NDArray[np.uint8]:
    """Lay a map of changes over dimmed grey slices.

    Parameters
    ----------
    base : (N, H, W, 3) uint8 array
        Grey slices.
    kinds : (N, H, W) int array
        Keys of `CHANGES`; others show the dimmed slice.

    Returns
    -------
    (N, H, W, 3) uint8 array
    """
    out = base // 2
    for value, colour in CHANGES.items():
        out[kinds == value] = colour
    return out


def mosaic(
    slices: NDArray[np.uint8],
    masks: NDArray | None = None,
    aspect: float = 1.0,
    columns: int | None = None,
) -> NDArray[np.uint8]:
    """Put coronal slices side by side, dorsal up and left on the left.

    Parameters
    ----------
    slices : (N, H, W, 3) uint8 array
        H runs left to right, W ventral to dorsal.
    masks : (N, H, W) bool array, optional
        Outlined.
    aspect : float
        Height of a pixel over its width.
    columns : int, optional

    Returns
    -------
    (rows, columns, 3) uint8 array
    """
    n, height, width = slices.shape[:3]
    columns = columns or _columns(n)
    zoom = int(np.ceil(0.75 * PICTURE_WIDTH / columns / height))
    rows = -(-n // columns)
    tile_h, tile_w = max(1, round(width * zoom * aspect)), height * zoom
    y = np.clip((np.arange(tile_h) / (zoom * aspect)).astype(int), 0, width - 1)

    def laid(stack: NDArray) -> NDArray:
        # W points up in the picture; its rows run down
        wide = np.repeat(stack.swapaxes(1, 2)[:, ::-1], zoom, axis=2)
        canvas = np.zeros(
            (rows * (tile_h + 2), columns * (tile_w + 2), *stack.shape[3:]), stack.dtype
        )
        for index, tile in enumerate(wide):
            row, column = divmod(index, columns)
            top, left = row * (tile_h + 2), column * (tile_w + 2)
            canvas[top : top + tile_h, left : left + tile_w] = tile[y]
        return canvas

    canvas = laid(slices)
    if masks is not None:
        inside = laid(np.asarray(masks, bool))
        canvas[inside & ~_eroded(inside, max(1, zoom // 2))] = MASK_COLOUR
    return canvas


def _eroded(mask: NDArray[np.bool_], times: int) -> NDArray[np.bool_]:
    """Take the rim off a mask, a pixel each time; many times as fast as SciPy for a picture."""
    wide = np.pad(mask, 1)
    for _ in range(times):
        within = wide[1:-1, 1:-1] & wide[2:, 1:-1]
        within &= wide[:-2, 1:-1]
        within &= wide[1:-1, 2:]
        within &= wide[1:-1, :-2]
        wide[1:-1, 1:-1] = within
    return wide[1:-1, 1:-1]


def _columns(n: int) -> int:
    """Columns of a mosaic: twice as many as rows."""
    return min(n, int(np.ceil(np.sqrt(n * 2))))


def annotate(
    picture: NDArray[np.uint8],
    n: int,
    across_mm: float,
    edges: tuple[str, str, str, str],
) -> NDArray[np.uint8]:
    """Write slice numbers on a mosaic, what lies left and right, and a scale bar.

    Parameters
    ----------
    picture : (rows, columns, 3) uint8 array
        From :func:`mosaic`, with its default columns.
    n : int
        Slices in it.
    across_mm : float
        Width of a slice.
    edges : (str, str, str, str)
        What lies left, right, up and down.
    """
    from PIL import Image, ImageDraw, ImageFont

    columns = _columns(n)
    width, height = picture.shape[1] // columns, picture.shape[0] // -(-n // columns)
    if min(width, height) < LEAST_TILE:
        return picture
    # Two pixels lie between slices
    mm_per_pixel = across_mm / (width - 2)
    image = Image.fromarray(picture)
    drawing = ImageDraw.Draw(image)
    font = ImageFont.load_default(min(18, max(10, width // 8)))
    style: dict[str, Any] = {
        'font': font,
        'fill': 'white',
        'stroke_width': 1,
        'stroke_fill': 'black',
    }
    for index in range(n):
        row, column = divmod(index, columns)
        drawing.text((column * width + 3, row * height + 1), str(index), **style)
    # Once is enough: all slices lie alike
    drawing.text((3, height // 2), edges[0], anchor='lm', **style)
    drawing.text((width - 5, height // 2), edges[1], anchor='rm', **style)
    drawing.text((width // 2, 2), edges[2], anchor='ma', **style)
    length = next((mm for mm in (10, 5, 2, 1, 0.5) if mm / mm_per_pixel < 0.45 * width), 0.2)
    right, bottom = width - 6, height - 6
    left = right - length / mm_per_pixel
    drawing.rectangle((left - 1, bottom - 2, right + 1, bottom + 2), fill='black')
    drawing.rectangle((left, bottom - 1, right, bottom + 1), fill='white')
    drawing.text((right, bottom - 4), f'{length:g} mm', anchor='rs', **style)
    return np.asarray(image)


def thumbnail(slices: NDArray[np.uint8], masks: NDArray, aspect: float = 1.0) -> NDArray[np.uint8]:
    """Show the slice with most brain, its mask outlined, about 190 pixels wide.

    Parameters
    ----------
    slices : (N, H, W, 3) uint8 array
    masks : (N, H, W) bool array
    aspect : float
        As of :func:`mosaic`.

    Returns
    -------
    (rows, columns, 3) uint8 array
    """
    areas = masks.sum((1, 2))
    largest = int(areas.argmax()) if areas.any() else len(slices) // 2
    one = slice(largest, largest + 1)
    picture = mosaic(slices[one], masks[one], aspect, columns=1)
    step = max(1, picture.shape[1] // 190)
    return picture[::step, ::step]


def save_png(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a picture as PNG.

    Parameters
    ----------
    picture : (H, W, 3) uint8 array
    path : path
    """
    from PIL import Image

    Image.fromarray(picture).save(path, optimize=False, compress_level=1)


def data_uri(picture: NDArray[np.uint8], quality: int = QUALITY) -> str:
    """Encode a figure so that a page holds it and can be mailed alone.

    Parameters
    ----------
    picture : (rows, columns, 3) uint8 array
    quality : int
        1 to 95. Below `QUALITY`, the picture is also made at most `PICTURE_WIDTH` wide.

    Returns
    -------
    str
    """
    from PIL import Image

    height, width = picture.shape[:2]
    if quality < QUALITY and width > PICTURE_WIDTH:
        size = PICTURE_WIDTH, max(1, height * PICTURE_WIDTH // width)
        picture = np.asarray(Image.fromarray(picture).resize(size))
    return picture_uri(picture, quality)


def picture_uri(picture: NDArray[np.uint8], quality: int = QUALITY) -> str:
    """Encode a picture as JPEG, or as PNG where that has longer sides than JPEG can hold.

    Colours are as fine as brightness: outlines are a pixel wide.

    Parameters
    ----------
    picture : (rows, columns, 3) or (rows, columns) uint8 array
    quality : int
        1 to 95.
    """
    # Without its module, Pillow imports those of all formats
    from PIL import Image, JpegImagePlugin

    buffer = BytesIO()
    image = Image.fromarray(picture)
    if max(picture.shape[:2]) > JPEG_SIDE:
        kind = 'png'
        image.save(buffer, kind)
    else:
        kind = JpegImagePlugin.JpegImageFile.format
        image.save(buffer, kind, quality=quality, subsampling=0)
    return f'data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}'
