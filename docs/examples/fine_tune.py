"""Adapt the network to a few labelled animals, and use the new weights.

The animals are simulated, and ten steps are far too few: take your own data set, and leave
``--steps`` and ``--animals`` out.
"""

import sys
from pathlib import Path

from secondglance.workflows import main

STEPS = (
    'simulate --output study --subjects 4 --b0-volumes 1 --dwi-volumes 0',
    'train --recipe fine-tune --bids-dir study --suffix dwi --subject 001 002 003 '
    '--output mine.safetensors --steps 10 --animals 3',
    'evaluate --bids-dir study --suffix dwi --weights mine.safetensors --output scores',
)
for step in STEPS:
    if code := main(step.split()):
        sys.exit(code)
print(Path('scores/scores.tsv').read_text())
