"""The pages, and the actions that they offer."""
