"""``/oidc/login`` and ``/oidc/callback``: to the service at which people log in, and back."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from celeriac.console.access.oidc import LoginRefused
from celeriac.console.page_request import PageRequest
from celeriac.console.pages import login

_COOKIE = "celeriac_oidc"
_LASTS = 600  # seconds for a login


def begin(ask: PageRequest) -> Response:
    """Send the browser to the service."""
    oidc = ask.console.identity.oidc
    if oidc is None:
        return login.ask_for_login(ask)
    try:
        address, kept = oidc.begin()
    except LoginRefused as refused:
        return login.ask_for_login(ask, wrong=refused.sentence, status=503)
    kept["next"] = ask.query.get("next", "")
    answer = RedirectResponse(address, 303)
    answer.set_cookie(
        _COOKIE,
        ask.console.identity.signer.dumps("oidc", kept, lasts=_LASTS),
        max_age=_LASTS,
        path=ask.url("/"),
        httponly=True,
        samesite="lax",  # it must come along when the service sends them back
        secure=ask.request.url.scheme == "https",
    )
    return answer


def finish(ask: PageRequest) -> Response:
    """Let in who comes back with an answer to what this browser asked."""
    identity = ask.console.identity
    kept = identity.signer.loads("oidc", ask.request.cookies.get(_COOKIE, ""))
    if identity.oidc is None or not isinstance(kept, dict):
        return login.ask_for_login(ask, wrong="the login took too long, or began in another browser")
    try:
        person = identity.oidc.finish(ask.query, kept)
    except LoginRefused as refused:
        answer = login.ask_for_login(ask, wrong=refused.sentence, status=403)
    else:
        answer = login.welcomed(ask, identity.cookie_of(person), str(kept.get("next", "")))
    answer.delete_cookie(_COOKIE, path=ask.url("/"))  # an answer counts once
    return answer
