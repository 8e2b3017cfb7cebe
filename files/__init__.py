"""Reading and writing: NIfTI, BIDS, atlas and label files, atomic writing."""
