"""The visual report."""
