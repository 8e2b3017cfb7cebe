"""How much of the tissues a pixel's brightness can tell, and what the network makes of them.

``python benchmarks/tissues.py [--animals 6] [--weights FILE]``

Brains of simulated animals of unseen shape inside the true mask, in b0 contrast; tissues are not
quite uniform, as in training, and there is noise. Pixels are labelled by their largest share.
Three ways of telling tissues apart, Dice of each tissue, mean ± sd over animals:

- brightness: the best label of each percentile of the brightness, chosen with the truth in hand;
- a pixel known exactly: the most probable label of a pixel by itself where the brightness of each
  tissue is known at every place, and so are the noise and how tissues mix in other animals;
- the network, which knows none of these, and sees the pixel's surroundings.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from secondglance.data import atlas_path
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.metrics import dice
from secondglance.models.inference import predict
from secondglance.models.weights import default_weights, load_weights
from secondglance.simulation.animal import cut_through, draw_animal
from secondglance.simulation.atlas import read_atlas
from secondglance.simulation.contrast import brain_labels, tissue_levels

B0 = (0.45, 0.6, 1.0)
SNRS = (10, 20, 40, np.inf)
APART_MM = 0.75
N_MIXTURES = 1500
LEAST_NOISE = 0.01
AT_ONCE = 4000
KINDS = ('brightness', 'a pixel known exactly', 'network')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--animals', type=int, default=6)
    parser.add_argument('--atlas', type=Path, default=atlas_path())
    parser.add_argument('--weights', type=Path, default=default_weights())
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    model = load_weights(args.weights)
    atlas = read_atlas(args.atlas)
    brains = [brain(atlas, number, model.spacing) for number in range(args.animals)]
    print('| SNR | told by | ' + ' | '.join(TISSUES) + ' |')
    print('| --- | --- |' + ' --- |' * len(TISSUES))
    for snr in SNRS:
        found = []
        for number, (shares, labels) in enumerate(brains):
            rng = np.random.default_rng([number, 7])
            others = [s[:, k > 0].T for n, (s, k) in enumerate(brains) if n != number]
            found.append(tell(model, shares, labels, np.concatenate(others), snr, rng))
        for kind, scores in zip(KINDS, np.moveaxis(np.array(found), 1, 0), strict=True):
            told = [f'{v.mean():.3f} ± {v.std(ddof=1):.3f}' for v in scores.T]
            print(f'| {snr} | {kind} | ' + ' | '.join(told) + ' |', flush=True)


def brain(atlas, number, spacing):
    """Shares of tissue (3, N, H, W) and labels (N, H, W) of an animal that taught no network."""
    animal = draw_animal(
        atlas, np.random.default_rng([number, 6]), spacing, 80, scale_range=(1.0, 1.0)
    )
    maps, _ = cut_through(animal, APART_MM)
    return maps[:, 1:4].transpose(0, 1).numpy(), brain_labels(maps)[:, 0].numpy()


def tell(model, shares, labels, others, snr, rng):
    """Dice (3 ways, 3 tissues) of one brain."""
    inside = labels > 0
    levels = tissue_levels(labels.shape, rng, B0).transpose(0, 1).numpy()
    noise = B0[1] / snr
    parts = noise * rng.standard_normal((2, *labels.shape))
    image = np.hypot((shares * levels).sum(axis=0) + parts[0], parts[1])
    values = image[inside]
    told = [
        by_brightness(values, labels[inside]),
        by_itself(values, levels[:, inside].T, others, max(noise, LEAST_NOISE), rng),
        predict(model, np.where(inside, image, 0).astype(np.float32)).argmax(axis=1)[inside],
    ]
    return [[dice(way == k, labels[inside] == k) for k in (1, 2, 3)] for way in told]


def by_brightness(values, labels):
    """Give every percentile of the brightness the label that most of its pixels have."""
    group = np.digitize(values, np.percentile(values, range(1, 100)))
    most = [np.bincount(labels[group == g], minlength=4).argmax() for g in range(100)]
    return np.array(most)[group]


def by_itself(values, levels, others, noise, rng):
    """Give each pixel its most probable label, the mixtures of other animals being the prior."""
    mixtures = others[rng.choice(len(others), N_MIXTURES, replace=False)]
    largest = np.eye(3)[mixtures.argmax(axis=1)]
    told = []
    for start in range(0, len(values), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        away = (values[part, None] - levels[part] @ mixtures.T) / noise
        told.append((np.exp(-(away**2) / 2) @ largest).argmax(axis=1) + 1)
    return np.concatenate(told)


if __name__ == '__main__':
    main()
