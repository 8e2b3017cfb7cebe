"""The second glance: tissues, place and regions of a brain whose mask is known."""
