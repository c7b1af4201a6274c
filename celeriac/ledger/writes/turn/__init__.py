"""What a worker writes most often: attempts that were completed and jobs that it claims, in one statement."""
