"""The tables, their columns and the states of a job."""
