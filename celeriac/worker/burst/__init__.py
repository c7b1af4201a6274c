"""The burst pool: children that are given short jobs in bundles."""
