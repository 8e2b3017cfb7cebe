"""The second glance: tissues, atlas coordinates and regions inside a brain mask."""
