"""The way in: how a call becomes a job."""
