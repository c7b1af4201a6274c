"""``/login`` and ``/logout``, and what somebody sees who is not known."""

from __future__ import annotations

from starlette.responses import JSONResponse, RedirectResponse, Response

from celeriac.console.access.identity import COOKIE
from celeriac.console.access.roles import Role
from celeriac.console.access.visitor import BadToken, TooManyTries, Visitor
from celeriac.console.page_request import PageRequest

#: In whose name the page of somebody unknown is made.
NOBODY = Visitor("", Role.VIEWER, "nobody")


def ask_for_login(ask: PageRequest, *, wrong: str = "", status: int = 401) -> Response:
    """401, with what to do."""
    options = ask.console.options
    if options.users is not None:
        sentence = "log in with your name and password"
    elif options.oidc is not None:
        sentence = f"log in at {options.oidc.issuer}"
    elif options.token is not None:
        sentence = "open the address that `celery -A app console` printed last: each one works once"
    else:
        sentence = "the console is reached through the proxy that knows who you are, not directly"
    if "hx-request" in ask.request.headers:  # an open page is read anew
        sentence = f"your session has ended: {sentence}"
    if ask.wants_json:
        problem = {
            "type": "about:blank",
            "title": "who are you?",
            "status": status,
            "detail": wrong or sentence,
        }
        answer: Response = JSONResponse(problem, status, media_type="application/problem+json")
    else:
        next_page = ask.here() if ask.place != "/login" else ask.given("next", ask.url("/"))
        answer = ask.show(
            "login.html",
            command="console user NAME",
            told={},
            status=status,
            sentence=sentence,
            wrong=wrong,
            form=options.users is not None,
            service=options.oidc.issuer if options.oidc else "",
            next_page=next_page,
        )
    if status == 401:  # a browser must not ask with a dialog of its own
        browser = "sec-fetch-mode" in ask.request.headers
        scheme = "Session" if browser or options.users is None else "Basic"
        answer.headers["WWW-Authenticate"] = f'{scheme} realm="Celeriac"'
    return answer


def too_many(ask: PageRequest, tries: TooManyTries) -> Response:
    answer = ask_for_login(ask, wrong=tries.sentence, status=429)
    answer.headers["Retry-After"] = str(tries.wait)
    return answer


def bad_token(ask: PageRequest, bad: BadToken) -> Response:
    answer = ask_for_login(ask, wrong=bad.sentence)
    answer.headers["WWW-Authenticate"] = 'Bearer realm="Celeriac", error="invalid_token"'
    return answer


def show(ask: PageRequest) -> Response:
    return ask_for_login(ask, status=200)


def log_in(ask: PageRequest) -> Response:
    address = ask.request.client.host if ask.request.client else ""
    try:
        cookie = ask.console.identity.log_in(ask.given("name"), ask.given("password"), address=address)
    except TooManyTries as tries:
        return too_many(ask, tries)
    if cookie is None:
        return ask_for_login(ask, wrong="that is not the name and password of a user")
    return welcomed(ask, cookie, ask.given("next"))


def by_token(ask: PageRequest, token: str) -> Response | None:
    """The session for who opens the printed URL; None: that is not the token."""
    cookie = ask.console.identity.take_token(token)
    return None if cookie is None else welcomed(ask, cookie, ask.here(token=None))


def log_out(ask: PageRequest) -> Response:
    ask.console.identity.end(ask.request)
    answer = RedirectResponse(ask.url("/login"), 303)
    answer.delete_cookie(COOKIE, path=ask.url("/"))
    return answer


def welcomed(ask: PageRequest, cookie: str, to: str) -> Response:
    """The session's cookie, and on to the page that was asked for."""
    ours = to.startswith(ask.url("/")) and not to.startswith(("//", "/\\"))
    answer = RedirectResponse(to if ours else ask.url("/"), 303)
    answer.set_cookie(
        COOKIE,
        cookie,
        max_age=int(ask.console.options.session),
        path=ask.url("/"),
        httponly=True,
        samesite="lax",
        secure=ask.request.url.scheme == "https",
    )
    return answer
