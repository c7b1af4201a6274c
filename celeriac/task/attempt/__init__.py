"""What an attempt may ask, or come to, beside running its function."""
