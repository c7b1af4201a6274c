"""Messages and their transport."""
