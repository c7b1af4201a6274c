"""The systems under measurement, one file each. See ``benchmarks/side_list.py`` for how to add one."""
