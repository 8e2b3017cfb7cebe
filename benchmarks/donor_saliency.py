"""Computes the saliency of the donors that ships with the package, after weights changed.

``python benchmarks/donor_saliency.py``
"""

import numpy as np

from secondglance.data import donor_paths, donor_saliency_path
from secondglance.files.bids import find_donor
from secondglance.files.heads import read_head
from secondglance.models.choices import AS_PUBLISHED
from secondglance.models.donors import donor_pose, saliency_key
from secondglance.models.segment import prepare_donor
from secondglance.models.weights import default_weights, load_weights


def main() -> None:
    """Write the array of every donor."""
    model = load_weights(default_weights())
    arrays = {}
    for image, mask in map(find_donor, donor_paths()):
        head, _ = read_head(image, mask, donor_pose(model, image, mask))
        key = saliency_key(model, image, mask, AS_PUBLISHED)
        arrays[key] = prepare_donor(model, head).enhanced
    np.savez_compressed(donor_saliency_path(), allow_pickle=False, **arrays)


if __name__ == '__main__':
    main()
