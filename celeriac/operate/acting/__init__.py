"""What operators do with jobs, on record: with one job, with a selection, with all that fit a filter."""
