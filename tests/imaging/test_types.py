"""What stages hand on."""


def test_no_stage_can_change_what_another_gave(changeable):
    assert changeable('imaging') == set()
