"""Flow control in SQL: limits, the lines in which jobs wait, what is in use, and who is admitted."""
