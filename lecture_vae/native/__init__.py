"""Native training: a model's own layers as a list of kernels in C, on one core, in one call."""
