"""Which algorithm computes each convolution: measured once at the real shape on the real machine, and remembered."""
