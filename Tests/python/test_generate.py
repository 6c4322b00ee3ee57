"""What is written from the library's schema is up to date, and the generator says so where it is not."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import carl
from carl._parameters import TrainerKeys
from carl.sources.broken import MAX_BROKEN

ROOT = Path(__file__).parents[2]
GENERATOR = ROOT / "python" / "generate.py"

#: Three keys of different kinds that are enough for a constructor.
KEYS = [
    {
        "name": "encoder",
        "group": "encoder",
        "kind": "choice",
        "default": "resnet18",
        "structural": True,
        "choices": ["resnet18", "resnet50"],
        "doc": "The `network`.",
    },
    {
        "name": "stem",
        "group": "encoder",
        "kind": "choice",
        "default": None,
        "default_text": "by size",
        "structural": True,
        "choices": ["small"],
        "doc": "Its beginning.",
    },
    {
        "name": "width",
        "group": "encoder",
        "kind": "number",
        "default": 1,
        "structural": True,
        "minimum": 0,
        "maximum": 16,
        "above_minimum": True,
        "doc": "Factor.",
    },
    {
        "name": "decay_steps",
        "group": "data",
        "kind": "integer_or_integers",
        "default": None,
        "structural": False,
        "minimum": 1,
        "maximum": 2**31 - 1,
        "least": 1,
        "most": 64,
        "doc": "See [the page](page.md).",
    },
]


@pytest.fixture
def generator(monkeypatch):
    if not GENERATOR.is_file():
        pytest.skip("the sources are not here")
    monkeypatch.syspath_prepend(str(GENERATOR.parent))
    import generate

    return generate


def run(*arguments):
    return subprocess.run([sys.executable, str(GENERATOR), *arguments], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not GENERATOR.is_file(), reason="the sources are not here")
def test_what_is_checked_in_is_up_to_date():
    done = run("--check")
    assert done.returncode == 0, done.stderr


def test_a_change_of_the_schema_makes_the_files_stale(tmp_path, generator, monkeypatch, capsys):
    page, schema = tmp_path / "page.md", tmp_path / "schema.json"
    page.write_text("before\n<!-- generated: encoder -->\nold\n<!-- end -->\nafter\n")
    schema.write_text(json.dumps({"trainer": KEYS, "view": [], "classifier": []}))
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    monkeypatch.setattr(generator, "PAGES", [page])
    monkeypatch.setattr(generator, "PARAMETERS", tmp_path / "parameters.py")
    monkeypatch.setattr(generator, "HELP", tmp_path / "help.py")
    assert generator.main(["--check", "--schema", str(schema)]) == 1
    told = capsys.readouterr().err
    assert "page.md is stale" in told and "parameters.py is stale" in told and "old" in page.read_text()
    assert generator.main(["--schema", str(schema)]) == 0
    assert generator.main(["--check", "--schema", str(schema)]) == 0
    assert page.read_text().startswith("before\n<!-- generated: encoder -->\n| key |") and page.read_text().endswith(
        "\nafter\n"
    )
    assert "| `width` | 1 | above 0, at most 16 | Factor. |" in page.read_text()
    KEYS[2]["maximum"], before = 8, KEYS[2]["maximum"]
    try:
        schema.write_text(json.dumps({"trainer": KEYS, "view": [], "classifier": []}))
    finally:
        KEYS[2]["maximum"] = before
    assert generator.main(["--check", "--schema", str(schema)]) == 1


def test_what_is_written_of_a_key(generator):
    described = [generator.described(key) for key in KEYS]
    assert described == [
        'The network ("resnet18", "resnet50"; default "resnet18").',
        'Its beginning ("small"; default by size).',
        "Factor (above 0, at most 16; default 1).",
        "See the page (1 to 2^31 - 1, or a list of 1 to 64).",
    ]
    assert [generator.annotation(key) for key in KEYS] == [
        "str | None",
        "str | None",
        "float | None",
        "int | list[int] | None",
    ]


def test_an_unknown_group_of_a_table_is_an_error(generator):
    with pytest.raises(LookupError, match="no group 'encodr', only encoder"):
        generator.page_text("<!-- generated: encodr -->\n<!-- end -->", {"encoder": []}, "page.md")


def test_the_estimator_takes_every_key_and_its_own(generator):
    own = {key["name"] for key in generator.OWN_KEYS}
    parameters = dict(inspect.signature(carl.CARL).parameters)
    keys = set(TrainerKeys.__dataclass_fields__)
    assert set(parameters) == keys | own and not keys & own
    assert all(parameters[key].default is None for key in keys)
    assert parameters["max_broken"].default == MAX_BROKEN


def test_the_schema_has_every_key_of_the_package():
    schema = carl.config_schema()
    assert list(schema) == ["trainer", "view", "classifier"]
    assert [key["name"] for key in schema["trainer"]] == list(TrainerKeys.__dataclass_fields__)
    assert all(
        key["doc"] and {"group", "kind", "default", "structural"} <= set(key)
        for part in schema.values()
        for key in part
    )
