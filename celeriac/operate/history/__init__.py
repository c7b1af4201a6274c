"""What was, over time: how many attempts ended, and how."""
