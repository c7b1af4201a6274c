"""What an author of tasks sees, and what an attempt comes to."""
