"""Pagers: every item once, no call too many, and the loop that fits what is paged."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from prefect_registry.errors import InvalidInput
from prefect_registry.models.exceptions import ServerError
from prefect_registry.models.paging import ListOptions, OrderByField, Pager, SortOrder
from prefect_registry.models.paging_twins import pager_twin


class Numbers:
    """Numbers, in pages: what a registry does. ``calls`` are the options of each call, as they were."""

    def __init__(self, count: int, *, end: str | None = None) -> None:
        self.items, self.end = list(range(count)), end
        self.calls: list[dict[str, Any]] = []

    def page(self, options: ListOptions) -> list[int]:
        self.calls.append(options.as_options())
        start, size = int(options.next_page_token or 0), options.limit or 20
        items = self.items if options.is_asc else self.items[::-1]
        options.next_page_token = str(start + size) if start + size < len(items) else self.end
        return items[start : start + size]

    async def apage(self, options: ListOptions) -> list[int]:
        return self.page(options)

    def __call__(self, options: ListOptions) -> list[int]:
        return self.page(options)


class AsyncNumbers(Numbers):
    async def __call__(self, options: ListOptions) -> list[int]:  # type: ignore[override]
        return self.page(options)


def below(limit: int, options: ListOptions | None = None, *, of: Numbers) -> list[int]:
    """A method that needs another argument first."""
    assert options is not None
    return [n for n in of.page(options) if n < limit]


async def abelow(limit: int, options: ListOptions | None = None, *, of: Numbers) -> list[int]:
    return below(limit, options, of=of)


SYNC: dict[str, Callable[[Numbers], Callable[..., Any]]] = {
    "method": lambda n: n.page,
    "lambda": lambda n: lambda o: n.page(o),
    "callable object": lambda n: n,
    "partial by place": lambda n: functools.partial(below, 1_000, of=n),
    "partial by name": lambda n: functools.partial(below, limit=1_000, of=n),
    "partial of an object": lambda n: functools.partial(n),
}
ASYNC: dict[str, Callable[[Numbers], Callable[..., Any]]] = {
    "method": lambda n: n.apage,
    "lambda": lambda n: lambda o: n.apage(o),
    "callable object": lambda n: AsyncNumbers.__call__.__get__(n),
    "partial by place": lambda n: functools.partial(abelow, 1_000, of=n),
    "partial by name": lambda n: functools.partial(abelow, limit=1_000, of=n),
    "partial of a lambda": lambda n: functools.partial(lambda x, o: n.apage(o), 1),
}


@pytest.mark.parametrize("end", [None, ""])
@pytest.mark.parametrize(("count", "calls"), [(0, 1), (1, 1), (10, 1), (11, 2), (20, 2), (21, 3)])
def test_no_call_too_many(count: int, calls: int, end: str | None) -> None:
    """Each page is asked for once, and nothing behind the last, also when the pager is asked again."""
    numbers = Numbers(count, end=end)
    pager = Pager(numbers.page).page_size(10)
    assert list(pager) == numbers.items
    assert len(numbers.calls) == calls
    assert (list(pager), pager.next_page(), next(pager, None)) == ([], [], None)
    with pytest.raises(StopIteration):
        pager.next_item()
    assert len(numbers.calls) == calls


def test_tokens_are_passed_on() -> None:
    """The options of the pager show the token of the next page: with 21 items, pages of 10, it changes 3 times."""
    pager = Pager(Numbers(21).page).limit(10)
    tokens: list[str | None] = [None]
    for _ in pager:
        if pager.options.next_page_token != tokens[-1]:
            tokens.append(pager.options.next_page_token)
    assert tokens == [None, "10", "20", None]


@pytest.mark.parametrize("kind", SYNC)
def test_everything_that_can_be_called(kind: str) -> None:
    """Whatever returns a list is paged with ``for``."""
    numbers = Numbers(45)
    assert list(Pager(SYNC[kind](numbers))) == numbers.items
    assert len(numbers.calls) == 3


@pytest.mark.parametrize("kind", ASYNC)
async def test_everything_that_can_be_awaited(kind: str) -> None:
    """Whatever is awaited is paged with ``async for``, and ends in the same way."""
    numbers = Numbers(45)
    pager: Any = Pager(ASYNC[kind](numbers))
    assert [n async for n in pager] == numbers.items
    assert len(numbers.calls) == 3
    assert await pager.next_page() == []
    with pytest.raises(StopAsyncIteration):
        await pager.next_item()
    assert len(numbers.calls) == 3


@pytest.mark.parametrize("kind", ASYNC)
async def test_pages_and_items_are_awaited(kind: str) -> None:
    """The first call may be that of a page, or of an item."""
    numbers = Numbers(45)
    pager: Any = Pager(ASYNC[kind](numbers))
    assert await pager.next_page() == numbers.items[:20]
    pager = Pager(ASYNC[kind](numbers))
    assert (await pager.next_item(), await pager.next_item()) == (0, 1)


async def test_an_asynchronous_object() -> None:
    """An object whose call is a coroutine is told by its class."""
    numbers = AsyncNumbers(3)
    for page_fn in (numbers, functools.partial(numbers)):
        with pytest.raises(TypeError, match="async for"):
            iter(Pager(page_fn))
        assert [n async for n in Pager(page_fn)] == [0, 1, 2]


@pytest.mark.parametrize("kind", ASYNC)
def test_the_wrong_loop(kind: str) -> None:
    """A ``for`` over what is awaited says so, and leaves no coroutine behind that Python warns of."""
    pager: Any = Pager(ASYNC[kind](Numbers(3)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            with pytest.raises(TypeError, match="async for item in pager"):
                list(pager)
            with pytest.raises(TypeError, match="async for item in pager"):
                next(pager)
        gc.collect()
    assert [str(w.message) for w in caught] == []


@pytest.mark.parametrize("kind", SYNC)
async def test_the_other_wrong_loop(kind: str) -> None:
    """An ``async for`` over lists says so; afterwards ``for`` gives everything."""
    numbers = Numbers(30)
    pager: Any = Pager(SYNC[kind](numbers))
    for _ in range(2):
        with pytest.raises(TypeError, match="'for item in pager'"):
            [n async for n in pager]
    assert list(pager) == numbers.items


def test_builders_restart() -> None:
    """Each returns the pager, which begins again with what was asked for."""
    numbers = Numbers(30)
    pager = Pager(numbers.page).order_by_creation_time().descending().limit(100)
    assert next(pager) == 29
    assert numbers.calls == [{"page_size": "100", "order_by": "CREATE_TIME", "sort_order": "DESC"}]
    for build in (pager.order_by_update_time, pager.order_by_id, pager.ascending, pager.restart):
        assert build() is pager
        assert (next(pager), next(pager)) in [(29, 28), (0, 1)]
    assert numbers.calls[-1] == {"page_size": "100", "order_by": "ID", "sort_order": "ASC"}
    assert pager.page_size(3) is pager
    assert pager.next_page() == [0, 1, 2]


def test_pages_and_items_share_one_place() -> None:
    """A page that was begun is gone on with: no item is lost or given twice."""
    pager = Pager(Numbers(7).page).page_size(3)
    assert [pager.next_item(), pager.next_page(), pager.next_item(), next(pager)] == [0, [1, 2], 3, 4]
    assert [pager.next_page(), pager.next_page(), pager.next_page()] == [[5], [6], []]


def test_short_and_empty_pages() -> None:
    """A page that filters left empty is not the end: the token tells."""
    pages = {None: ([], "a"), "a": ([1], "b"), "b": ([], "c"), "c": ([], None)}

    def listed(options: ListOptions) -> list[int]:
        page, options.next_page_token = pages[options.next_page_token]
        return page

    assert list(Pager(listed)) == [1]
    assert (Pager(listed).next_page(), Pager(listed).next_item()) == ([1], 1)


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "3"])
def test_page_sizes(size: Any) -> None:
    """A page has at least one item."""
    for call in (Pager(Numbers(1).page).page_size, Pager(Numbers(1).page).limit, ListOptions):
        with pytest.raises(ValueError, match=f"Page size must be at least 1, got {size!r}"):
            call(size)


class Slow:
    """A list whose first page takes until the test says so."""

    def __init__(self) -> None:
        self.numbers, self.asked, self.go_on = Numbers(4), threading.Event(), threading.Event()
        self.done = threading.Event()

    def listed(self, /) -> Pager[int]:
        return Pager(self.page, ListOptions(limit=2))

    def page(self, options: ListOptions) -> list[int]:
        self.asked.set()
        self.go_on.wait(10)
        found = self.numbers.page(options)
        self.done.set()
        return found

    alisted = pager_twin(listed)


async def test_a_page_whose_call_was_cancelled_is_asked_for_again() -> None:
    """Its thread ends later, and turns no page of the pager."""
    slow = Slow()
    pager = slow.alisted()
    call = asyncio.create_task(pager.next_page())
    await asyncio.to_thread(slow.asked.wait, 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    slow.go_on.set()
    await asyncio.to_thread(slow.done.wait, 10)
    assert [n async for n in pager] == [0, 1, 2, 3]


def test_options() -> None:
    """They are made as in the reference system, and wrong ones are refused."""
    made = ListOptions.order_by_creation_time(is_asc=False, limit=5)
    assert made == ListOptions(5, OrderByField.CREATE_TIME, False)
    assert ListOptions.order_by_update_time().order_by == "LAST_UPDATE_TIME"
    assert ListOptions.order_by_id(next_page_token="x").as_options() == {
        "order_by": "ID",
        "sort_order": SortOrder.ASC,
        "next_page_token": "x",
    }
    with pytest.raises(InvalidInput, match="LAST_UPDATE_TIME"):
        ListOptions(order_by="NAME")  # type: ignore[arg-type]


def test_options_are_nobody_elses() -> None:
    """A pager changes neither the options it is given nor those of another pager."""
    given = ListOptions(limit=2, next_page_token="4")
    one, other = Pager(Numbers(9).page, given), Pager(Numbers(9).page, given)
    assert (next(one.descending()), next(other)) == (8, 0)
    assert given == ListOptions(limit=2, next_page_token="4")
    assert Pager(Numbers(1).page).options is not Pager(Numbers(1).page).options


def test_a_call_that_failed_is_made_again() -> None:
    """The pager stays where it was."""
    numbers, fails = Numbers(5), [True]

    def listed(options: ListOptions) -> list[int]:
        page = numbers.page(options)
        if len(numbers.calls) == 2 and fails.pop():
            raise ConnectionError
        return page

    pager = Pager(listed).page_size(2)
    assert [next(pager), next(pager)] == [0, 1]
    with pytest.raises(ConnectionError):
        next(pager)
    assert list(pager) == [2, 3, 4]


async def test_an_awaited_call_that_failed_is_made_again() -> None:
    """The pager stays where it was."""
    numbers = Numbers(5)

    async def listed(options: ListOptions) -> list[int]:
        page = numbers.page(options)
        if len(numbers.calls) == 2:
            raise ConnectionError
        return page

    pager = Pager(listed).page_size(2)
    assert await pager.next_page() == [0, 1]
    with pytest.raises(ConnectionError):
        await pager.next_page()
    assert [n async for n in pager] == [2, 3, 4]


def test_a_list_without_end_is_refused() -> None:
    """Whoever gives the token back that it was given would be asked for ever."""

    def listed(options: ListOptions) -> list[int]:
        options.next_page_token = "same"
        return [1]

    pager = Pager(listed)
    assert next(pager) == 1
    with pytest.raises(ServerError, match="never end"):
        next(pager)


@pytest.mark.parametrize("answer", [None, 5, "text", {"items": []}])
def test_what_is_no_page(answer: Any) -> None:
    """The error names what was returned."""
    with pytest.raises(TypeError, match=f"must return a list.*{type(answer).__name__}"):
        next(Pager(lambda options: answer))


def test_the_parameter_of_the_type() -> None:
    """A pager may be made with the type of its items, as in the reference system."""
    assert list(Pager[int](Numbers(3).page)) == [0, 1, 2]
