"""Rows of the tables of what a user may choose from: an entry of a registry each."""

Row = tuple[str, ...]


def saliency() -> tuple[Row, list[Row]]:
    """Methods of ``--saliency``."""
    from secondglance.models.saliency.methods import saliency_methods

    rows = [(name, one.citation) for name, one in saliency_methods().items()]
    return ('`--saliency`', 'what it is'), rows


def masks() -> tuple[Row, list[Row]]:
    """Methods of ``--mask-method``."""
    from secondglance.imaging.mask.methods import METHODS

    return ('`--mask-method`', 'how the mask is made'), [
        (name, one.summary) for name, one in METHODS.items()
    ]


def recipes() -> tuple[Row, list[Row]]:
    """Recipes of ``train --recipe``."""
    from secondglance.models.training.recipes import RECIPES

    names = ('`--recipe`', 'trains', 'steps', 'animals', 'slices a step', 'rate', 'mm')
    return names, [
        (
            name,
            f'{one.trains}: {one.summary}',
            f'{one.steps}',
            f'{one.n_animals}',
            f'{one.batch_size}',
            f'{one.learning_rate:g}',
            f'{one.spacing:g}',
        )
        for name, one in RECIPES.items()
    ]


def contrasts() -> tuple[Row, list[Row]]:
    """Contrasts of simulated brains."""
    from secondglance.simulation.contrast import CONTRASTS

    return ('contrast', 'WM', 'GM', 'CSF'), [
        (name, *(f'{level:g}' for level in levels)) for name, levels in CONTRASTS.items()
    ]


REGISTRIES = {one.__name__: one for one in (saliency, masks, recipes, contrasts)}
"""Tables by the name that the directive takes."""
