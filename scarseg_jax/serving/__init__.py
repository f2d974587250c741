"""A page of this machine on which a person looks at one patient's scar, and corrects it."""
