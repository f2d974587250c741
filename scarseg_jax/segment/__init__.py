"""A study to its scar: by networks, and by methods without training."""
