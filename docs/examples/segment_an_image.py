"""Segment one image, save the tissues, and draw the mask on the middle slice."""

import matplotlib.pyplot as plt
import nibabel as nib

import secondglance
from secondglance.data import example_rat

path, _ = example_rat()
image = nib.load(path)
found = secondglance.segment(image)
print(f'good with a probability of {found.confidence:.2f}; mm³: {found.volumes}')

nib.save(found.tissues, 'rat_dseg.nii.gz')

middle = image.shape[2] // 2
plt.imshow(image.get_fdata()[:, :, middle].T, cmap='gray', origin='lower')
plt.contour(found.mask.get_fdata()[:, :, middle].T, [0.5], colors='red')
plt.axis('off')
plt.savefig('segment_an_image.png', bbox_inches='tight')
