"""What is read from files stays as it was read."""


def test_nothing_that_was_read_can_be_changed(changeable):
    assert changeable('files') == set()
