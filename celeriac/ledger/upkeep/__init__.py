"""Statements of the keeper's duties: dispatch, lost messages, rescue, workflows, prune."""
