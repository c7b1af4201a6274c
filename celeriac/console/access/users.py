"""The file of users: a line each, as ``name:role:hash``. ``celery -A app console user`` makes one."""

from __future__ import annotations

import hashlib
import secrets
import stat
import threading
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path

from celeriac.console.access.roles import Role
from celeriac.errors import SettingsError
from celeriac.names import NAME_LENGTH

#: scrypt with 32 MB and some 80 ms a password (RFC 7914; OWASP's password storage cheat sheet).
_N, _R, _P = 2**15, 8, 1
_MEMORY = 64 * 1024 * 1024  # bytes, as a bound
_SALT, _SIZE = 16, 32  # bytes
_LONGEST = 1024  # characters of a password
#: In place of a hash: a proxy names the user, who has no password here.
BY_PROXY = "proxy"


@dataclass(frozen=True, slots=True)
class User:
    name: str
    role: Role
    hash: str

    @property
    def version(self) -> str:
        """Changes with the line, so that sessions of the old one end."""
        return hashlib.sha256(f"{self.role}:{self.hash}".encode()).hexdigest()[:16]


def line(name: str, role: Role, password: str) -> str:
    """The line of a user.

    Raises:
        ValueError: the name or the password cannot be used.
    """
    if not name or len(name) > NAME_LENGTH or any(sign in name for sign in ":\r\n\0") or name.strip() != name:
        raise ValueError("wanted a name without a colon, and without spaces at its ends")
    if not 8 <= len(password) <= _LONGEST:
        raise ValueError(f"wanted a password of 8 to {_LONGEST:,} characters")
    salt = secrets.token_bytes(_SALT)
    digest = _scrypt(password, salt, _N, _R, _P)
    return f"{name}:{role}:scrypt${_N}${_R}${_P}${b64encode(salt).decode()}${b64encode(digest).decode()}"


def matches(password: str, hash: str) -> bool:
    """Whether ``hash`` was made of this password; False as well when it is none of ours."""
    try:
        kind, n, r, p, salt, digest = hash.split("$")
        if kind != "scrypt" or len(password) > _LONGEST:
            return False
        return compare_digest(_scrypt(password, b64decode(salt), int(n), int(r), int(p)), b64decode(digest))
    except ValueError:
        return False


class UserFile:
    """The users of a file. It is read again when it has changed.

    Raises:
        SettingsError: it cannot be read, has a wrong line, or may be read by others.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._users: Mapping[str, User] = {}
        self.find("")

    def find(self, name: str) -> User | None:
        with self._lock:
            try:
                found = self._path.stat()
                text = None
                if self._seen != (seen := (found.st_ino, found.st_mtime_ns, found.st_size)):
                    text = self._path.read_text()
            except (OSError, UnicodeDecodeError) as exc:
                raise SettingsError([f"CELERIAC_CONSOLE_USERS: {self._path} cannot be read: {exc}"]) from None
            if text is not None:
                self._users, self._seen = _parsed(self._path, text, found.st_mode), seen
            return self._users.get(name)

    def check(self, name: str, password: str) -> User | None:
        """The user with this name and password. It takes as long for a name that there is not."""
        user = self.find(name)
        return user if matches(password, user.hash if user else _NOBODY) and user else None


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=_SIZE)


#: Compared with when there is no such user. No password has it.
_NOBODY = f"scrypt${_N}${_R}${_P}${b64encode(bytes(_SALT)).decode()}${b64encode(bytes(_SIZE)).decode()}"


def _parsed(path: Path, text: str, mode: int) -> dict[str, User]:
    problems = []
    if mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IRGRP:
        problems.append(f"CELERIAC_CONSOLE_USERS: others may read {path}: chmod 600 {path}")
    users: dict[str, User] = {}
    for number, each in enumerate(text.splitlines(), 1):
        if not each.strip() or each.startswith("#"):
            continue
        name, _, rest = each.partition(":")
        role, _, hash = rest.partition(":")
        if not name or role not in list(Role) or not (hash == BY_PROXY or hash.count("$") == 5):
            problems.append(
                f"CELERIAC_CONSOLE_USERS: line {number} of {path}: wanted name:role:hash, with a role of "
                f"{', '.join(Role)}; `celery -A app console user NAME` makes a line"
            )
        else:
            users[name] = User(name, Role(role), hash.strip())
    if problems:
        raise SettingsError(problems)
    return users
