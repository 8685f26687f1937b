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
    ],
)
def test_values_that_do_not_fit_are_named(name, value):
    with pytest.raises(ValueError, match=f"(?i){name}"):
        Settings.from_environment({f"SEGRID_SERVE_{name}": value})


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


def test_the_table_of_the_documentation_is_complete():
    page = (Path(__file__).parents[2] / "docs/serve.md").read_text()
    for setting in fields(Settings):
        row = f"| `{setting.name}` |"
        assert row in page, f"docs/serve.md lacks {setting.name}"
        line = page[page.index(row) :].split("\n")[0]
        assert setting.metadata["meaning"] in line, line
