"""Which schedules are tried: systematically with few surprises, then at random with many."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from world import Actor, World

Setup = Callable[[World], None]
Judge = Callable[[World], None]
MOST_STEPS = 4_000
LEAP_SECONDS = 0.75
WRITES = frozenset(("create", "put", "upload"))
CHANGES = WRITES | {"delete"}


@dataclass(frozen=True)
class Limits:
    """How unkind a schedule may be: crashes, writes that are told lost and land later, leaps of time in standstills."""

    crashes: int = 1
    delays: int = 1
    leaps: int = 0


@dataclass
class Trace:
    """The choices of one schedule, and at each of them how many there were."""

    choices: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    costs: list[list[int]] = field(default_factory=list)

    @property
    def key(self) -> tuple[int, ...]:
        return tuple(self.choices)


Choose = Callable[[Sequence[int]], int]
"""Given the cost of each option (0: go on as before; 1: a surprise), the index of the one to take."""


class Tree:
    """The schedules of one scenario that were run, as a tree of their choices.

    Nothing but the choices makes two schedules differ: one that is in here need not be run to know where it leads.
    """

    _MOST_OPTIONS = 1_000

    def __init__(self) -> None:
        self.schedules = 0
        self._costs: list[tuple[int, ...] | None] = [None]  # of each node; None: a schedule ends there
        self._after: dict[int, int] = {}  # a choice at a node, and the node behind it
        self._equal: dict[tuple[int, ...], tuple[int, ...]] = {}

    def add(self, trace: Trace) -> bool:
        """Whether it is new."""
        known, node = len(self._costs), 0
        for choice, costs in zip(trace.choices, map(tuple, trace.costs), strict=True):
            if self._costs[node] is None:
                self._costs[node] = self._equal.setdefault(costs, costs)
            assert self._costs[node] == costs, "the same choices led to other options"
            node = self._after.setdefault(node * self._MOST_OPTIONS + choice, len(self._costs))
            if node == len(self._costs):
                self._costs.append(None)
        new = len(self._costs) > known or not self.schedules
        self.schedules += new
        return new

    def has(self, choose: Choose) -> bool:
        """Whether the schedule of these choices was run before."""
        node: int | None = 0
        while node is not None and (costs := self._costs[node]) is not None:
            node = self._after.get(node * self._MOST_OPTIONS + choose(costs))
        return node is not None and self.schedules > 0


def run(world: World, choose: Choose, limits: Limits) -> Trace:
    """Run one schedule to its end."""
    trace = Trace()

    def pick(costs: list[int]) -> int:
        if len(costs) == 1:
            return 0
        picked = choose(costs)
        trace.choices.append(picked)
        trace.widths.append(len(costs))
        trace.costs.append(costs)
        return picked

    def shuffled(count: int) -> list[int]:
        left = list(range(count))
        return [left.pop(pick([0] + [1] * (len(left) - 1))) for _ in range(count)]

    world.shuffled = shuffled
    crashes, delays, leaps, steps = limits.crashes, limits.delays, limits.leaps, 0
    current: Actor | None = None
    at_call: dict[str, tuple[str, Any]] = {}
    while True:
        steps += 1
        assert steps < MOST_STEPS, f"the actors never come to an end: {_standing(world)} after {trace.choices[-50:]}"
        runnable = [a for a in world.actors if a.state == "ready" or _can_go(world, a)]
        if not runnable:
            sleepers = [a for a in world.actors if a.state == "sleeping"]
            if not sleepers:
                if world.pending:
                    world.land(0)
                    _wake_others(world, None)
                    continue
                break
            world.clock.seconds = max(world.clock.seconds, min(a.wakes_at for a in sleepers))
            continue
        options: list[tuple[str, Actor | None]] = []
        costs: list[int] = []
        if current is not None and current.state == "ready":
            runnable.remove(current)
            runnable.insert(0, current)
            another = 1
        else:
            another = 0
        for actor in runnable:
            options.append(("go", actor))
            costs.append(another if len(options) > 1 else 0)
            call = at_call.get(actor.name)
            if call is not None and call[0] in CHANGES:
                if delays and call[0] in WRITES:
                    options.append(("delay", actor))
                    costs.append(1)
                if crashes:
                    options.append(("crash", actor))
                    costs.append(1)
                if crashes and delays and call[0] in WRITES:
                    options.append(("vanish", actor))  # it crashes with the write on its way
                    costs.append(1)
        if world.pending:
            options.append(("land", None))
            costs.append(1)
        if leaps:
            options.append(("leap", None))
            costs.append(1)
        order, chosen = options[pick(costs)]
        if order == "land":
            world.land(0)
            _wake_others(world, None)
            continue
        if order == "leap":
            leaps -= 1
            world.clock.seconds += LEAP_SECONDS
            continue
        assert chosen is not None
        if order in ("crash", "vanish"):
            crashes -= 1
            if order == "vanish":
                delays -= 1
                method, (key, data) = at_call[chosen.name]
                world.pending.append((method, key, data))
            chosen.state = "crashed"
            _wake_others(world, chosen)
            continue
        delays -= order == "delay"
        _step(world, chosen, order, at_call)
        current = chosen
    for actor in world.actors:
        if actor.error is not None:
            raise actor.error
    return trace


def _can_go(world: World, actor: Actor) -> bool:
    """Whether one that was not ready has become it."""
    is_ready = (
        actor.wakes_at <= world.clock.seconds if actor.state == "sleeping"
        else actor.state == "waiting" and actor.waits_for in world.facts
    )  # fmt: skip
    if is_ready:
        actor.state = "ready"
    return is_ready


def _step(world: World, actor: Actor, order: str, at_call: dict[str, tuple[str, Any]]) -> None:
    """Let an actor make its call and run up to the next one."""
    call = at_call.get(actor.name)
    why = actor.greenlet.switch() if call is None else actor.greenlet.switch(order)
    if actor.greenlet.dead:
        actor.state = "done"
        _wake_others(world, actor)
        return
    at_call[actor.name] = why
    if why[0] == "sleep":
        actor.state, actor.wakes_at = "sleeping", world.clock.seconds + max(why[1], 0.001)
    elif why[0] == "wait":
        actor.state, actor.waits_for = "waiting", str(why[1])
    if call is not None and call[0] in CHANGES:
        _wake_others(world, actor)


def _standing(world: World) -> str:
    return ", ".join(f"{a.name} {a.state}" for a in world.actors)


def _wake_others(world: World, actor: Actor | None) -> None:
    """Sleepers look again as soon as somebody else has written something: patience without spinning.

    Reads change nothing, and two who wait must not wake each other for ever while a third, whom they wait for, is never
    chosen.
    """
    for other in world.actors:
        if other is not actor and other.state == "sleeping":
            other.state = "ready"


def systematic(setup: Callable[[], World], judge: Judge, limits: Limits, surprises: int, most: int) -> Iterator[Trace]:
    """Every schedule with at most ``surprises`` preemptions, crashes or delays (depth first), up to ``most``."""
    stack: list[list[int]] = [[]]
    done = 0
    while stack and done < most:
        prefix = stack.pop()
        position = 0

        def choose(costs: Sequence[int], prefix: list[int] = prefix) -> int:
            nonlocal position
            position += 1
            return prefix[position - 1] if position <= len(prefix) else 0

        trace = _judged(setup(), choose, limits, judge)
        done += 1
        yield trace
        spent = 0
        for i, (choice, width) in enumerate(zip(trace.choices, trace.widths, strict=True)):
            if i >= len(prefix):
                for other in range(1, width):
                    if spent + trace.costs[i][other] <= surprises:
                        stack.append([*trace.choices[:i], other])
            spent += trace.costs[i][choice]


def at_random(setup: Callable[[], World], judge: Judge, limits: Limits, seed: int) -> Trace:
    """One schedule by chance: mostly calm, sometimes wild, so that long and short overlaps both occur."""
    return _judged(setup(), by_chance(seed), limits, judge)


def by_chance(seed: int) -> Choose:
    """The choices of :func:`at_random`, from the first one on."""
    source = random.Random(seed)
    calm = source.choice((0.5, 0.8, 0.95))

    def choose(costs: Sequence[int]) -> int:
        if source.random() < calm and costs[0] == 0:
            return 0
        return source.randrange(len(costs))

    return choose


def _judged(world: World, choose: Choose, limits: Limits, judge: Judge) -> Trace:
    try:
        trace = run(world, choose, limits)
        judge(world)
        return trace
    finally:
        world.close()
