"""What the slice viewer of a report shows: each layer of the stack as text that a page holds."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secondglance.imaging.glance_changes import changes
from secondglance.imaging.labels import TISSUES
from secondglance.reports import figures
from secondglance.reports.data import ReportData
from secondglance.reports.steps import OUTLINES

VIEWER_PIXELS = 2_500_000
"""Of one layer of the whole stack; more are thinned in plane, so that a page can be mailed."""

LEAST_SLICE_PIXELS = 400
"""Of a slice: it is not thinned further."""

TISSUE_NAMES = dict(zip(TISSUES, ('white matter', 'grey matter', 'CSF'), strict=True))

PLACED, REFERENCE = 'Placed mask of the donor', 'Reference'

CHANGE_NAMES = ('removed', 'added', 'relabelled')
"""In the order of the values of :func:`secondglance.imaging.glance_changes.changes`."""


def viewer_data(data: ReportData, quality: int = 85, most_pixels: float = VIEWER_PIXELS) -> dict:
    """Gather the layers of a scan for the viewer.

    Parameters
    ----------
    data : ReportData
    quality : int
        Of the pictures, 1 to 95. Labels are exact whatever it is.
    most_pixels : float
        Of one layer; more are thinned in plane.

    Returns
    -------
    dict
        Of plain values, for JSON. ``sheets`` holds grey pictures with the slices as tiles,
        row by row; ``labels`` holds run lengths, see :func:`run_lengths`.
    """
    n = len(data.image)
    _, across, up = figures.occupied_box(data.image, data.mask)
    pixels = n * (across.stop - across.start) * (up.stop - up.start)
    step = int(np.ceil(np.sqrt(pixels / most_pixels)))

    def displayed(stack: NDArray) -> NDArray:
        """Turn (N, H, W) into rows that run down from dorsal, columns from left to right."""
        return np.swapaxes(stack[:, across, up], 1, 2)[:, ::-1][:, ::step, ::step]

    scalars = {'image': figures.grey(data.image)[..., 0]}
    bases = [{'key': 'image', 'name': data.image_name}]
    for name, stack in data.compared.items():
        key = f'compared{len(bases)}'
        # One grey scale: a difference in brightness is one of the images
        scalars[key] = figures.grey(stack, like=data.image)[..., 0]
        bases.append({'key': key, 'name': name})
    labels, layers = _label_layers(data)
    if data.probabilities is not None:
        for index, tissue in enumerate(TISSUES, 1):
            key = f'probability{tissue}'
            scalars[key] = _bytes(data.probabilities[:, index])
            layers.append(
                {
                    'key': key,
                    'name': f'Probability of {TISSUE_NAMES[tissue]}',
                    'kind': 'heat',
                    'ends': ['0', '1'],
                }
            )
    scalars['saliency'] = np.rint(127.5 + 127.5 * figures.signed_level(data.saliency)).astype(
        np.uint8
    )
    layers.append(
        {
            'key': 'saliency',
            'name': 'Saliency',
            'kind': 'signed',
            'ends': ['lowers the score', 'raises it (each slice has its own range)'],
        }
    )
    scalars['enhanced'] = _bytes(data.enhanced)
    layers.append(
        {'key': 'enhanced', 'name': 'Enhanced saliency', 'kind': 'heat', 'ends': ['0', '1']}
    )
    small = displayed(scalars['image'])
    areas = data.mask.sum((1, 2))
    probability = {int(row['slice']): row.get('probability') for row in data.placement}
    return {
        'n': n,
        'width': small.shape[2],
        'height': small.shape[1],
        'columns': _columns(n),
        'mm': [step * data.spacing[0], step * data.spacing[1]],
        'edges': list(data.edges),
        'start': int(areas.argmax()) if areas.any() else n // 2,
        'probability': [probability.get(index) for index in range(n)],
        'bases': bases,
        'layers': layers,
        'stops': [list(colour) for colour in figures.INFERNO],
        'diverging': [list(figures.COLD), list(figures.WARM)],
        'sheets': {key: _sheet(displayed(stack), quality) for key, stack in scalars.items()},
        'labels': {key: run_lengths(displayed(stack)) for key, stack in labels.items()},
    }


def _label_layers(data: ReportData) -> tuple[dict[str, NDArray], list[dict[str, Any]]]:
    """Labels by key, and their layers: mask, tissues of both glances, changes, regions."""
    labels = {
        'mask': data.mask,
        'second': data.labels,
        'first': data.first_labels,
        'changes': changes(data.first_labels, data.labels),
    }
    if data.placed is not None:
        labels['placed'] = data.placed
    if data.reference is not None:
        labels['reference'] = data.reference > 0
    tissues = [{'name': TISSUE_NAMES[t], 'colour': figures.COLOURS[i + 1]} for i, t in
               enumerate(TISSUES)]  # fmt: skip
    layers: list[dict[str, Any]] = [
        {
            'key': 'mask',
            'name': 'Brain mask',
            'kind': 'labels',
            'classes': [{'name': 'brain mask', 'colour': figures.MASK_COLOUR}],
            'on': True,
        },
        {'key': 'second', 'name': 'Tissues, second glance', 'kind': 'labels', 'classes': tissues},
        {'key': 'first', 'name': 'Tissues, first glance', 'kind': 'labels', 'classes': tissues},
        {
            'key': 'changes',
            'name': 'Changes from first to second',
            'kind': 'labels',
            'classes': [
                {'name': name, 'colour': colour}
                for name, colour in zip(CHANGE_NAMES, figures.CHANGES.values(), strict=True)
            ],
        },
    ]
    layers += [
        {
            'key': key,
            'name': name,
            'kind': 'labels',
            'classes': [{'name': name.lower(), 'colour': OUTLINES[name.lower()]}],
        }
        for key, name in (('placed', PLACED), ('reference', REFERENCE))
        if key in labels
    ]
    if data.regions is not None and data.regions.any():
        present, packed = np.unique(data.regions, return_inverse=True)
        if present[0] != 0:
            present, packed = np.concatenate([[0], present]), packed + 1
        labels['regions'] = packed.reshape(data.regions.shape)
        classes = [
            {'name': data.region_names.get(int(value), f'region {value}'), 'colour': _hue(place)}
            for place, value in enumerate(present[1:])
        ]
        layers.append({'key': 'regions', 'name': 'Regions', 'kind': 'labels', 'classes': classes})
    return labels, layers


def viewer_within(data: ReportData, most_bytes: int, told: dict | None = None) -> dict:
    """Gather the layers, as fine as their size allows.

    Parameters
    ----------
    data : ReportData
    most_bytes : int
        Of the layers as text.
    told : dict, optional
        As of :func:`viewer_data`, where it is at hand.

    Returns
    -------
    dict
        As of :func:`viewer_data`.
    """
    told = told or viewer_data(data)
    while True:
        size = sum(map(len, (*told['sheets'].values(), *told['labels'].values())))
        pixels = told['n'] * told['width'] * told['height']
        if size <= most_bytes or pixels <= LEAST_SLICE_PIXELS * told['n']:
            return told
        told = viewer_data(data, 70, 0.9 * pixels * most_bytes / size)


def run_lengths(labels: NDArray) -> str:
    """Write labels as runs: three bytes each, the value (low, high byte) and the length, base 64.

    Parameters
    ----------
    labels : int array
        Of values from 0 to 65535.

    Examples
    --------
    >>> base64.b64decode(run_lengths(np.array([0, 0, 0, 258]))).hex(' ')
    '00 00 03 02 01 01'
    """
    flat = np.ascontiguousarray(labels).astype(np.uint16).ravel()
    starts = np.flatnonzero(np.r_[True, flat[1:] != flat[:-1]])
    lengths = np.diff(np.r_[starts, flat.size])
    # A length has one byte: a long run is several
    pieces = -(-lengths // 255)
    values = np.repeat(flat[starts], pieces)
    last = np.cumsum(pieces) - 1
    out = np.full(values.size, 255, np.int64)
    out[last] = lengths - 255 * (pieces - 1)
    packed = np.stack([values & 255, values >> 8, out], axis=1).astype(np.uint8)
    return base64.b64encode(packed.tobytes()).decode()


def _columns(n: int) -> int:
    return int(np.ceil(np.sqrt(n)))


def _bytes(stack: NDArray) -> NDArray[np.uint8]:
    """Bring values in [0, 1] to whole numbers up to 255."""
    return np.rint(255 * np.clip(np.nan_to_num(stack), 0, 1)).astype(np.uint8)


def _sheet(stack: NDArray[np.uint8], quality: int) -> str:
    """Lay slices side by side in one picture, as text."""
    n, height, width = stack.shape
    columns = _columns(n)
    rows = -(-n // columns)
    sheet = np.zeros((rows * columns, height, width), np.uint8)
    sheet[:n] = stack
    sheet = sheet.reshape(rows, columns, height, width).swapaxes(1, 2)
    picture = np.ascontiguousarray(sheet.reshape(rows * height, columns * width))
    return figures.picture_uri(picture, quality)


def _hue(place: int) -> tuple[int, int, int]:
    """Give neighbours in a list colours that lie far apart: steps of the golden angle."""
    from colorsys import hls_to_rgb

    red, green, blue = hls_to_rgb((place * 0.381966) % 1, 0.62, 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)
