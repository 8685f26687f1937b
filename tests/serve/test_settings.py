"""Settings: from the environment, from the command line, and as the documentation lists them."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from segrid.cli.serve import refuse_workers
from segrid.serve import Settings
from segrid.serve.models import Models
from segrid.serve.server import for_host


def test_the_environment_sets_every_kind():
    found = Settings.from_environment(
        {
            "SEGRID_SERVE_MAX_SESSIONS": "3",
            "SEGRID_SERVE_GRACE": "1.5",
            "SEGRID_SERVE_LOG_JSON": "1",
            "SEGRID_SERVE_CORS": "http://a, http://b",
            "SEGRID_SERVE_IMAGE_SIDES": "512,768",
            "OTHER": "x",
        },
        grace=2.5,
    )
    assert (found.max_sessions, found.grace, found.log_json) == (3, 2.5, True)
    assert found.cors == ("http://a", "http://b") and found.image_sides == (512, 768)


@pytest.mark.parametrize(
    "name, value",
    [
        ("MAX_SESSIONS", "many"),
        ("MAX_SESSIONS", "0"),
        ("LOG_JSON", "maybe"),
        ("IMAGE_SIDES", "512,large"),
        ("GRACE", "inf"),
        ("GRACE", "nan"),
        ("X", "1"),
        ("TOKEN", " abc"),
        ("TOKEN", "abc\n"),
        ("TOKEN", "p\u00e4ssword"),
        ("HOSTS", "http://example.com"),
        ("HOSTS", "*"),
        ("HOSTS", "[::1"),
        ("CORS", "localhost:3000"),
        ("CORS", "http://a/b"),
        ("CORS", "*"),
    ],
)
def test_values_that_do_not_fit_are_named(name, value):
    with pytest.raises(ValueError, match=f"(?i){name}"):
        Settings.from_environment({f"SEGRID_SERVE_{name}": value})


def test_names_and_origins_are_those_that_requests_send():
    """They are compared with what browsers send: small letters, no port, no last slash."""
    hosts = ("EXAMPLE.com", "example.com:8000", "[::1]", "::1", "[FE80::1]:80", "127.0.0.1:80")
    found = Settings(hosts=hosts).hosts
    assert found == ("example.com", "example.com", "::1", "::1", "fe80::1", "127.0.0.1")
    cors = ("http://localhost:3000/", "HTTPS://A.b:443", "http://a:80/", "http://[::1]:80", "null")
    found = Settings(cors=cors).cors
    assert found == ("http://localhost:3000", "https://a.b", "http://a", "http://[::1]", "null")
    kept = ("https://a:80", "http://a:8080", "http://[1::80]", "app://b", "*")
    assert Settings(cors=kept, token="a long text").cors == kept


def test_the_media_root_is_a_folder(tmp_path):
    for_host(Settings(media_root=str(tmp_path)), "127.0.0.1")
    with pytest.raises(ValueError, match="media_root.*there is no folder"):
        for_host(Settings(media_root=str(tmp_path / "none")), "127.0.0.1")


def test_two_models_need_two_names():
    """The second one would take the place of the first one in silence."""
    with pytest.raises(ValueError, match="segmenters.*a/tiny, b/tiny.*NAME=MODEL"):
        Models(Settings(segmenters=("a/tiny", "b/tiny")))
    named = Models(Settings(segmenters=("a/tiny", "other=b/tiny"), trackers=("tiny",)))
    assert named.segmenters == {"tiny": "a/tiny", "other": "b/tiny"}


def test_restore_needs_a_folder():
    with pytest.raises(ValueError, match="state_dir"):
        Settings(restore=True)


def test_addresses_of_others_need_a_token():
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(ValueError, match="SEGRID_SERVE_TOKEN"):
            for_host(Settings(), host)
        assert for_host(Settings(token="x"), host) == Settings(token="x")
    for host in ("127.0.0.1", "::1", "localhost", "127.0.0.2"):
        assert host in for_host(Settings(), host).hosts
    named = replace(Settings(), hosts=("segrid.local",))
    assert for_host(named, "127.0.0.1") == named


def test_workers_are_refused_with_the_reason():
    refuse_workers(None)
    refuse_workers(1)
    with pytest.raises(ValueError, match="sessions.*one process.*ray"):
        refuse_workers(2)


def as_in_the_table(value):
    """A default as docs/serve.md shows it."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:g}" if isinstance(value, float) else str(value) or "empty"


def test_the_table_of_the_documentation_is_complete():
    page = (Path(__file__).parents[2] / "docs/serve.md").read_text()
    for setting in fields(Settings):
        shown = as_in_the_table(setting.default)
        row = f"| `{setting.name}` | {shown} | {setting.metadata['meaning']} |"
        assert row in page.split("\n"), f"docs/serve.md lacks {row}"
