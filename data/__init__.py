"""What ships with the package: a reduced atlas, donors and the example rat."""
