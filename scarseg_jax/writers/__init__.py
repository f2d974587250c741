"""Studies and masks to files."""
