"""The systems under measurement, one file each. See ``benchmarks/catalogue.py`` for how to add one."""
