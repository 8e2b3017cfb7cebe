import pytest


def test_examples_in_docstrings_hold(examples):
    examples('models', without='training')


@pytest.mark.slow
def test_examples_in_docstrings_of_trainings_hold(examples):
    """With these comes Lightning."""
    examples('models.training')
