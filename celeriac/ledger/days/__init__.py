"""The jobs' table in partitions by the day that an id says, where CELERIAC_PARTITION asks for it."""
