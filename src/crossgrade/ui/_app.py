"""The labelling page: enter by a one-time link, label item after item, see how far the labelling is.

The server keeps nothing of a visit. A cookie holds the desk's session secret, and all that counts is in
the store before an action is answered. Every page works without a script. With one, htmx puts the next
item in place of the last.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TypeAlias

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from crossgrade.errors import AccessError, CrossgradeError, NotFoundError, UsageError
from crossgrade.project import GivenLabel, LabelDesk, LabelItem, RaterProgress
from crossgrade.store import Rater
from crossgrade.ui import _scales
from crossgrade.ui._forms import action_of, new_action, read_form, shown_at
from crossgrade.ui._gate import Gate
from crossgrade.ui._pages import address, error_page, page, page_files
from crossgrade.ui._shown import TextLook, show
from crossgrade.ui._texts import PART_CHARS, cut, markup, visible

_Answer: TypeAlias = Callable[[Request], Awaitable[Response]]
_LONGEST_LINK = 200
_NOTHING = "There is nothing to take back."


def label_app(desk: LabelDesk, *, hosts: Collection[str]) -> Starlette:
    """Return the app of the labelling page.

    `hosts` are the values of the Host header under which it answers, with the port: `127.0.0.1:8400`.
    Raises UsageError for items of more answers than a page can name.
    """
    if desk.answers > _scales.MOST_ANSWERS:
        raise UsageError(
            f"an item has {desk.answers} answers, and a page shows at most {_scales.MOST_ANSWERS}",
            code="label-answers-many",
            hint="label them in a file: `--export FILE`, then `--import FILE`",
        )
    pages = _LabelPages(desk)
    routes = [
        Route("/", pages.start),
        Route("/enter", pages.show_entry),
        Route("/enter", pages.enter, methods=["POST"]),
        Route("/item", pages.show_item),
        Route("/item", pages.record, methods=["POST"]),
        Route("/undo", pages.undo, methods=["POST"]),
        Route("/text", pages.text),
        Route("/whole", pages.whole),
        Route("/done", pages.done),
        Route("/standing", pages.standing),
        *(Route(f"/{name}", _file) for name in page_files()),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Gate, hosts=hosts, on_error=error_page)],
        exception_handlers={CrossgradeError: _refused, HTTPException: _no_such_page},
    )
    app.router.redirect_slashes = False
    return app


class _LabelPages:
    """The handlers. What blocks runs in a thread, once for each request."""

    def __init__(self, desk: LabelDesk) -> None:
        self._desk = desk

    async def start(self, request: Request) -> Response:
        return await run_in_threadpool(self._start, request)

    def _start(self, request: Request) -> Response:
        return self._go_on(request, self._rater(request), self._look(request))

    async def show_entry(self, request: Request) -> Response:
        """Show a button, which uses the link up when it is pressed. Fetching the link beforehand does not."""
        return page(
            "enter.html.j2", title=self._desk.title, link=request.query_params.get("link", "")[:_LONGEST_LINK]
        )

    async def enter(self, request: Request) -> Response:
        form = await read_form(request, ("link",))
        return await run_in_threadpool(self._enter, request, form.get("link", "")[:_LONGEST_LINK])

    def _enter(self, request: Request, link: str) -> Response:
        try:
            rater, session = self._desk.enter(link)
        except AccessError:
            # A link that this browser used before leads its rater on.
            if _cookie(request) not in request.cookies:
                raise
            self._rater(request)
            return _led("/")
        response = _led("/")
        response.set_cookie(
            _cookie(request),
            session,
            expires=rater.ends_at,
            path="/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    async def show_item(self, request: Request) -> Response:
        return await run_in_threadpool(self._show_item, request)

    def _show_item(self, request: Request) -> Response:
        rater = self._rater(request)
        query = request.query_params
        item, given = self._desk.item(rater, query.get("id", ""))
        said = self._said(rater, query.get("after", ""), query.get("undone", ""))
        shown = self._page(rater, item, given, look=self._look(request), said=said)
        return _placed(shown, _address_of(request)) if _is_htmx(request) else shown

    async def record(self, request: Request) -> Response:
        fields = (
            "action",
            "shown",
            "answers",
            "look",
            "turn",
            "skip",
            "note",
            *_scales.fields(self._desk.answers),
        )
        form = await read_form(request, fields)
        return await run_in_threadpool(self._retried, self._record, request, form)

    def _record(self, request: Request, form: Mapping[str, str]) -> Response:
        rater = self._rater(request)
        item_id = request.query_params.get("id", "")
        look = TextLook.of(form.get("look", ""))
        action, at = action_of(form), shown_at(form)
        if turn := form.get("turn"):  # a button that changes how texts are shown, and saves nothing
            item, given = self._desk.item(rater, item_id)
            return self._page(rater, item, given, look=look.turned(turn), typed=form, action=action)
        skip = form.get("skip")
        scores = None if skip else _scales.scores_of(self._desk.scale, form)
        note = form.get("note", "").replace("\r\n", "\n").strip()
        done = self._desk.record(
            rater, item_id, action=action, scores=scores, skip=skip, note=note, shown_at=at
        )
        if not done:
            item, given = self._desk.item(rater, item_id)
            if given != GivenLabel(scores=scores, skipped=skip, note=note):
                said = "This page was sent before, with another label. Save again to replace what is saved."
                return self._page(rater, item, given, look=look, said=said, status=HTTPStatus.CONFLICT)
        said = f"Saved: {_scales.in_words(self._desk.scale, scores, skip, self._desk.words)}."
        return self._go_on(request, rater, look, after=item_id, said=said)

    async def undo(self, request: Request) -> Response:
        form = await read_form(request, ("action", "look"))
        return await run_in_threadpool(self._retried, self._undo, request, form)

    def _undo(self, request: Request, form: Mapping[str, str]) -> Response:
        look = TextLook.of(form.get("look", ""))
        rater = self._rater(request)
        item_id = self._desk.undo(rater, action=action_of(form))
        if item_id is None:
            return self._go_on(request, rater, look, undone="nothing", said=_NOTHING)
        return _led(address("/item", id=item_id, look=look.letters, undone="yes"))

    def _retried(
        self,
        change: Callable[[Request, Mapping[str, str]], Response],
        request: Request,
        form: Mapping[str, str],
    ) -> Response:
        """Answer a change that failed for now with a page that sends the same form again."""
        try:
            return change(request, form)
        except CrossgradeError as error:
            at = address(request.url.path, id=request.query_params.get("id"))
            return error_page(error, again=form, at=at)

    async def text(self, request: Request) -> Response:
        return await run_in_threadpool(self._text, request)

    def _text(self, request: Request) -> Response:
        item, name, text = self._asked(request)
        start = min(_number(request.query_params.get("from", "0")), len(text))
        part = cut(text, start=start, most=PART_CHARS)
        return page(
            "text.html.j2",
            title=self._desk.title,
            item=item,
            name=name,
            of=request.query_params.get("of"),
            part=part,
            shown=markup([visible(part.text)]),
            step=PART_CHARS,
        )

    async def whole(self, request: Request) -> Response:
        return await run_in_threadpool(self._whole, request)

    def _whole(self, request: Request) -> Response:
        """Send a text whole and as it is, for the rater to keep as a file."""
        item, name, text = self._asked(request)
        file = f"item-{item.number}-{name.lower().replace(' ', '-')}.txt"
        headers = {"content-disposition": f'attachment; filename="{file}"'}
        return Response(text.encode("utf-8", "replace"), media_type="text/plain", headers=headers)

    def _asked(self, request: Request) -> tuple[LabelItem, str, str]:
        """Return an item, and the name and text of the part of it that the query names."""
        query = request.query_params
        item, _ = self._desk.item(self._rater(request), query.get("id", ""))
        known = {"request": ("Request", item.request)}
        known |= {
            _scales.name_of(at).lower(): (f"Answer {_scales.name_of(at)}", text)
            for at, text in enumerate(item.answers)
        }
        if (found := known.get(query.get("of", ""))) is None:
            raise NotFoundError(
                "the item has no such text", code="label-text-unknown", hint="go back to the item"
            )
        return item, *found

    async def done(self, request: Request) -> Response:
        return await run_in_threadpool(self._done, request)

    def _done(self, request: Request) -> Response:
        rater = self._rater(request)
        if self._desk.next_item(rater) is not None:
            return _led("/")
        shown = self._done_page(rater, self._look(request), after=request.query_params.get("after", ""))
        return _placed(shown, _address_of(request)) if _is_htmx(request) else shown

    async def standing(self, request: Request) -> Response:
        return await run_in_threadpool(self._standing, request)

    def _standing(self, request: Request) -> Response:
        rater = self._rater(request)
        if not rater.is_owner:
            raise AccessError(
                "only the owner sees how the labelling is going",
                reason="label_owner_only",
                status=403,
                hint="go on with your own items",
            )
        standing = self._desk.standing()
        return page("standing.html.j2", title=self._desk.title, rater=rater, standing=standing)

    def _go_on(
        self,
        request: Request,
        rater: Rater,
        look: TextLook,
        *,
        after: str = "",
        undone: str = "",
        said: str = "",
    ) -> Response:
        """Lead the rater to the next item, or to the end; htmx gets the next item at once."""
        item, progress = self._desk.next_step(rater)
        if item is None:
            return _led(address("/done", look=look.letters, after=after))
        where = address("/item", id=item.id, look=look.letters, after=after, undone=undone)
        if not _is_htmx(request):
            return _led(where)
        return _placed(self._page(rater, item, None, look=look, said=said, progress=progress), where)

    def _page(
        self,
        rater: Rater,
        item: LabelItem,
        given: GivenLabel | None,
        *,
        look: TextLook,
        said: str = "",
        typed: Mapping[str, str] | None = None,
        action: str | None = None,
        progress: RaterProgress | None = None,
        status: int = HTTPStatus.OK,
    ) -> Response:
        shown = show(
            item,
            given,
            scale=self._desk.scale,
            words=self._desk.words,
            look=look,
            rubric=self._desk.rubric,
            typed=typed or {},
        )
        return page(
            "item.html.j2",
            status=status,
            title=self._desk.title,
            rater=rater,
            scale=self._desk.scale,
            words=self._desk.words,
            shown=shown,
            rubric_shown=bool(self._desk.rubric),
            said=said,
            progress=progress or self._desk.progress(rater),
            action=action or new_action(),
            undo_action=new_action(),
            shown_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            skips=_scales.SKIPS,
        )

    def _done_page(self, rater: Rater, look: TextLook, *, after: str) -> Response:
        return page(
            "done.html.j2",
            title=self._desk.title,
            rater=rater,
            said=self._said(rater, after, ""),
            progress=self._desk.progress(rater),
            look=look,
            undo_action=new_action(),
        )

    def _said(self, rater: Rater, after: str, undone: str) -> str:
        """Return in words what the last action did, as the store has it now."""
        if undone:
            return _NOTHING if undone == "nothing" else "Taken back. Label it again."
        if not after:
            return ""
        try:
            _, given = self._desk.item(rater, after)
        except NotFoundError:
            return ""
        if given is None:
            return ""
        words = _scales.in_words(self._desk.scale, given.scores, given.skipped, self._desk.words)
        return f"Saved: {words}."

    def _rater(self, request: Request) -> Rater:
        session = request.cookies.get(_cookie(request), "")
        if not session:
            raise AccessError(
                "this browser has not entered",
                reason="label_session_missing",
                status=401,
                hint="open the link that you were sent",
            )
        return self._desk.rater(session)

    @staticmethod
    def _look(request: Request) -> TextLook:
        return TextLook.of(request.query_params.get("look", ""))


def _led(where: str) -> Response:
    """Lead from a form to a page, so that going back or loading again sends no form twice."""
    return RedirectResponse(where, HTTPStatus.SEE_OTHER)


def _is_htmx(request: Request) -> bool:
    return request.headers.get("hx-request") == "true"


def _placed(response: Response, where: str) -> Response:
    """Tell htmx which address the browser shall show for a page."""
    response.headers["hx-push-url"] = where
    return response


def _address_of(request: Request) -> str:
    return f"{request.url.path}?{request.url.query}"


def _cookie(request: Request) -> str:
    """Return the name of the cookie. It has the port, because a browser shares cookies between ports."""
    return f"crossgrade_label_{request.url.port or request.url.scheme}"


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise UsageError(
            "the place in the text is no number", code="form-invalid", hint="go back to the item"
        )
    return int(text)


async def _file(request: Request) -> Response:
    return page_files()[request.url.path[1:]].response()


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, CrossgradeError)
    return error_page(error)


async def _no_such_page(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        known = UsageError("this address does not take the method", code="method-not-allowed", hint="go back")
        response = error_page(known)
        response.status_code = error.status_code
        return response
    return error_page(
        NotFoundError("there is no such page", code="path-unknown", hint="go back to the items")
    )
