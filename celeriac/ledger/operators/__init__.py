"""What operators do, in rows: actions, and how far an action on many jobs is."""
