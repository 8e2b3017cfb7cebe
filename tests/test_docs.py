"""The documentation names whatever a user can choose."""

from pathlib import Path

import pytest

from secondglance.imaging.mask.methods import METHODS
from secondglance.models.saliency.methods import saliency_methods
from secondglance.models.training.recipes import RECIPES

DOCS = Path(__file__).parents[1] / 'docs'


@pytest.mark.parametrize(
    ('page', 'names'),
    [
        ('placement.md', METHODS),
        ('saliency.md', saliency_methods()),
        ('models.md', RECIPES),
    ],
)
def test_page_names_every_entry_of_the_registry(page, names):
    text = (DOCS / page).read_text()
    assert [name for name in names if f'`{name}`' not in text and f' {name}`' not in text] == []
