"""Between a run's decision and Prefect's record of it: Completed means committed, anything else means nothing visible.

Whatever happens there to a process that lives: signals, cancellation, suspension, timeouts, results that cannot be
stored, a server that does not answer. The exceptions that are left are those of docs/decisions/0016.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.exceptions import Abort, Pause
from prefect.filesystems import LocalFileSystem
from prefect.runtime import flow_run as this_flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect_support import Server, ended, seen, stage
from process_forks import Forks
from process_support import Case

from prefect_registry.registry import Registry
from prefect_registry.runs import registry_run
from prefect_registry.storage.base import Storage
from prefect_registry.storage.opening import open_storage
from prefect_registry.storage.wrapper import WrapperStorage
from prefect_registry.testing.proxies import Proxy

CANCELLING = {"type": "CANCELLING", "name": "Cancelling"}
SUSPENDED = {"type": "PAUSED", "name": "Suspended", "state_details": {"pause_reschedule": True}}


class Moment(WrapperStorage):
    """Calls ``then`` when the decision has landed."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.then: Callable[[], object] = lambda: None

    def create(self, key: str, data: bytes) -> None:
        super().create(key, data)
        if key.endswith("end.json"):
            self.then()


@pytest.fixture
def moment(tmp_path: Path, server: Server) -> Moment:
    return Moment(open_storage(str(tmp_path / "store")))


# -- signals, in processes of their own --------------------------------------------------------------------------------

_SIGNALLED: dict[str, tuple[str, str, list[signal.Signals]]] = {
    "sigterm-before": ("decides", "before", [signal.SIGTERM]),
    "sigterm-after": ("decides", "after", [signal.SIGTERM]),
    "sigterm-before-async": ("adecides", "before", [signal.SIGTERM]),
    "sigint-after-async": ("adecides", "after", [signal.SIGINT]),
    "twice-before": ("decides", "before", [signal.SIGTERM, signal.SIGTERM]),
}


@pytest.fixture(scope="module")
def signalled(server: Server, forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Case]]:
    """One process for each case, stopped at its decision, signalled there, and let go on."""
    home, cases = tmp_path_factory.mktemp("signalled"), dict[str, Case]()
    try:
        for name, (fn, where, _) in _SIGNALLED.items():
            (home / name).mkdir()
            cases[name] = Case(server, forks, name, home / name, fn, more={"where": where}).prepare().start_directly()
        for case in cases.values():
            case.reached("deciding")  # all of them, before the first one's ten seconds begin
        for n in range(2):
            for name, (_, _, numbers) in _SIGNALLED.items():
                if numbers[n:]:
                    cases[name].signal(numbers[n], "deciding")
            time.sleep(0.5)
        for case in cases.values():
            case.go()
        yield cases
    finally:
        for case in cases.values():
            case.end()


@pytest.mark.parametrize("name", [name for name in _SIGNALLED if name != "twice-before"])
def test_a_signal_at_the_decision_waits_until_the_flow_run_is_completed(signalled: dict[str, Case], name: str) -> None:
    """The run commits, Prefect says Completed, and then the process ends: an interrupt may find it at its end."""
    case = signalled[name]
    assert case.exit_code() != 0 or "sigint" in name, case.output()
    assert case.final_state() == "COMPLETED"
    assert case.seen().states() == ["COMMITTED"]
    assert case.seen().rows("a") == 3


def test_a_second_signal_before_the_decision_has_landed_rolls_back(signalled: dict[str, Case]) -> None:
    """Who insists is obeyed: the flow run is crashed and nothing is visible."""
    case = signalled["twice-before"]
    assert case.exit_code() != 0, case.output()
    assert case.final_state() == "CRASHED"
    assert case.seen().failures() == [("TerminationSignal", "crashed")]
    assert case.seen().nothing()


def test_handlers_are_as_they_were_after_a_flow_run_that_published(store: Registry) -> None:
    """Signals are held only while there is something to record."""
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")

    ingest()
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


def test_an_interrupt_at_the_decision_reaches_what_follows_the_flow(moment: Moment) -> None:
    """It is late, and not lost."""
    store = Registry(moment)
    moment.then = lambda: signal.raise_signal(signal.SIGINT)
    states: list[Any] = []

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")

    with pytest.raises(KeyboardInterrupt):
        states.append(ingest(return_state=True))
        time.sleep(30)
    assert ended(states[0]).is_completed()
    assert seen(store).rows("a") == 3


def test_an_interrupt_after_a_run_that_published_nothing_is_not_held_up(store: Registry) -> None:
    """No hook of ours follows such a run: the handler that is left passes on at once what comes later."""

    @registry_run(store)
    @flow
    def empty() -> None: ...

    empty()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


# -- cancellation and suspension ---------------------------------------------------------------------------------------


def set_state(server: Server, flow_run_id: str, state: dict[str, Any]) -> None:
    server.post(f"/flow_runs/{flow_run_id}/set_state", {"state": state, "force": True})


@pytest.mark.parametrize(("state", "error"), [(CANCELLING, Abort), (SUSPENDED, Pause)], ids=["cancelled", "suspended"])
def test_a_flow_run_that_is_stopped_before_its_decision_publishes_nothing(
    store: Registry, server: Server, state: dict[str, Any], error: type[BaseException]
) -> None:
    """Also where no runner sends it a signal: the state is looked at before the decision."""
    ids: list[str] = []

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")
        ids.append(str(this_flow_run.id))
        set_state(server, ids[0], state)

    with pytest.raises(error):
        ingest()
    assert server.flow_run(ids[0])["state_type"] == state["type"]
    assert [kind for _, kind in seen(store).failures()] == ["cancelled"]
    assert seen(store).nothing()


def test_an_asynchronous_flow_run_that_is_cancelled_before_its_decision_publishes_nothing(
    store: Registry, server: Server
) -> None:
    """The same with the asynchronous client."""
    ids: list[str] = []

    @registry_run(store)
    @flow
    async def ingest() -> None:
        stage("a")
        ids.append(str(this_flow_run.id))
        set_state(server, ids[0], CANCELLING)

    with pytest.raises(Abort):
        asyncio.run(ingest())
    assert server.flow_run(ids[0])["state_type"] == "CANCELLING"
    assert seen(store).nothing()


def test_a_flow_run_cancelled_in_the_moment_of_its_decision_says_that_it_is_committed(
    moment: Moment, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The exception: Prefect refuses Completed, the data is visible, and the flow run's log says so."""
    store, ids = Registry(moment), list[str]()

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")
        ids.append(str(this_flow_run.id))
        moment.then = lambda: set_state(server, ids[0], CANCELLING)

    with caplog.at_level(logging.WARNING):
        ingest(return_state=True)
    assert server.flow_run(ids[0])["state_type"] == "CANCELLING"
    assert seen(store).states() == ["COMMITTED"]
    assert any("committed: yes. It stays visible" in m for m in caplog.messages)


def test_a_task_cancelled_during_its_decision_completes(moment: Moment) -> None:
    """asyncio's cancellation asks; a flow whose work is done and published answers with its result."""
    store = Registry(moment)

    @registry_run(store)
    @flow
    async def ingest() -> int:
        stage("a")
        return 7

    async def main() -> Any:
        loop, running = asyncio.get_running_loop(), asyncio.ensure_future(ingest(return_state=True))
        moment.then = lambda: (loop.call_soon_threadsafe(running.cancel), time.sleep(0.2))
        return await running

    assert ended(asyncio.run(main())).is_completed()
    assert seen(store).rows("a") == 3


# -- timeouts ----------------------------------------------------------------------------------------------------------


def test_a_timeout_during_the_decision_of_an_asynchronous_flow_does_not_unsay_it(moment: Moment) -> None:
    """It would strike while Prefect records the flow run, and call it TimedOut."""
    store = Registry(moment)
    moment.then = lambda: time.sleep(5)

    @registry_run(store)
    @flow(timeout_seconds=4)
    async def ingest() -> int:
        stage("a")
        return 7

    assert ended(asyncio.run(ingest(return_state=True))).is_completed()
    assert seen(store).rows("a") == 3


class Slow:
    """A result that takes longer to store than the flow may take."""

    def __getstate__(self) -> dict[str, Any]:
        time.sleep(5)
        return {}


@pytest.mark.parametrize("alarm", [True, False], ids=["by alarm", "by thread"])
def test_a_timeout_after_the_decision_does_not_strike(store: Registry, alarm: bool) -> None:
    """Neither the alarm of a flow in the main thread, nor the thread that watches where the alarm is taken."""

    @registry_run(store)
    @flow(timeout_seconds=4, persist_result=True)
    def ingest() -> Slow:
        stage("a")
        return Slow()

    taken = signal.signal(signal.SIGALRM, signal.SIG_DFL if alarm else lambda *_: None)
    timer = signal.setitimer(signal.ITIMER_REAL, 0 if alarm else 600)
    try:
        began = time.monotonic()
        assert ended(ingest(return_state=True)).is_completed()
        assert time.monotonic() - began > 4
        assert alarm or signal.getitimer(signal.ITIMER_REAL)[0] > 500  # whose alarm it is keeps it
    finally:
        signal.signal(signal.SIGALRM, taken)
        signal.setitimer(signal.ITIMER_REAL, *timer)
    assert seen(store).rows("a") == 3


# -- results -----------------------------------------------------------------------------------------------------------


def test_a_result_that_cannot_be_stored_leaves_the_flow_run_completed(store: Registry, tmp_path: Path) -> None:
    """Prefect stores results after our decision, and only warns: of a lock, and of a folder that is a file."""
    (tmp_path / "file").write_text("")
    nowhere = LocalFileSystem(basepath=str(tmp_path / "file"))
    nowhere.save("nowhere", overwrite=True)

    @registry_run(store)
    @flow(persist_result=True)
    def unserialisable() -> Any:
        stage("a", mode="append")
        return threading.Lock()

    @registry_run(store)
    @flow(persist_result=True, result_storage=nowhere)
    def unwritable() -> int:
        stage("a", mode="append")
        return 7

    for ingest in (unserialisable, unwritable):
        assert ended(ingest(return_state=True)).is_completed()
    assert seen(store).states() == ["COMMITTED", "COMMITTED"]
    assert seen(store).rows("a") == 6


# -- a server that does not answer -------------------------------------------------------------------------------------


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """Prefect's client asks through it, and does not ask again."""
    proxy = Proxy(server.url.removesuffix("/api"))
    settings = {PREFECT_API_URL: f"{proxy.endpoint}/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with proxy.running(), temporary_settings(settings):
        yield proxy


def test_a_flow_run_whose_server_does_not_answer_publishes_nothing(store: Registry, proxy: Proxy) -> None:
    """It could not be recorded as Completed either."""

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")
        path = f"/flow_runs/{this_flow_run.id}"
        proxy.fail_next("503 before", which=lambda r: r.method == "GET" and r.path.endswith(path))

    assert ended(ingest(return_state=True)).is_failed()
    assert seen(store).states() == ["ABORTED"]
    assert seen(store).nothing()


@pytest.mark.parametrize("publishes", [True, False])
def test_the_state_is_asked_for_once_by_a_flow_that_publishes_anything(
    store: Registry, proxy: Proxy, publishes: bool
) -> None:
    """Where nothing is staged, as by an idle tick of a schedule, nothing can become visible, and nothing is asked."""
    paths: list[str] = []

    @registry_run(store)
    @flow
    def ingest() -> None:
        if publishes:
            stage("a")
        paths.append(f"/flow_runs/{this_flow_run.id}")
        proxy.reset()

    assert ended(ingest(return_state=True)).is_completed()
    asked = [path for method, path in proxy.requests if method == "GET" and path.endswith(paths[0])]
    assert len(asked) == publishes
    assert seen(store).states() == ["COMMITTED"]


def test_a_completion_that_cannot_be_recorded_is_told(
    moment: Moment, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """The exception: Prefect then records Failed, the data is visible, and the flow run's log says so."""
    store = Registry(moment)
    moment.then = lambda: proxy.fail_next("503 before", which=lambda r: r.path.endswith("/set_state"))

    @registry_run(store)
    @flow
    def ingest() -> None:
        stage("a")

    with caplog.at_level(logging.WARNING):
        assert ended(ingest(return_state=True)).is_failed()
    assert seen(store).states() == ["COMMITTED"]
    assert any("committed: yes. It stays visible" in m for m in caplog.messages)
