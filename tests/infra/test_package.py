"""What is published: nothing but what runs, always the same bytes, and it stands on its own requirements alone.

`scripts/package.sh` installs them into an empty virtual environment; here, without a network, the distributions that
they would bring are linked into an empty folder.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scripts.package import LATE, PackageRefused, build, import_alone, index, pinned, registered
from tests.infra.conftest import ROOT


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, with what lies about on a developer's machine."""
    root = tmp_path_factory.mktemp("work") / "tree"
    heavy = shutil.ignore_patterns(".venv*", "node_modules", ".git", "out", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, root, ignore=heavy)
    for name in (
        "local.settings.json", ".env", "out/stack.json", "key.pem", "client.pfx", "concord.zip", "functions/debug.log",
        "shared/__pycache__/settings.pyc", "shared/.env", ".venv/lib/x.py", "node_modules/a/b.js", ".vscode/a.json",
    ):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("secret\n")
    return root


@pytest.fixture(scope="module")
def package(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("package") / "concord.zip"
    build(tree, target)
    return target


@pytest.fixture(scope="module")
def app(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it lies unpacked in the cloud."""
    folder = tmp_path_factory.mktemp("app")
    with zipfile.ZipFile(package) as zipped:
        zipped.extractall(folder)
    return folder


def test_the_package_holds_what_runs_and_no_tests_sandbox_docs_or_secrets(package: Path) -> None:
    with zipfile.ZipFile(package) as zipped:
        names = zipped.namelist()
        texts = {name: zipped.read(name) for name in names}
    assert {name.partition("/")[0] for name in names} == {
        "function_app.py", "host.json", "requirements.txt", "functions", "shared"
    }  # fmt: skip
    assert {Path(name).suffix for name in names} == {".py", ".json", ".txt", ".yaml", ".html"}
    assert not [name for name in names if name.startswith("shared/review")], "the review runs before a deployment"
    assert not [name for name, text in texts.items() if text == b"secret\n"]


def test_the_same_sources_give_the_same_bytes(tree: Path, package: Path, tmp_path: Path) -> None:
    build(tree, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == package.read_bytes()


@pytest.mark.parametrize("name", ["notes.txt", "shared/partners.csv", "functions/token", "deploy/main.py"])
def test_a_file_that_nobody_decided_on_is_refused_by_name(name: str, tmp_path: Path) -> None:
    for known in ("function_app.py", "host.json", "requirements.txt"):
        (tmp_path / known).write_text("")
    shutil.copy(ROOT / ".funcignore", tmp_path / ".funcignore")
    assert build(tmp_path, tmp_path / "out/a.zip") == ["function_app.py", "host.json", "requirements.txt"]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    with pytest.raises(PackageRefused, match=re.escape(name)):
        build(tmp_path, tmp_path / "out/b.zip")
    assert not (tmp_path / "out/b.zip").exists()


def test_the_packaged_app_imports_and_indexes_on_its_own_requirements_with_all_its_functions(
    app: Path, tmp_path: Path
) -> None:
    _link_required(tmp_path)
    for late in ("duckdb", "jinja2", "opentelemetry"):
        assert (tmp_path / late).exists(), f"{late} is there, and is not loaded"
    here = registered(ROOT)
    assert import_alone(Path(sys.executable), app, tmp_path) == here
    assert len(here) > 35
    assert index(Path(sys.executable), app, ROOT) == here


@pytest.mark.parametrize("library", ["msgspec", "aiohttp", "duckdb"])
def test_a_library_that_is_not_required_is_missed_also_where_it_is_loaded_late(
    library: str, app: Path, tmp_path: Path
) -> None:
    _link_required(tmp_path)
    (tmp_path / library).unlink()
    with pytest.raises(PackageRefused, match=f"No module named '{library}'"):
        import_alone(Path(sys.executable), app, tmp_path)


def test_an_app_that_connects_at_import_or_loads_what_is_used_later_is_refused(tmp_path: Path) -> None:
    for line, said in (
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "opens a connection at import"),
        (f"import sys; sys.modules[{LATE[0]!r}] = sys", "loaded at import, used later"),
    ):
        (tmp_path / "function_app.py").write_text(f"{line}\napp = None\n")
        with pytest.raises(PackageRefused, match=said):
            import_alone(Path(sys.executable), tmp_path)


def test_what_the_requirements_bring_with_them_is_pinned_too(tmp_path: Path) -> None:
    assert _link_required(tmp_path) == pinned(ROOT / "requirements.txt")


def _link_required(folder: Path) -> set[str]:
    """Link what requirements.txt brings, with what that needs in turn, and nothing else of this environment."""
    wanted = [
        Requirement(line.partition("#")[0])
        for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if line.partition("#")[0].strip()
    ]
    seen: set[str] = set()
    while wanted:
        one = wanted.pop()
        name = re.sub(r"[-_.]+", "-", one.name).lower()
        if name in seen or not (one.marker is None or one.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        found = importlib.metadata.distribution(name)
        assert one.specifier.contains(found.version, prereleases=True), (
            f"{one} is not what is installed: {found.version}"
        )
        wanted += [Requirement(text) for text in found.requires or ()]
        for file in found.files or ():
            _link(Path(str(found.locate_file("")), *file.parts), folder, file.parts)
    return seen


def _link(source: Path, folder: Path, parts: tuple[str, ...]) -> None:
    """Folders that distributions share (azure, opentelemetry) are made, files and all other folders are linked."""
    if parts[0] == ".." or not source.is_file():
        return
    shared = parts[0] in {"azure", "opentelemetry", "google"}
    depth = len(parts) if shared else 1
    link = folder.joinpath(*parts[:depth])
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(source if shared else Path(str(source)[: len(str(source)) - len("/".join(parts))]) / parts[0])
