"""Lists a page at a time, and iterators over them (reference system 4).

What lists takes a :class:`ListOptions`, returns one page, and sets ``next_page_token`` of those options to that of the
next page, or to None or "" when there is none.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any, Final, Generic, Literal, Self, TypeAlias, cast, overload

from typing_extensions import TypeVar

from prefect_registry.errors import InvalidInput
from prefect_registry.models.exceptions import ServerError

DEFAULT_PAGE_SIZE: Final = 20
"""How many items a page has when ``limit`` is None."""

T = TypeVar("T")
Loop = TypeVar("Loop", default=Literal["for"])


class OrderByField(StrEnum):
    """What a list is ordered by; by id when nothing is said."""

    CREATE_TIME = "CREATE_TIME"
    LAST_UPDATE_TIME = "LAST_UPDATE_TIME"
    ID = "ID"


class SortOrder(StrEnum):
    """In which direction a list is ordered."""

    ASC = "ASC"
    DESC = "DESC"


@dataclass
class ListOptions:
    """Which page of a list.

    Attributes:
        limit: How many items a page has; :data:`DEFAULT_PAGE_SIZE` when None.
        next_page_token: Of the page that is wanted; None is the first. The call that lists sets it to that of the next.
        artifact_type_param: Only artifacts of this type.
    """

    limit: int | None = None
    order_by: OrderByField | None = None
    is_asc: bool = True
    next_page_token: str | None = None
    artifact_type_param: str | None = None

    def __post_init__(self) -> None:
        self.limit = None if self.limit is None else checked_page_size(self.limit)
        try:
            self.order_by = None if self.order_by is None else OrderByField(self.order_by)
        except ValueError:
            allowed = ", ".join(OrderByField)
            raise InvalidInput.of("ListOptions", [f"order_by is {self.order_by!r:.80}, not one of {allowed}"]) from None

    @classmethod
    def order_by_creation_time(cls, **options: Any) -> Self:
        """Options that order by the time of creation; ``options`` are the other fields."""
        return cls(order_by=OrderByField.CREATE_TIME, **options)

    @classmethod
    def order_by_update_time(cls, **options: Any) -> Self:
        """Options that order by the time of the last update; ``options`` are the other fields."""
        return cls(order_by=OrderByField.LAST_UPDATE_TIME, **options)

    @classmethod
    def order_by_id(cls, **options: Any) -> Self:
        """Options that order by id; ``options`` are the other fields."""
        return cls(order_by=OrderByField.ID, **options)

    def as_options(self) -> dict[str, Any]:
        """What the reference system sends: nothing that is None, and always ``sort_order``."""
        sent = {
            "page_size": None if self.limit is None else str(self.limit),
            "order_by": self.order_by,
            "sort_order": SortOrder.ASC if self.is_asc else SortOrder.DESC,
            "next_page_token": self.next_page_token,
            "artifact_type": self.artifact_type_param,
        }
        return {name: value for name, value in sent.items() if value is not None}


def checked_page_size(n: object) -> int:
    """``n`` if a page can have that many items, else :class:`~prefect_registry.errors.InvalidInput`."""
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise InvalidInput(
            f"Page size must be at least 1, got {n!r:.80}",
            why="A page has a whole number of items",
            todo=f"Pass 1 or more, or None for {DEFAULT_PAGE_SIZE}",
            committed="no",
        )
    return n


class Pager(Generic[T, Loop]):
    """An iterator over all pages of a list: ``for`` when ``page_fn`` returns lists, ``async for`` when it is awaited.

    Each item is given once, and the page behind the last is never asked for. A pager that has ended stays at its end
    until :meth:`restart`. It belongs to one thread or task. The second parameter of the type, ``Pager[T, Loop]``, is
    the loop that it is for.

    Args:
        page_fn: Takes a :class:`ListOptions`, as the argument named ``options`` if it has one of that name, else as
            its only positional one. Anything callable: functions and methods of both kinds, lambdas,
            ``functools.partial``.
        options: Where to begin is not taken from them. They are copied: the caller's never change.
    """

    @overload
    def __init__(
        self: Pager[T, Literal["async for"]],
        page_fn: Callable[[ListOptions], Awaitable[Sequence[T]]],
        options: ListOptions | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: Pager[T, Literal["for"]],
        page_fn: Callable[[ListOptions], Sequence[T]],
        options: ListOptions | None = None,
    ) -> None: ...

    def __init__(self, page_fn: Callable[[ListOptions], Any], options: ListOptions | None = None) -> None:
        self.page_fn = page_fn
        self.options = replace(options or ListOptions())
        self._call = partial(_called, page_fn, _takes_by_name(page_fn))
        self._awaited: bool | None = True if _is_asynchronous(page_fn) else None  # None: the first call tells
        self.restart()

    # What to list -------------------------------------------------------------------------------------------------

    def restart(self) -> Self:
        """Begin again with the first page, with the same options."""
        self.options.next_page_token = None
        self._page: list[T] = []
        self._given = 0
        self._ended = False
        return self

    def order_by_creation_time(self) -> Self:
        """Order by the time of creation. Restarts."""
        return self._ordered(OrderByField.CREATE_TIME)

    def order_by_update_time(self) -> Self:
        """Order by the time of the last update. Restarts."""
        return self._ordered(OrderByField.LAST_UPDATE_TIME)

    def order_by_id(self) -> Self:
        """Order by id. Restarts."""
        return self._ordered(OrderByField.ID)

    def page_size(self, n: int) -> Self:
        """Ask for ``n`` items at a time. Restarts.

        Raises:
            InvalidInput: ``n`` is no whole number from 1.
        """
        self.options.limit = checked_page_size(n)
        return self.restart()

    limit = page_size

    def ascending(self) -> Self:
        """The least first. Restarts."""
        self.options.is_asc = True
        return self.restart()

    def descending(self) -> Self:
        """The greatest first. Restarts."""
        self.options.is_asc = False
        return self.restart()

    def _ordered(self, field: OrderByField) -> Self:
        self.options.order_by = field
        return self.restart()

    # What is listed -----------------------------------------------------------------------------------------------

    @overload
    def next_page(self: Pager[T, Literal["for"]]) -> list[T]: ...

    @overload
    def next_page(self: Pager[T, Literal["async for"]]) -> Coroutine[Any, Any, list[T]]: ...

    def next_page(self) -> Any:
        """The rest of the page that is being iterated, else the next page with items; ``[]`` at the end.

        To be awaited if ``page_fn`` is.
        """
        if self._awaited:
            return self._anext_page(None)
        page, awaitable = self._fetched()
        if awaitable is not None:
            return self._anext_page(awaitable)
        return page

    @overload
    def next_item(self: Pager[T, Literal["for"]]) -> T: ...

    @overload
    def next_item(self: Pager[T, Literal["async for"]]) -> Coroutine[Any, Any, T]: ...

    def next_item(self) -> Any:
        """The next item. To be awaited if ``page_fn`` is.

        Raises:
            StopIteration: There is none.
            StopAsyncIteration: There is none, and ``page_fn`` is awaited.
        """
        if self._awaited:
            return self._anext_item(None)
        if self._given == len(self._page):
            page, awaitable = self._fetched()
            if awaitable is not None:
                return self._anext_item(awaitable)
            self._begin(page)
        return self._item(StopIteration)

    def __iter__(self: Pager[T, Literal["for"]]) -> Iterator[T]:
        if self._awaited:
            raise _wrong_loop("async for", "page_fn is asynchronous")
        return cast("Iterator[T]", self)

    def __next__(self: Pager[T, Literal["for"]]) -> T:
        if not self._awaited and self._given == len(self._page):
            page, awaitable = self._fetched()
            if awaitable is not None:
                _drop(awaitable)
            else:
                self._begin(page)
        if self._awaited:
            raise _wrong_loop("async for", "page_fn is asynchronous")
        return self._item(StopIteration)

    def __aiter__(self: Pager[T, Literal["async for"]]) -> AsyncIterator[T]:
        if self._awaited is False:
            raise _wrong_loop("for", "page_fn returns lists")
        return cast("AsyncIterator[T]", self)

    async def __anext__(self: Pager[T, Literal["async for"]]) -> T:
        if self._awaited is None:
            _, awaitable = self._fetched()
            if awaitable is not None:
                return await self._anext_item(awaitable)
            self.restart()  # nobody gets the page that was fetched to find out
        if not self._awaited:
            raise _wrong_loop("for", "page_fn returns lists")
        return await self._anext_item(None)

    async def _anext_item(self, awaitable: Awaitable[Sequence[T]] | None) -> T:
        if awaitable is not None or self._given == len(self._page):
            self._begin(await self._anext_page(awaitable))
        return self._item(StopAsyncIteration)

    async def _anext_page(self, awaitable: Awaitable[Sequence[T]] | None) -> list[T]:
        if awaitable is None and (rest := self._rest()):
            return rest
        while awaitable is not None or not self._ended:
            sent = self.options.next_page_token
            try:
                page = self._taken(await (awaitable or self._call(self.options)), sent)
            except BaseException:
                self.options.next_page_token = sent
                raise
            if page:
                return page
            awaitable = None
        return []

    def _fetched(self) -> tuple[list[T], Awaitable[Sequence[T]] | None]:
        """The next page with items; or, when it turns out that pages are awaited, what is to be awaited."""
        if rest := self._rest():
            return rest, None
        while not self._ended:
            sent = self.options.next_page_token
            try:
                answer = self._call(self.options)
                if inspect.isawaitable(answer):
                    self._awaited = True
                    return [], answer
                page = self._taken(answer, sent)
            except BaseException:
                self.options.next_page_token = sent
                raise
            self._awaited = False
            if page:
                return page, None
        return [], None

    def _taken(self, page: Sequence[T], sent: str | None) -> list[T]:
        if not isinstance(page, Sequence) or isinstance(page, (str, bytes)):
            raise TypeError(f"page_fn must return a list, or be awaited for one; it returned {type(page).__name__}")
        token = self.options.next_page_token
        if token and token == sent:
            raise ServerError(
                "The token of the next page is that of this page",
                why="The list would never end",
                todo="See that page_fn passes on the options it is given, or sets their next_page_token to None",
            )
        self._ended = not token
        return list(page)

    def _rest(self) -> list[T]:
        rest, self._given = self._page[self._given :], len(self._page)
        return rest

    def _begin(self, page: list[T]) -> None:
        self._page, self._given = page, 0

    def _item(self, at_end: type[StopIteration] | type[StopAsyncIteration]) -> T:
        if self._given == len(self._page):
            raise at_end
        self._given += 1
        return self._page[self._given - 1]


SyncPager: TypeAlias = Pager[T, Literal["for"]]
AsyncPager: TypeAlias = Pager[T, Literal["async for"]]


def _called(page_fn: Callable[..., Any], by_name: bool, options: ListOptions) -> Any:
    return page_fn(options=options) if by_name else page_fn(options)


def _takes_by_name(page_fn: Callable[..., Any]) -> bool:
    """Whether an argument is named ``options``: behind others it cannot be passed by its place."""
    try:
        found = inspect.signature(page_fn).parameters.get("options")
    except (TypeError, ValueError):  # some built-in callables do not tell their arguments
        return False
    return found is not None and found.kind in (found.POSITIONAL_OR_KEYWORD, found.KEYWORD_ONLY)


def _is_asynchronous(page_fn: Callable[..., Any]) -> bool:
    """Whether it can be told, before it is called, that what it returns is to be awaited."""
    while isinstance(page_fn, partial):
        page_fn = page_fn.func
    return inspect.iscoroutinefunction(page_fn) or inspect.iscoroutinefunction(type(page_fn).__call__)


def _drop(awaitable: Awaitable[Any]) -> None:
    """Nobody will await it: end it, so that Python does not warn of that."""
    for name in ("close", "cancel"):  # of coroutines, of futures and tasks
        if callable(end := getattr(awaitable, name, None)):
            end()
            return


def _wrong_loop(right: str, why: str) -> TypeError:
    return TypeError(f"This pager cannot be iterated this way: {why}. Write '{right} item in pager'")


__all__ = [
    "DEFAULT_PAGE_SIZE",
    "AsyncPager",
    "ListOptions",
    "OrderByField",
    "Pager",
    "SortOrder",
    "SyncPager",
]
