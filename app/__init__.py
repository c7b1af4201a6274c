"""This repository's own application of Celeriac, as a team would write one."""
