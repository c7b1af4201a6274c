"""What commands do with jobs: count them, ask, do it, say with how many it was done."""
