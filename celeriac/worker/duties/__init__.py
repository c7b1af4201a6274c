"""The keeper and its duties."""
