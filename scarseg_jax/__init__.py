"""Finds and measures left-ventricular scar in late gadolinium enhancement MRI."""
