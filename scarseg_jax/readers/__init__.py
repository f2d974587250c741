"""Files to studies; one layout a file. `nifti` is the format they share."""
