"""The static schedules: data only."""
