"""What public projects pin, and whether the wheel can be installed beside it."""
