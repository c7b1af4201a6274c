"""A database of another vendor, as far as Django can tell."""
