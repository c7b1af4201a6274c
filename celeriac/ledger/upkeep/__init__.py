"""What a keeper does to the tables: dispatch, lost messages, rescue, workflows, prune."""
