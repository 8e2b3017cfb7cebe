"""Labels of a reference segmentation."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.labels import CLASSES


def as_labels(values: ArrayLike) -> NDArray[np.int64]:
    """Round the values of a reference to labels; a mask of zeros and any one value is one of ones.

    Examples
    --------
    >>> as_labels([0, 255]).tolist(), as_labels([0.2, 0.9]).tolist(), as_labels([0, 2]).tolist()
    ([0, 1], [0, 1], [0, 2])
    """
    labels = np.rint(np.asarray(values)).astype(np.int64)
    inside = labels != 0
    if inside.any():
        value = labels[inside].flat[0]
        if not 0 < value < len(CLASSES) and (labels[inside] == value).all():
            return inside.astype(np.int64)
    return labels
