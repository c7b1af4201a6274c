"""Schedules: ``register`` one, and each of its due times makes exactly one job."""

from celeriac.schedules.definition import CatchUp, Overlap, Schedule
from celeriac.schedules.registry import (
    disable,
    enable,
    get,
    list_all,
    next_runs,
    register,
    run_now,
    unregister,
)
from celeriac.schedules.times import Kind

__all__ = [
    "CatchUp",
    "Kind",
    "Overlap",
    "Schedule",
    "disable",
    "enable",
    "get",
    "list_all",
    "next_runs",
    "register",
    "run_now",
    "unregister",
]
