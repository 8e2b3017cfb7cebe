"""Which pixels speak for white matter? Guided backpropagation, and gradient times image."""

import matplotlib.pyplot as plt
import nibabel as nib

import secondglance
from secondglance.data import example_rat
from secondglance.models.choices import SaliencyOptions

path, _ = example_rat()
image = nib.load(path)
middle = image.shape[2] // 2
figure, axes = plt.subplots(1, 3, figsize=(9, 3))
axes[0].imshow(image.get_fdata()[:, :, middle].T, cmap='gray', origin='lower')
for axis, method in zip(axes[1:], ('guided', 'input-x-gradient'), strict=True):
    options = SaliencyOptions(method=method, target='WM')
    found = secondglance.segment(image, saliency=options)
    shown = found.saliency.get_fdata()[:, :, middle].T
    most = abs(shown).max()
    axis.imshow(shown, cmap='RdBu_r', vmin=-most, vmax=most, origin='lower')
    axis.set_title(method)
for axis in axes:
    axis.axis('off')
figure.savefig('explain_a_class.png', bbox_inches='tight')
