"""The roles of the console's users. Each may do what the one before it may, and more."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    VIEWER = "viewer"  # sees every page; what is sensitive stays hidden
    OPERATOR = "operator"  # cancels, replays, discards, runs schedules, reveals hidden values
    ADMIN = "admin"  # adds and removes schedules

    def allows(self, wanted: Role) -> bool:
        """Whether who has this role may do what asks for ``wanted``.

        >>> Role.ADMIN.allows(Role.OPERATOR), Role.VIEWER.allows(Role.OPERATOR)
        (True, False)
        """
        order = list(Role)
        return order.index(self) >= order.index(wanted)
