"""A study to its scar: by networks, and by other methods."""
