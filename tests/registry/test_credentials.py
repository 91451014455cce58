"""What stands before the host of a URL is found whatever it is made of, and what stands after it is left alone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from prefect_registry import Registry
from prefect_registry.credentials import has_secret, passwords, without_url_secrets, without_user_info
from prefect_registry.storage.secrets import Scrubber, without_credentials


@pytest.mark.parametrize(
    ("url", "password", "shown"),
    [
        ("https://u:planted@host/x", "planted", "https://host/x"),
        ("https://u:planted/w@host/x", "planted/w", "https://host/x"),
        ("https://u:1/2@host/x", "1/2", "https://host/x"),
        ("https://u:1/2@host.org", "1/2", "https://host.org"),
        ("https://u:p@ss@host/x", "p@ss", "https://host/x"),
        ("https://u:1/2@3@host/x", "1/2@3", "https://host/x"),
        ("https://u:p@s/s@host/x", "p@s/s", "https://host/x"),
        ("https://u:p?w@host/x", "p?w", "https://host/x"),
        ("https://u:p#w@host/x", "p#w", "https://host/x"),
        ("https://u:/w@host/x", "/w", "https://host/x"),
        ("https://u:65536/w@host", "65536/w", "https://host"),
        ("https://first.last:123456/w@host.org", "123456/w", "https://host.org"),
        ("https://first.last:08/w@host", "08/w", "https://host"),
        ("http://minio:9000/b@c/key", "9000/b", "http://c/key"),
        ("redis://:planted@host", "planted", "redis://host"),
        ("abfss://c:planted@account/x", "planted", "abfss://account/x"),
    ],
)
def test_passwords_in_urls_are_found(url: str, password: str, shown: str) -> None:
    """With every character that somebody may have forgotten to encode, also where it might be a port and a path; what
    no port can be is none.
    """
    assert passwords(url) == [password]
    assert has_secret(url)
    assert without_user_info(url) == without_credentials(url) == shown
    assert without_user_info(f"first {url} then {url},") == f"first {shown} then {shown},"
    assert without_user_info(url, "***") == shown.replace("://", "://***@")
    assert Scrubber({"url": url})(f"it was {password}") == "it was ***"


@pytest.mark.parametrize(
    "url",
    [
        "https://host/a@b/c",
        "https://host:8443/a@b",
        "http://localhost:9000/a@b.c/d",
        "http://127.0.0.1:9000/a@b.c/d",
        "http://127.0.0.1:65535/a@b.c/d",
        "https://[::1]:9000/a@b.c/d",
        "https://host.org:9000/x?mail=a@b.org",
        "registry://object/name@1.2.0",
        "abfss://container@account.dfs.core.windows.net/x@1",
        '{"a":"http://minio:9000/x","mail":"me@host.org"}',
        "me@host.org",
    ],
)
def test_what_is_no_user_stays(url: str) -> None:
    """Paths, queries, containers, addresses of people."""
    assert without_user_info(url) == url
    assert not has_secret(url)


def test_users_alone_are_hidden_and_tokens_only_on_the_web() -> None:
    """Who somebody is at a server is no secret, and nobody's business either."""
    assert without_user_info("ssh://git@host/a") == "ssh://host/a"
    assert not has_secret("ssh://git@host/a")
    assert has_secret("https://token@host/a")


def test_long_texts_take_no_longer_for_each_character() -> None:
    """Ten times the text, not a hundred times the time."""

    def seconds(text: str) -> float:
        began = time.process_time()
        without_user_info(text)
        return time.process_time() - began

    for unit in ("https://u:1/b@", "a@", "a:1/", "://"):
        short, long = (f"https://{unit * count}@" for count in (10_000, 100_000))
        assert min(seconds(long) for _ in range(3)) < 40 * max(seconds(short), 0.001)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("403 for https://acc/x?sv=2&sig=planted%2B and more", "403 for https://acc/x?sv=***&sig=*** and more"),
        ("'s3.org/b/k?X-Amz-Date=1&X-Amz-Signature=planted'", "'s3.org/b/k?X-Amz-Date=***&X-Amz-Signature=***'"),
        ("https://u:planted@h/x?a=1&api_key=planted#f", "https://***@h/x?a=1&api_key=***#f"),
        ("https://h/x?access_token=planted", "https://h/x?access_token=***"),
        ("https://h/x?page=2&design=3&spin=4", "https://h/x?page=2&design=3&spin=4"),
        ("sv=3 and se=4: no such thing", "sv=3 and se=4: no such thing"),
    ],
)
def test_secrets_in_the_urls_of_a_text_are_masked(text: str, shown: str) -> None:
    """Users, passwords, signatures and what is called a secret; nothing else."""
    assert without_url_secrets(text) == shown
    assert without_url_secrets(shown) == shown


def test_what_a_run_records_of_its_failure_holds_no_secret_of_a_url(tmp_path: Path) -> None:
    """Errors of HTTP clients name the URL that they asked for, and everybody may read a decision."""
    registry = Registry(str(tmp_path))
    with pytest.raises(ConnectionError), registry.run("x"):
        raise ConnectionError("403 for https://u:planted1@acc/x?sig=planted2")
    assert next(registry.runs()).failure.message == "403 for https://***@acc/x?sig=***"  # type: ignore[union-attr]
    assert not any(b"planted" in path.read_bytes() for path in tmp_path.rglob("*.json"))
