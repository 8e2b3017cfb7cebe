"""The report's pictures: mosaics as one array each, and small plots."""

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

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

MASK_COLOUR = (255, 212, 59)
WIDTH = 1400
"""Of a mosaic, pixels."""
WEBP_SIDE = 16383
"""Longest side that WebP can hold, pixels (RFC 9649, section 2.7)."""


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
    """Turn signed values to blue, black and orange; each slice has its own range."""
    level = signed_level(stack)[..., None]
    warm, cold = np.array(WARM), np.array(COLD)
    return (np.clip(level, 0, 1) * warm + np.clip(-level, 0, 1) * cold).astype(np.uint8)


def signed_level(stack: NDArray) -> NDArray[np.float32]:
    """Bring each slice of signed values to [-1, 1] by the 99.5th percentile of its magnitude."""
    stack = np.nan_to_num(np.asarray(stack, np.float32))
    high = np.percentile(np.abs(stack), 99.5, axis=(1, 2), keepdims=True)
    return np.clip(stack / np.maximum(high, 1e-30), -1, 1)


def heat(base: NDArray[np.uint8], stack: NDArray) -> NDArray[np.uint8]:
    """Lay values in [0, 1] over grey slices."""
    level = np.clip(np.nan_to_num(np.asarray(stack, np.float32)), 0, 1)
    steps = np.linspace(0, 1, len(INFERNO))
    colour = np.stack(
        [np.interp(level, steps, channel) for channel in zip(*INFERNO, strict=True)], -1
    )
    part = (0.85 * np.sqrt(level))[..., None]
    return ((1 - part) * 0.8 * base + part * colour).astype(np.uint8)


def tissues(base: NDArray[np.uint8], labels: NDArray, opacity: float = 0.6) -> NDArray[np.uint8]:
    """Lay labels over grey slices."""
    out = base.astype(np.float32)
    for value, colour in COLOURS.items():
        where = np.asarray(labels) == value
        out[where] = (1 - opacity) * out[where] + opacity * np.array(colour)
    return out.astype(np.uint8)


def changed(base: NDArray[np.uint8], kinds: NDArray) -> NDArray[np.uint8]:
    """Lay a map of changes over dimmed grey slices."""
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
    columns = columns or min(n, int(np.ceil(np.sqrt(n * 2))))
    zoom = max(1, round(WIDTH / columns / height))
    rows = -(-n // columns)
    tile_h, tile_w = max(1, round(width * zoom * aspect)), height * zoom
    canvas = np.zeros((rows * (tile_h + 2), columns * (tile_w + 2), 3), np.uint8)
    y = np.clip((np.arange(tile_h) / (zoom * aspect)).astype(int), 0, width - 1)
    x = np.arange(tile_w) // zoom
    for index in range(n):
        # W points up in the picture; its rows run down
        tile = slices[index].transpose(1, 0, 2)[::-1][y][:, x]
        if masks is not None and masks[index].any():
            inside = np.asarray(masks[index]).T[::-1][y][:, x]
            edge = inside & ~ndimage.binary_erosion(inside, iterations=max(1, zoom // 2))
            tile = np.where(edge[..., None], np.array(MASK_COLOUR, np.uint8), tile)
        row, column = divmod(index, columns)
        top, left = row * (tile_h + 2), column * (tile_w + 2)
        canvas[top : top + tile_h, left : left + tile_w] = tile
    return canvas


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
    """Write a picture."""
    from PIL import Image

    Image.fromarray(picture).save(path, optimize=False, compress_level=6)


def data_uri(path: Path) -> str:
    """Encode a figure so that a page holds it and can be mailed alone.

    Parameters
    ----------
    path : Path
        An SVG, kept as it is, or a picture, which becomes WebP where that format holds its size.

    Returns
    -------
    str
    """
    from PIL import Image

    if path.suffix == '.svg':
        kind, content = 'svg+xml', path.read_bytes()
    else:
        kind, content = 'png', path.read_bytes()
        with Image.open(path) as picture:
            if max(picture.size) <= WEBP_SIDE:
                buffer = BytesIO()
                picture.convert('RGB').save(buffer, 'WEBP', quality=88, method=2)
                kind, content = 'webp', buffer.getvalue()
    return f'data:image/{kind};base64,{base64.b64encode(content).decode()}'


def motion_plot(confounds: dict, path: Path) -> None:
    """Plot translations, rotations and framewise displacement over the volumes."""
    figure, axes = plots(3, 'mm', 'degrees', 'mm')
    volumes = confounds.get('volume', np.arange(len(confounds['trans_x'])))
    for axis, names, factor in (
        (axes[0], ('trans_x', 'trans_y', 'trans_z'), 1.0),
        (axes[1], ('rot_x', 'rot_y', 'rot_z'), 180 / np.pi),
        (axes[2], ('framewise_displacement',), 1.0),
    ):
        for name in names:
            axis.plot(volumes, np.asarray(confounds[name]) * factor, 'o-', ms=4, label=name)
        axis.legend(fontsize=8, frameon=False)
        axis.set_xlabel('volume')
    figure.savefig(path)


def placement_plot(rows: list[dict], path: Path) -> None:
    """Plot shift, peak and probability of a good mask by slice; replaced shifts are marked."""
    figure, axes = plots(3, 'shift, mm', 'peak ratio', 'probability')
    index = np.array([row['slice'] for row in rows])
    replaced = np.array([bool(row['replaced']) for row in rows])
    for name, colour in (('x', 'C0'), ('y', 'C1')):
        axes[0].plot(index, [row[f'shift_{name}_mm'] for row in rows], color=colour, label=name)
        found = np.array([row[f'found_{name}_mm'] for row in rows])
        axes[0].plot(index[~replaced], found[~replaced], 'o', ms=3, color=colour)
        axes[0].plot(index[replaced], found[replaced], 'x', ms=5, color=colour)
    axes[0].legend(fontsize=8, frameon=False, title='line: used; ×: replaced')
    axes[1].plot(index, [row['peak_ratio'] for row in rows], 'o-', ms=3)
    for name, label in (('probability', 'mask is good'), ('confidence', 'shift agrees')):
        axes[2].plot(index, [row[name] for row in rows], 'o-', ms=3, label=label)
    axes[2].legend(fontsize=8, frameon=False)
    axes[2].set_ylim(0, 1.05)
    for axis in axes:
        axis.set_xlabel('slice')
    figure.savefig(path)


def lognormal_plot(fit: dict, path: Path) -> None:
    """Plot the distance to a log-normal of every slice, and the quantiles of all."""
    figure, axes = plots(2, 'Kolmogorov-Smirnov distance', 'observed quantile')
    distance = np.array(fit['ks_distance'], float)
    axes[0].plot(np.arange(len(distance)), distance, 'o-', ms=3)
    axes[0].set_ylim(0, None)
    axes[0].set_xlabel('slice')
    theory = np.array(fit['theoretical'], float)
    for quantiles in np.array(fit['observed'], float):
        axes[1].plot(theory, quantiles, color='C0', alpha=0.25, lw=1)
    axes[1].plot(theory, theory, 'k--', lw=1)
    axes[1].set_xlabel('quantile of a normal')
    figure.savefig(path)


def plots(n: int, *ylabels: str):
    """Lay out small plots side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.3 * n, 2.9), layout='constrained', facecolor='white')
    axes = figure.subplots(1, n)
    for axis, label in zip(axes, ylabels, strict=True):
        axis.set_ylabel(label)
        axis.spines[['top', 'right']].set_visible(False)
    return figure, axes
