"""``up``: the embedded servers and the processes on one machine."""
