"""The pages of docs/: their Python is executed, their commands are parsed, their C is compiled, what they quote exists.

docs/photos.md is executed by test_photos_page.py.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import carl
from carl import evaluate, loggers, plots, sources
from carl.cli import build_parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
READ = [ROOT / "README.md", *PAGES]
#: Pages whose Python stands by itself: executed from top to bottom, in an empty folder.
EXECUTED = ("diagnostics", "first-steps", "method", "prototypes", "scaling", "scikit-learn")


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def blocks(text: str, *languages: str) -> list[str]:
    """Blocks of code of these languages, without their indentation."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{margin}", "", code, flags=re.MULTILINE) for margin, kind, code in found if kind in languages]


def names_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("name", EXECUTED)
@pytest.mark.filterwarnings("ignore:prototypes", "ignore:batch_size")
def test_the_python_of_a_page_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks(page(name), "python"))
    assert "carl." in code
    exec(compile(code, f"docs/{name}.md", "exec"), {"__name__": "page"})
    capsys.readouterr()


@pytest.mark.parametrize("path", READ, ids=names_of)
def test_the_python_of_every_page_is_python(path):
    for code in blocks(path.read_text(encoding="utf-8"), "python"):
        ast.parse(code)


def commands() -> list[str]:
    """Every call of carl in the pages' blocks, without what a shell adds to it."""
    found = set()
    for path in READ:
        for code in blocks(path.read_text(encoding="utf-8"), "sh", ""):
            for line in code.splitlines():
                call = re.sub(r"^(\w+=\S+ )+", "", line.strip())
                if call.startswith("carl ") and not call.startswith("carl COMMAND"):
                    found.add(call.removesuffix("&").strip())
    return sorted(found)


def test_there_are_commands_to_parse():
    assert len(commands()) > 40


@pytest.fixture(scope="module")
def parser():
    return build_parser()


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_pages_is_one(line, parser, capsys):
    words = shlex.split(line, comments=True)[1:]
    with contextlib.suppress(SystemExit):
        arguments, rest = parser.parse_known_args(words)
        # As carl.cli.main takes them: key=value behind options, where the command has keys.
        strange = [word for word in rest if word.startswith("-") or "=" not in word]
        assert not strange and (not rest or hasattr(arguments, "overrides")), rest
        return
    pytest.fail(capsys.readouterr().err)


def links(path: Path) -> list[tuple[str, str]]:
    """(path, anchor) of each link of a page, outside of code."""
    text = re.sub(r"^( *)```.*?^\1```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    return re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", text)


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", head.strip().lower()) for head in heads]
    return {re.sub(r"[\s-]+", "-", head).strip("-") for head in plain}


@pytest.mark.parametrize("path", READ, ids=names_of)
def test_links_lead_somewhere(path):
    for target, anchor in links(path):
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), f"{target}: no such file"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{target}#{anchor}: no such heading"


def test_every_page_is_in_the_navigation():
    navigation = re.search(r"^nav:\n(.*?)^\w", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M | re.S)
    assert navigation
    listed = re.findall(r"(\S+\.md)$", navigation[1], re.MULTILINE)
    assert len(listed) == len(set(listed))
    missing = {str(path.relative_to(ROOT / "docs")) for path in PAGES} - set(listed)
    assert not missing


def test_the_reference_has_every_public_name():
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md"))
    listed = set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))
    # A function in a module of its own name is listed by its full path.
    listed |= {name.rpartition(".")[0] for name in listed if name.split(".")[-1] == name.split(".")[-2]}
    listed |= {"carl.as_source", "carl.evaluate"}
    for module in (carl, evaluate, plots, loggers, sources):
        missing = {f"{module.__name__}.{name}" for name in module.__all__} - listed
        assert not missing
    for name in listed - {"carl.evaluate"}:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_what_troubleshooting_quotes_is_said_by_the_code():
    files = [*(ROOT / "python" / "carl").rglob("*.py"), *(ROOT / "Sources").rglob("*.*"), ROOT / "Makefile"]
    said = "\n".join(file.read_text(encoding="utf-8") for file in files)
    said = re.sub(r'"\n\s*f?"', "", said)  # parts of one text in Python
    said = re.sub(r"\\\n\s*", "", said)  # and in Swift
    rows = re.findall(r"^\| (`.*?) \|", page("troubleshooting"), re.MULTILINE)
    assert len(rows) > 25
    for row in rows:
        for quoted in re.findall(r"`([^`]+)`", row):
            if quoted.startswith("carl."):
                assert hasattr(carl, quoted.removeprefix("carl."))
            else:
                assert quoted in said, quoted


def test_the_c_of_the_page_embeds(tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (code,) = blocks(page("c-and-swift"), "c")
    (tmp_path / "embed.c").write_text(code, encoding="utf-8")
    library = Path(carl.build_info()["library"]).resolve()
    carl.Trainer(width=0.125, projector=[16, 8], prototypes=8).save(tmp_path / "model.carl")
    built = [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}", "embed.c", "-o", "embed"]
    subprocess.run([*built, str(library)], cwd=tmp_path, check=True, timeout=120)
    # The name that linked programs ask for.
    (tmp_path / "libcarl.so.0").symlink_to(library)
    done = subprocess.run(
        ["./embed"], cwd=tmp_path, env={"LD_LIBRARY_PATH": str(tmp_path)}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("64 features, the first is ")


def test_the_c_of_the_page_is_c_plus_plus_too(tmp_path):
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    (code,) = blocks(page("c-and-swift"), "c")
    (tmp_path / "embed.cc").write_text(code, encoding="utf-8")
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{ROOT / 'include'}", "-fsyntax-only"]
    done = subprocess.run([compiler, *flags, "embed.cc"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_swift_of_the_page_is_that_of_the_example():
    example = ROOT / "examples" / "swift"
    files = [example / "Package.swift", *example.rglob("main.swift")]
    written = "\n".join(file.read_text(encoding="utf-8") for file in files)
    code = blocks(page("c-and-swift"), "swift")
    assert code
    for block in code:
        for line in block.strip().splitlines():
            assert line.strip().rstrip(",") in written, line


def test_what_each_step_reports_is_explained():
    text = page("diagnostics")
    for name in ("consistency", "prior", "effective_prototypes", "assigned_prototypes", "max_probability", "agreement"):
        assert name in carl.Metrics.__dataclass_fields__ and f"| `{name}` |" in text


def test_no_page_names_a_host():
    for path in [*READ, ROOT / "mkdocs.yml", ROOT / "docs" / "site.css", *(ROOT / "docs").rglob("*.svg")]:
        found = re.findall(r"(?:https?:)?//[a-z][\w.-]*\.[a-z]{2,}[\w./-]*", path.read_text(encoding="utf-8"))
        assert [host for host in found if host != "http://www.w3.org/2000/svg"] == [], path
