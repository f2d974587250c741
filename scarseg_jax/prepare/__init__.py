"""Studies to 64 x 64 slices: find the heart, cut it out, keep, split."""
