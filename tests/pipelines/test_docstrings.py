def test_examples_in_docstrings_hold(examples):
    examples('pipelines')
