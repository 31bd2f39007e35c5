"""What the kernels for Hopper and those for Blackwell share, in Gluon: both architectures run it."""
