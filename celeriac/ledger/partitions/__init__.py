"""The partitions of a jobs' table that is divided by days: which there are, and which a batch is in."""
