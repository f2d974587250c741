"""Tables and masks to pages."""
