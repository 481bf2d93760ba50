"""The steps of a deployment: what each asks of Azure and in which order, and that each stops at its first error.

`az` is a stand-in here (see fake_az.py); `curl`, the simulated Dataverse and everything else is real.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from functions.people import ROLES
from tests.infra.conftest import ROOT
from tests.infra.fake_az import FakeAz, install

STEPS = sorted(path.stem for path in (ROOT / "scripts/deploy").glob("*.sh") if path.stem != "common")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The scripts and the infrastructure in a folder of the test's own, with values in place of the examples."""
    root = tmp_path / "concord"
    for name in ("scripts", "infra", "docs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "scripts/package.sh").write_text(
        "mkdir -p out && printf package >out/concord.zip\n"
    )  # has tests of its own
    return root


def fill_in(tree: Path, **values: str) -> None:
    """Set the parameters that `create.sh` insists on."""
    path = tree / "infra/parameters/dev.json"
    text = path.read_text().replace("example", "contoso")
    text = text.replace("00000000-0000-0000-0000-000000000000", "22222222-2222-2222-2222-222222222222")
    parameters = json.loads(text)
    for name, value in values.items():
        parameters["parameters"][name] = {"value": value}
    path.write_text(json.dumps(parameters))


def run(
    tree: Path, az: FakeAz, step: str, *arguments: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """One step as a person runs it."""
    return subprocess.run(
        [str(tree / f"scripts/deploy/{step}.sh"), *arguments],
        input=stdin, capture_output=True, text=True, env={**az.environment, **environment}, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_a_script_that_bash_can_read_and_anybody_can_run(step: str) -> None:
    path = ROOT / f"scripts/deploy/{step}.sh"
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
    assert path.stat().st_mode & 0o111
    assert path.read_text().splitlines()[0] == "#!/usr/bin/env bash"


@pytest.mark.parametrize("step", STEPS)
def test_a_step_without_its_group_says_what_to_export(step: str, tree: Path, tmp_path: Path) -> None:
    az = install(tmp_path / "az")
    fill_in(tree)
    if step in {"register-people", "package"}:  # they touch no group
        return
    done = run(tree, az, step, *(["dev"] if step in {"what-if", "create", "register-dataverse"} else []),
               AZURE_RESOURCE_GROUP="")  # fmt: skip
    if step == "smoke":
        done = run(tree, az, step, AZURE_RESOURCE_GROUP="")
    assert done.returncode != 0
    assert "next: export AZURE_RESOURCE_GROUP=rg-concord-dev" in done.stderr
    assert az.calls == []


def test_nobody_signed_in_stops_before_anything(tree: Path, tmp_path: Path) -> None:
    az = install(tmp_path / "az", fail="account show")
    done = run(tree, az, "what-if", "dev")
    assert done.returncode != 0
    assert "next: az login" in done.stderr
    assert len(az.calls) == 1


def test_the_group_is_prepared_with_every_provider_the_bicep_uses(tree: Path, tmp_path: Path) -> None:
    az = install(tmp_path / "az")
    done = run(tree, az, "prepare", AZURE_LOCATION="westeurope")
    assert done.returncode == 0, done.stderr
    registered = {call[3] for call in az.calls if call[:2] == ["provider", "register"]}
    used = set(re.findall(r"'(Microsoft\.\w+)/", "".join(p.read_text() for p in (tree / "infra").rglob("*.bicep"))))
    assert used - registered == set()
    assert az.commands[-1] == "group create"


def test_a_what_if_changes_nothing(tree: Path, tmp_path: Path) -> None:
    az = install(tmp_path / "az")
    done = run(tree, az, "what-if", "dev")
    assert done.returncode == 0, done.stderr
    assert az.commands == ["deployment group what-if"]
    asked = az.calls[-1]
    assert asked[asked.index("--template-file") + 1] == "infra/main.bicep"
    assert asked[asked.index("--parameters") + 1] == "@infra/parameters/dev.json"
    assert "still holds example values" in done.stdout


def test_nothing_is_created_from_example_values(tree: Path, tmp_path: Path) -> None:
    az = install(tmp_path / "az")
    done = run(tree, az, "create", "dev")
    assert done.returncode != 0
    assert '"https://sap-dev.example.com"' in done.stderr
    assert "next: set the values of your systems" in done.stderr
    assert az.commands == []


def test_a_failed_deployment_says_how_to_see_why(tree: Path, tmp_path: Path) -> None:
    fill_in(tree)
    az = install(tmp_path / "az", fail="deployment group create")
    done = run(tree, az, "create", "dev")
    assert done.returncode != 0
    assert "next: az deployment operation group list -g rg-concord-dev -n concord" in done.stderr
    assert done.stderr.count("next:") == 1
    assert az.commands == ["deployment group create"]


def test_a_subscription_keeps_no_rule_that_takes_everything(tree: Path, tmp_path: Path) -> None:
    fill_in(tree)
    az = install(tmp_path / "az", **{"--subscription-name another --query": "$Default"})
    done = run(tree, az, "create", "dev")
    assert done.returncode == 0, done.stderr
    assert az.commands == ["deployment group create", *["servicebus topic subscription rule delete"] * 2]
    for call in az.calls:
        if "delete" in call:
            assert (call[call.index("--subscription-name") + 1], call[call.index("--name") + 1]) == (
                "another",
                "$Default",
            )


def test_the_password_never_stands_on_a_command_line(tree: Path, tmp_path: Path) -> None:
    az = install(tmp_path / "az")
    done = run(tree, az, "secrets", stdin="s3cret\n")
    assert done.returncode == 0, done.stderr
    assert az.taken_in == ["s3cret"]
    assert "s3cret" not in json.dumps(az.calls)
    assert "s3cret" not in done.stdout + done.stderr


def test_without_the_role_on_the_vault_the_step_says_how_to_get_it(tree: Path, tmp_path: Path) -> None:
    az = install(tmp_path / "az", fail="keyvault secret set")
    done = run(tree, az, "secrets", stdin="s3cret\n")
    assert done.returncode != 0
    assert "Key Vault Secrets Officer" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


def test_publishing_sends_the_package_then_keeps_the_key_then_restarts(tree: Path, tmp_path: Path) -> None:
    az = install(tmp_path / "az")
    assert run(tree, az, "package").returncode == 0
    done = run(tree, az, "publish")
    assert done.returncode == 0, done.stderr
    assert az.commands == ["functionapp deployment source config-zip", "keyvault secret set", "functionapp restart"]
    assert az.taken_in == ["the-default-host-key"]
    assert "the-default-host-key" not in json.dumps(az.calls) + done.stdout
    assert len(list((tree / "out/releases").glob("*.zip"))) == 1


def test_a_key_that_has_not_changed_restarts_nothing(tree: Path, tmp_path: Path) -> None:
    az = install(tmp_path / "az", **{"length(@)": "1", "keyvault secret show": "the-default-host-key"})
    run(tree, az, "package")
    assert run(tree, az, "publish").returncode == 0
    assert az.commands == ["functionapp deployment source config-zip", "keyvault secret show"]


def test_a_failed_publication_leaves_the_key_alone_and_names_the_way_back(tree: Path, tmp_path: Path) -> None:
    az = install(tmp_path / "az", fail="config-zip")
    run(tree, az, "package")
    done = run(tree, az, "publish")
    assert done.returncode != 0
    assert "scripts/deploy/rollback.sh" in done.stderr
    assert az.commands == ["functionapp deployment source config-zip"]
    assert not (tree / "out/releases").exists()


def test_nothing_is_published_without_a_package(tree: Path, tmp_path: Path) -> None:
    az = install(tmp_path / "az")
    done = run(tree, az, "publish")
    assert done.returncode != 0
    assert "next: scripts/deploy/package.sh" in done.stderr
    assert az.commands == []


def test_rolling_back_publishes_the_package_before(tree: Path, tmp_path: Path, app: type[_App]) -> None:
    az = install(tmp_path / "az", **{"properties.outputs.functionAppHost.value": app.address})
    for content in ("first", "second"):
        (tree / "out").mkdir(exist_ok=True)
        (tree / "out/concord.zip").write_text(content)
        assert run(tree, az, "publish").returncode == 0
    done = run(tree, az, "rollback", CONCORD_SCHEME="http")
    assert done.returncode == 0, done.stderr
    (sent,) = [call for call in az.calls if "config-zip" in call][2:]
    assert (tree / sent[sent.index("--src") + 1]).read_text() == "first"
    assert "health is green" in done.stdout


def test_there_is_no_way_back_where_nothing_was_published(tree: Path, tmp_path: Path) -> None:
    az = install(tmp_path / "az")
    done = run(tree, az, "rollback")
    assert done.returncode != 0
    assert "next: download the package of an earlier run" in done.stderr


class _App(BaseHTTPRequestHandler):
    """An app as the smoke test sees it: `health` and the paths that let anybody in can be set."""

    address: ClassVar[str] = ""
    health: ClassVar[tuple[int, str]] = (200, '{"status":"ok"}')
    open_paths: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        status, body = (200, "{}") if self.path in self.open_paths else (401, "{}")
        if self.path == "/api/health":
            status, body = self.health
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def app() -> Iterator[type[_App]]:
    """A running app of the test's own."""
    made: type[_App] = type("App", (_App,), {"open_paths": set()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), made)
    made.address = f"127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def _smoke(tree: Path, tmp_path: Path, app: type[_App]) -> subprocess.CompletedProcess[str]:
    return run(tree, install(tmp_path / "az"), "smoke", app.address,
               CONCORD_SCHEME="http", CONCORD_SMOKE_RETRIES="0", CONCORD_SMOKE_DELAY="0")  # fmt: skip


def test_the_smoke_test_passes_an_app_that_is_well_and_shut(tree: Path, tmp_path: Path, app: type[_App]) -> None:
    done = _smoke(tree, tmp_path, app)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("gets 401") == 5


@pytest.mark.parametrize("health", [(503, '{"status":"degraded"}'), (200, '{"status":"degraded"}'), (500, "")])
def test_the_smoke_test_stops_at_an_app_that_is_not_well(
    health: tuple[int, str], tree: Path, tmp_path: Path, app: type[_App]
) -> None:
    app.health = health
    done = _smoke(tree, tmp_path, app)
    assert done.returncode != 0
    assert "next:" in done.stderr


def test_the_smoke_test_stops_at_a_door_that_lets_anybody_in(tree: Path, tmp_path: Path, app: type[_App]) -> None:
    app.open_paths = {"/api/cases"}
    done = _smoke(tree, tmp_path, app)
    assert done.returncode != 0
    assert "an anonymous GET /api/cases got 200, not 401" in done.stderr
    assert "next: stop the app" in done.stderr


def test_people_are_registered_with_exactly_the_roles_the_app_checks(tree: Path, tmp_path: Path) -> None:
    roles = json.loads((ROOT / "infra/app-roles.json").read_text())
    assert [role["value"] for role in roles] == list(ROLES)
    assert len({role["id"] for role in roles}) == len(roles)
    assert all(role["isEnabled"] for role in roles)
    az = install(tmp_path / "az")
    done = run(tree, az, "register-people", "dev")
    assert done.returncode == 0, done.stderr
    assert "peopleClientId is 22222222-2222-2222-2222-222222222222" in done.stdout
    (updated,) = [call for call in az.calls if call[:3] == ["ad", "app", "update"]]
    assert updated[updated.index("--app-roles") + 1] == "@infra/app-roles.json"


def test_people_that_are_registered_are_not_registered_again(tree: Path, tmp_path: Path) -> None:
    az = install(tmp_path / "az", **{"ad app list": "22222222-2222-2222-2222-222222222222", "ad sp list": "55"})
    assert run(tree, az, "register-people", "dev").returncode == 0
    assert not [command for command in az.commands if command.endswith("create")]


WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=[path.stem for path in WORKFLOWS])
def test_workflows_pin_every_action_and_keep_no_secret(path: Path) -> None:
    text = path.read_text()
    uses = re.findall(r"uses: (\S+)( # v[\d.]+)?", text)
    assert uses
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) and version for action, version in uses)
    assert "secrets." not in text
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}


def test_the_workflow_changes_nothing_before_a_person_has_seen_the_what_if() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/deploy.yml").read_text())["jobs"]
    assert jobs["what-if"]["needs"] == "package"
    assert jobs["deploy"]["needs"] == "what-if"
    assert jobs["what-if"]["environment"] != jobs["deploy"]["environment"]
    ran = {name: " ".join(str(step.get("run", "")) for step in job["steps"]) for name, job in jobs.items()}
    assert "scripts/deploy/what-if.sh" in ran["what-if"]
    changing = ("create.sh", "publish.sh")
    assert not any(step in ran[job] for step in changing for job in ("package", "what-if"))
    order = [ran["deploy"].index(step) for step in ("create.sh", "publish.sh", "smoke.sh")]
    assert order == sorted(order)
    assert all(job["permissions"]["id-token"] == "write" for name, job in jobs.items() if name != "package")
