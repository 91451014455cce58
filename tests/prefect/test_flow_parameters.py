"""What is recorded of a flow's parameters: JSON, small, without secrets."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect import flow
from prefect.blocks.system import Secret
from prefect.types import SecretDict
from prefect_support import Server, ended, seen, stage
from process_support import until
from pydantic import BaseModel, SecretBytes, SecretStr

from prefect_registry.blocks import S3Registry
from prefect_registry.records.base import json_problems
from prefect_registry.registry import Registry
from prefect_registry.runs import registry_run
from prefect_registry.runs.parameters import MASK, MOST_BYTES, recorded, redacted, render, secrets_in

PLANTED = "hunter22-s3cr3t"


class Colour(enum.Enum):
    RED = "red"


class Credentials(BaseModel):
    user: str = "me"
    password: SecretStr = SecretStr(PLANTED)


@dataclasses.dataclass
class Point:
    x: int
    api_key: str = PLANTED


@dataclasses.dataclass
class Login:
    code: str


class Pin(BaseModel):
    pin: str


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (2**70, str(2**70)),
        (float("nan"), "nan"),
        ("text", "text"),
        (Colour.RED, "red"),
        (date(2013, 1, 2), "2013-01-02"),
        (datetime(2013, 1, 2, tzinfo=UTC), "2013-01-02 00:00:00+00:00"),
        (Path("/data"), "/data"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.5"), "1.5"),
        (b"abc", "<3 bytes>"),
        ([1, (2, 3)], [1, [2, 3]]),
        ({"a": {"b": 1}}, {"a": {"b": 1}}),
        ({1: "one"}, {"1": "one"}),
        (list(range(101)), "<list of 101 items>"),
        (Point(1), {"x": 1, "api_key": MASK}),
        (Credentials(), {"user": "me", "password": MASK}),
        (SecretStr(PLANTED), MASK),
        (SecretBytes(PLANTED.encode()), MASK),
        (object(), "<builtins.object>"),
        ("s3://key:secret@host/bucket", "s3://***@host/bucket"),
        ("https://ghp_token@host/repository", "https://***@host/repository"),
        ("redis://:secret@host", "redis://***@host"),
        ("s3://key:se@cr@et@host/bucket", "s3://***@host/bucket"),
        ("https://key:se/cr@et@host/bucket", "https://***@host/bucket"),
        ("abfss://container@account.dfs.core.windows.net/x", "abfss://container@account.dfs.core.windows.net/x"),
        ("x" * 2_000, "x" * 1_000 + "… (2,000 characters)"),
    ],
)
def test_values_are_recorded_as_json(value: Any, expected: Any) -> None:
    """Plain values as they are; what is no JSON by what it is."""
    assert recorded({"value": value}) == {"value": expected}


@pytest.mark.parametrize(
    "name",
    [
        *("password", "db_password", "PASSWD", "secret", "api_key", "apikey", "access_key", "token", "credentials"),
        *("passwords", "secrets", "API_KEYS", "private-keys"),
    ],
)
def test_parameters_named_like_secrets_are_masked(name: str) -> None:
    """Also deep inside."""
    assert recorded({name: PLANTED}) == {name: MASK}
    assert recorded({"a": [{name: PLANTED}]}) == {"a": [{name: MASK}]}
    assert secrets_in({"a": [{name: PLANTED}]}) == {PLANTED}


@pytest.mark.parametrize(
    "inside", [{"db": PLANTED}, [PLANTED], {"db": [{"of": PLANTED}]}, Login(PLANTED), Pin(pin=PLANTED)]
)
def test_whatever_is_in_what_is_called_a_secret_is_one(inside: Any) -> None:
    """``secrets={"db": "..."}``: neither recorded, nor told by an error message."""
    assert PLANTED not in str(recorded({"secrets": inside}))
    assert PLANTED in secrets_in({"secrets": inside})


def test_secret_fields_of_dataclasses_are_taken_out_of_messages() -> None:
    """As those of models are."""
    assert secrets_in({"point": Point(1)}) == {PLANTED}


def test_a_purpose_has_no_password_of_a_url_in_it(tmp_path: Path) -> None:
    """Though the parameter that it names has one."""

    @registry_run(str(tmp_path), purpose="load {source}")
    def load(source: str) -> None: ...

    load(f"postgres://me:{PLANTED}@host/db")
    assert [run.purpose for run in Registry(tmp_path).runs()] == ["load postgres://***@host/db"]


def test_ordinary_names_are_not_masked() -> None:
    """Words that merely contain one."""
    kept = {"tokenizer": "bpe", "secretary": "x", "keyboard": "y", "tokens_per_page": 512, "author": "z"}
    assert recorded({k: v for k, v in kept.items() if k != "tokens_per_page"}) == {
        k: v for k, v in kept.items() if k != "tokens_per_page"
    }


def test_blocks_are_recorded_by_name(server: Server) -> None:
    """Whatever they hold."""
    block = S3Registry(bucket="b", access_key_id="me", secret_access_key=SecretStr(PLANTED))
    assert recorded({"where": block}) == {"where": "<block data-registry-s3/not saved>"}
    saved = Secret(value=PLANTED)
    saved.save("planted", overwrite=True)
    assert recorded({"x": saved}) == {"x": "<block secret/planted>"}
    assert PLANTED in secrets_in({"where": block, "x": saved, "d": SecretDict({"k": PLANTED})})


def test_large_parameters_are_left_out_largest_first() -> None:
    """What remains fits 16 KiB."""
    values = {"small": 1, "large": [["x" * 900] * 50] * 2, "medium": ["y" * 900] * 10}
    found = recorded(values)
    assert found["small"] == 1
    assert found["medium"] == values["medium"]
    assert found["large"].startswith("<list of ")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(), st.lists, max_leaves=20
    )
)
def test_whatever_it_is_it_is_recordable(value: Any) -> None:
    """JSON that the store accepts, and never too much of it."""
    import orjson

    found = recorded({"value": value})
    assert list(json_problems(found, "config")) == []
    assert len(orjson.dumps(found)) <= MOST_BYTES + 100


def test_messages_are_redacted() -> None:
    """Known secrets, and credentials in URLs."""
    text = redacted(f"cannot open s3://me:{PLANTED}@host with {PLANTED}", {PLANTED})
    assert text == f"cannot open s3://***@host with {MASK}"


def test_templates_show_no_secrets() -> None:
    """A purpose is read by everybody."""
    values: Mapping[str, Any] = {"year": 7, "who": SecretStr(PLANTED), "password": PLANTED, "when": date(2013, 1, 2)}
    assert render("{year:03d} {who} {password} {when:%Y}", values) == f"007 {MASK} {MASK} 2013"


def test_a_planted_secret_appears_nowhere(store: Registry, server: Server) -> None:
    """Not in the store, the log, events or artifacts, although the flow puts it into its error."""

    @registry_run(store, purpose="with {password} and {user}")
    @flow
    def leaky(user: Credentials, password: str, where: SecretStr) -> None:
        stage("a")
        raise ValueError(f"cannot log in with {user.password.get_secret_value()}")

    state = ended(leaky(Credentials(), "other-s3cr3t", SecretStr("third-s3cr3t"), return_state=True))
    [run] = seen(store).registry.runs()
    everything = [str(run), str(seen(store).incidents())]
    everything += [path.read_text(errors="replace") for path in Path(store.url).rglob("*") if path.is_file()]
    events = until(lambda: server.events(run.id), "events")
    ours = [m for m in server.messages(str(state.state_details.flow_run_id)) if run.id in m]
    for text in [*everything, str(events), *ours]:
        assert "s3cr3t" not in text
