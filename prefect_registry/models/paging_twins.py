"""The asynchronous twins of methods that return pagers."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Concatenate, ParamSpec, TypeVar

from prefect_registry.asynchronous import name_twin
from prefect_registry.models.paging import AsyncPager, ListOptions, Pager, SyncPager

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


def pager_twin(method: Callable[Concatenate[S, P], SyncPager[R]]) -> Callable[Concatenate[S, P], AsyncPager[R]]:
    """The twin of a method that returns a pager: not awaited itself, it returns one that fetches pages in threads."""

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> AsyncPager[R]:
        pager = method(self, *args, **kwargs)

        async def page(options: ListOptions) -> list[R]:
            mine = replace(options)  # a thread that outlives a cancelled call must not turn the pager's page
            found = await asyncio.to_thread(pager.page_fn, mine)
            options.next_page_token = mine.next_page_token
            return list(found)

        return Pager(page, pager.options)

    name_twin(call, method)
    return call
