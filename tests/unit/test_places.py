"""Addresses of trackers: quoted where they are made, without secrets where they are shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from harness.tracking.places import place_of, without_secrets
from harness.tracking.words import key, plain


def test_the_default_place_is_the_workdir(tmp_path: Path) -> None:
    place = place_of(None, tmp_path)
    assert place.uri == f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    assert not place.is_server
    assert place_of("http://there:5000", tmp_path).is_server
    assert not place_of("postgresql+psycopg2://user:secret@there/db", tmp_path).is_server


@pytest.mark.parametrize("name", ["100 %", "a%41b", "what?", "a#b", "[x]*", "größe", "a+b", "a;b&c", "a:b@c"])
def test_an_address_leads_back_to_its_file(tmp_path: Path, name: str) -> None:
    place = place_of(None, tmp_path / name)
    assert make_url(place.uri).database == str(tmp_path / name / "mlflow" / "mlflow.db")
    assert not make_url(place.uri).query


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://127.0.0.1:5000/x", "http://127.0.0.1:5000/x"),
        ("postgresql://me@there/db", "postgresql://me@there/db"),
        ("postgresql://me:secret@there/db", "postgresql://me:***@there/db"),
        ("http://u:s@ecret/x@there/db", "http://u:***@there/db"),
        ("https://me:a:b@there/x and http://u:p@v", "https://me:***@there/x and http://u:***@v"),
        ("https://secret@there/x", "https://***@there/x"),
        ("HTTPS://secret@there/x", "HTTPS://***@there/x"),
        ("http://there:5000?token=secret", "http://there:5000?token=***"),
        ("http://there/?user=me&api_key=secret#x", "http://there/?user=***&api_key=***#x"),
        ("http://there/x?secret", "http://there/x?***"),
        (
            "HTTPConnectionPool(host='h', port=1): with url: /?token=secret/api/2.0 (Caused by X)",
            "HTTPConnectionPool(host='h', port=1): with url: /?token=*** (Caused by X)",
        ),
    ],
)
def test_secrets_in_addresses_are_not_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_the_page_of_a_server_is_an_address_without_secrets(tmp_path: Path) -> None:
    assert place_of("https://me:secret@there:5000/base?token=secret#x", tmp_path).page == "https://there:5000/base"
    assert place_of("http://[::1]:5000", tmp_path).page == "http://[::1]:5000"


def test_what_a_server_says_steers_no_terminal() -> None:
    assert plain("\x1b[31mred\x07\x9b") == "\\x1b[31mred\\x07\\x9b"
    assert plain("größe 損失") == "größe 損失"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("rm+lm", "rm-plus-lm"),
        ("../../x", "__/__/x"),
        ("/a//b/", "_/a/_/b/_"),
        (".", "_"),
        ("", "_"),
        ("a...b/.c", "a...b/.c"),
        ("a\\..\\b", "a_.._b"),
        ("größe", "größe"),
        ("x" * 249 + "/y", "x" * 249 + "/_"),
    ],
)
def test_keys_are_in_parts_that_a_path_keeps(name: str, kept: str) -> None:
    assert key(name) == kept
