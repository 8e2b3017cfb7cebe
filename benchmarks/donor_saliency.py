"""Computes the donors with their saliency as they ship with the package, after weights changed.

``python benchmarks/donor_saliency.py``
"""

import numpy as np

from secondglance.data import donor_paths, donor_saliency_path
from secondglance.files.bids import find_donor
from secondglance.models.choices import AS_PUBLISHED
from secondglance.models.donors import compute_donor, donor_arrays, donor_key
from secondglance.models.weights import default_weights, load_weights


def main() -> None:
    """Write the arrays of every donor."""
    model = load_weights(default_weights())
    arrays = {}
    for image, mask in map(find_donor, donor_paths()):
        key = donor_key(model.checksum, model.spacing, image, mask, AS_PUBLISHED)
        for part, array in donor_arrays(compute_donor(model, image, mask)).items():
            arrays[f'{key}-{part}'] = array
    np.savez_compressed(donor_saliency_path(), allow_pickle=False, **arrays)


if __name__ == '__main__':
    main()
