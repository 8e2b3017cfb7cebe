"""What stages hand on."""


def test_no_stage_can_change_what_another_gave(changeable):
    # These grow within one function
    assert changeable('models') == {'Sanity', 'SamplePool'}
