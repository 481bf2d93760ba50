"""The package that is published: `python scripts/package.py out/concord.zip`, then `--prove` it.

Building takes what `.funcignore` leaves and refuses anything that is no part of what runs, so that a new file is a
decision and not an accident. The same sources give the same bytes: the digest says whether two packages differ.

Proving unpacks it, installs its requirements.txt alone into an empty virtual environment, imports the app there with
connections refused, and lets Microsoft's worker library index it: every function of the sources has to be there.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
FILES: Final = frozenset({"function_app.py", "host.json", "requirements.txt"})
ROOMS: Final = {"functions": {".py"}, "shared": {".py", ".yaml", ".html"}}
"""What runs: these files, and in these folders files of these kinds."""
LATE: Final = (
    "aiohttp", "azure.data", "azure.identity", "azure.monitor", "azure.servicebus", "azure.storage", "duckdb", "jinja2",
    "opentelemetry.sdk",
)  # fmt: skip
"""What is loaded where it is used, never at import."""
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest moment that a zip can tell


class PackageRefused(Exception):
    """The package would not be what it should; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Proven:
    """What was seen of a package: its functions, and the distributions that its requirements brought."""

    functions: tuple[str, ...]
    distributions: int


def build(root: Path, target: Path) -> list[str]:
    """Write the package of the app in `root`; its files, sorted. Raises PackageRefused."""
    names = sorted(_left(root, _patterns(root / ".funcignore")))
    strangers = [name for name in names if not _runs(PurePosixPath(name))]
    if strangers:
        raise PackageRefused(f"no part of what runs: {', '.join(strangers)}; name it in .funcignore or remove it")
    missing = sorted(FILES - set(names))
    if missing:
        raise PackageRefused(f"{', '.join(missing)} is not there; is {root} the project?")
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as package:
        for name in names:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            package.writestr(entry, (root / name).read_bytes())
    return names


def prove(package: Path, root: Path = ROOT) -> Proven:
    """Install, import and index the package as Azure would. Raises PackageRefused."""
    with tempfile.TemporaryDirectory(prefix="concord-package-") as folder:
        app, environment = Path(folder, "app"), Path(folder, "venv")
        with zipfile.ZipFile(package) as zipped:
            zipped.extractall(app)
        venv.create(environment, with_pip=True)
        python = environment / "bin" / "python"
        pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
        _run([*pip, "install", "-q", "-r", str(app / "requirements.txt")], app, "its requirements do not install")
        _run([*pip, "check", "-q"], app, "its requirements contradict one another")
        installed = _names_of(_run([*pip, "list", "--format", "json"], app, "what is installed cannot be listed"))
        if unpinned := sorted(installed - pinned(app / "requirements.txt") - {"pip"}):
            raise PackageRefused(
                f"requirements.txt brings {', '.join(unpinned)} without a version; add them as they are"
            )
        imported, indexed = import_alone(python, app), index(python, app, root)
    expected = set(registered(root))
    for told, found in (("imported", set(imported)), ("indexed", set(indexed))):
        if found != expected:
            raise PackageRefused(f"{told}: {sorted(expected - found)} missing, {sorted(found - expected)} too many")
    return Proven(tuple(indexed), len(installed))


def pinned(requirements: Path) -> set[str]:
    """The distributions that a requirements file gives one version."""
    lines = (line.partition("#")[0].strip() for line in requirements.read_text(encoding="utf-8").splitlines())
    return {_plain(line.partition("==")[0]) for line in lines if "==" in line}


def import_alone(python: Path, app: Path, libraries: Path | None = None) -> list[str]:
    """Import the app with its own requirements alone; its functions. A connection or an early library refuses it.

    What is imported late is imported after that, so that nothing is missed only when a message comes.
    """
    script = (
        "import json, socket, sys\n"
        f"sys.path[:0] = {[str(app)] if libraries is None else [str(app), str(libraries)]!r}\n"
        "def refuse(*_): raise SystemExit('the app opens a connection at import')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"
        "from function_app import app\n"
        f"early = [name for name in {LATE!r} if name in sys.modules]\n"
        "if early: raise SystemExit(f'loaded at import, used later: {early}')\n"
        "from importlib import import_module\n"
        f"for name in {imports_of(app)!r}: import_module(name)\n"
        "print(json.dumps(sorted(one.get_function_name() for one in app.get_functions())))\n"
    )
    options = ["-I"] if libraries is None else ["-I", "-S"]
    return _names(_run([str(python), *options, "-c", script], app, "the app does not import"))


def registered(root: Path) -> list[str]:
    """The functions that the sources register, where everything is installed."""
    script = (
        "import json\nfrom function_app import app\n"
        "print(json.dumps(sorted(one.get_function_name() for one in app.get_functions())))\n"
    )
    return _names(_run([sys.executable, "-c", script], root, "the sources do not import"))


def imports_of(app: Path) -> list[str]:
    """Every module that any line of the app's sources imports, also where it does so late."""
    found: set[str] = set()
    for path in (app / name for name in _left(app, ()) if name.endswith(".py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return sorted(found)


def index(python: Path, app: Path, root: Path) -> list[str]:
    """Index the app by Microsoft's worker library, which, as in the cloud, stands behind the app's own libraries."""
    behind = [sysconfig.get_path("purelib"), str(root)]
    script = (
        "import asyncio, json, sys\nfrom pathlib import Path\n"
        f"sys.path += {behind!r}\n"
        "from sandbox.host.runtime import index\n"
        f"found = asyncio.run(index(Path({str(app)!r})))\n"
        f"import function_app\nassert function_app.__file__ == {str(app / 'function_app.py')!r}\n"
        "print(json.dumps(sorted(one.name for one in found)))\n"
    )
    return _names(_run([str(python), "-I", "-c", script], app, "the app does not index").splitlines()[-1])


def _patterns(ignore: Path) -> list[str]:
    if not ignore.is_file():
        raise PackageRefused(f"there is no {ignore}: what runs cannot be told from what does not")
    lines = (line.strip() for line in ignore.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _left(root: Path, patterns: Iterable[str]) -> Iterator[str]:
    """The files that no pattern names: one with a slash names a path of the root, any other a part at any depth."""
    parts = [pattern for pattern in patterns if "/" not in pattern]
    paths = [pattern for pattern in patterns if "/" in pattern]
    for folder, below, files in os.walk(root):
        here = Path(folder).relative_to(root)
        below[:] = [name for name in below if not _ignored(here / name, parts, paths)]
        for name in files:
            if not _ignored(here / name, parts, paths):
                yield (here / name).as_posix()


def _ignored(path: Path, parts: Iterable[str], paths: Iterable[str]) -> bool:
    return any(fnmatch(path.name, pattern) for pattern in parts) or any(fnmatch(path.as_posix(), one) for one in paths)


def _runs(path: PurePosixPath) -> bool:
    return str(path) in FILES or (len(path.parts) > 1 and path.suffix in ROOMS.get(path.parts[0], set()))


def _run(command: list[str], folder: Path, fault: str) -> str:
    example = json.loads((ROOT / "local.settings.example.json").read_text(encoding="utf-8"))["Values"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_TARGET"))}
    done = subprocess.run(  # noqa: S603 - commands of this file
        command, cwd=folder, env=clean | example, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PackageRefused(f"{fault}:\n{(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def _names_of(listed: str) -> set[str]:
    return {_plain(one["name"]) for one in json.loads(listed)}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _names(said: str) -> list[str]:
    return [str(name) for name in json.loads(said)]


def main() -> int:
    """Read the command line; 1 where the package is refused."""
    parser = argparse.ArgumentParser(prog="python scripts/package.py", description=__doc__)
    parser.add_argument("target", type=Path, help="the zip to write, or to prove")
    parser.add_argument("--prove", action="store_true", help="prove the package that is there")
    given = parser.parse_args()
    try:
        if given.prove:
            seen = prove(given.target)
            print(f"package: {len(seen.functions)} functions on {seen.distributions} distributions, none missing")
        else:
            names = build(ROOT, given.target)
            size = given.target.stat().st_size / 1024
            digest = sha256(given.target.read_bytes()).hexdigest()
            print(f"package: {given.target}, {len(names)} files, {size:,.0f} KB, {digest[:16]}")
    except PackageRefused as refused:
        print(f"package: {refused}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
