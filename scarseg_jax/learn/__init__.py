"""Slices to networks: the layers, one network's training, many at once."""
