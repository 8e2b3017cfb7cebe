"""Two weights on one scan: those that ship, and those trained on simulated animals alone."""

import nibabel as nib

import secondglance
from secondglance.data import example_rat
from secondglance.imaging.metrics import dice
from secondglance.models.weights import default_refinement, default_weights

path, by_hand = example_rat()
truth = nib.load(by_hand).get_fdata() > 0
pairs = {
    'default': (default_weights(), default_refinement()),
    'simulated': (
        default_weights().with_name('simulated.safetensors'),
        default_refinement().with_name('simulated_refinement.safetensors'),
    ),
}
for name, (weights, refinement) in pairs.items():
    found = secondglance.segment(path, weights=weights, refinement=refinement)
    score = dice(found.mask.get_fdata() > 0, truth)
    print(f'{name}: Dice {score:.3f}, probability of a good mask {found.confidence:.2f}')
