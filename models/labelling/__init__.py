"""Labels of real scans by registration of an atlas and expectation maximisation."""
