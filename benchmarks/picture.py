"""Draw the picture of the README: ``python benchmarks/picture.py OUTPUT_FOLDER rat.png``."""

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np

from secondglance.files.labels import class_labels
from secondglance.imaging.grids import slice_grid
from secondglance.reports.figures import grey, heat, mosaic, save_png, tissues


def main():
    """Put image, enhanced saliency, placed mask and tissues of six slices below each other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('output', type=Path)
    parser.add_argument('picture', type=Path)
    parser.add_argument('--stem', default='sub-02/func/sub-02_task-rest_space-sbref')
    args = parser.parse_args()

    def stack(ending, order=1):
        image = nib.load(f'{args.output}/{args.stem}_{ending}.nii.gz')
        grid = slice_grid(image.shape, image.affine, 0.25)
        return grid.to_stack(image.get_fdata(dtype=np.float32), order=order)

    base = grey(stack('desc-mean_sbref'))
    mask = stack('desc-brain_mask', 0) > 0.5
    rows = (
        (base, None),
        (heat(base, stack('desc-enhanced_saliency')), None),
        (base, mask),
        (tissues(base, class_labels(stack('dseg', 0).round())), None),
    )
    chosen = np.linspace(2, len(base) - 2, 6).astype(int)
    pictures = [
        mosaic(slices[chosen], None if outline is None else outline[chosen], columns=6)
        for slices, outline in rows
    ]
    save_png(np.concatenate(pictures)[::2, ::2], args.picture)


if __name__ == '__main__':
    main()
