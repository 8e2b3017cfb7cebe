"""The brain mask: cleaning, quality, selection."""
