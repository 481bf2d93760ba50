"""docs/deploy.md, followed literally: its commands, in its order, typed into one shell.

`az` is a stand-in, Dataverse is the simulated one, and the app that the smoke test asks is a small server; what
a reader does by hand between the commands (values into the parameter file) is done by the test.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests.dataverse_simulator.organization import open_organization
from tests.infra.conftest import ROOT
from tests.infra.fake_az import install
from tests.infra.test_deployment_scripts import _App, fill_in

DOCUMENT = ROOT / "docs" / "deploy.md"


def _sections() -> dict[str, str]:
    """The numbered sections' commands, by heading."""
    found: dict[str, str] = {}
    for part in re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        heading = part.partition("\n")[0]
        if heading[0].isdigit():
            found[heading] = "".join(re.findall(r"```sh\n(.*?)```", part, flags=re.DOTALL))
    return found


def test_the_readme_leads_to_the_document() -> None:
    assert "(docs/deploy.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_everything_the_document_names_is_there() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for script in set(re.findall(r"scripts/deploy/[\w-]+\.sh", text)):
        assert (ROOT / script).is_file(), script
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert "://" in target or (DOCUMENT.parent / target).exists(), target


def test_every_parameter_of_the_bicep_without_a_default_is_explained() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    bicep = (ROOT / "infra/main.bicep").read_text(encoding="utf-8")
    for name in re.findall(r"^param (\w+) \w+$", bicep, flags=re.MULTILINE):
        assert name == "environmentName" or f"`{name}`" in text, name


async def test_the_commands_lead_from_a_clone_to_a_deployment_and_back(tmp_path: Path) -> None:
    tree = tmp_path / "concord"
    for name in ("scripts", "infra", "docs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "scripts/package.sh").write_text("mkdir -p out && date +%N >out/concord.zip\n")  # has tests of its own
    server = ThreadingHTTPServer(("127.0.0.1", 0), _App)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        async with open_organization(without_solution="on") as organization:
            az = install(
                tmp_path / "az",
                **{
                    "properties.outputs.functionAppHost.value": f"127.0.0.1:{server.server_port}",
                    "get-access-token": organization.token(),
                },
            )
            environment = {
                **az.environment, "CONCORD_SCHEME": "http", "PYTHON": sys.executable,
            }  # fmt: skip
            del environment["AZURE_RESOURCE_GROUP"]
            shell = await asyncio.create_subprocess_exec(
                "bash", "-eu", cwd=tree, env=environment,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            script = []
            for heading, commands in _sections().items():
                # what is asked at the terminal is answered
                commands = re.sub(r'^read -rp "[^"]*" (\w+)$', r"\1=mine", commands, flags=re.MULTILINE)
                if heading.startswith("4 "):  # the reader has put in the values that step 3 asks for
                    fill_in(tree, dataverseUrl=organization.url)
                    assert commands.strip() == "scripts/deploy/what-if.sh dev"
                if heading.startswith("6 "):  # the password is typed when it is asked for
                    commands = commands.replace("secrets.sh\n", "secrets.sh <<<'s3cret'\n")
                if heading.startswith("9 "):  # a version later
                    commands = "scripts/deploy/package.sh\nscripts/deploy/publish.sh\n" + commands
                script.append(commands)
            out, err = await asyncio.wait_for(shell.communicate("".join(script).encode()), 60)
            assert shell.returncode == 0, f"{out.decode()}\n{err.decode()}"
            tables = (await organization.get("EntityDefinitions(LogicalName='concord_signal')")).status
    finally:
        server.shutdown()
        server.server_close()
    assert tables == 200
    said = out.decode()
    assert "would make table concord_signal" in said
    assert said.count("health is green") == 2
    order = [
        "login", "account set", "provider register", "group create", "ad app create", "deployment group what-if",
        "deployment group create", "role assignment create", "keyvault secret set",
        "functionapp deployment source config-zip", "functionapp keys set", "functionapp deployment source config-zip",
    ]  # fmt: skip
    done = iter(az.commands)
    assert all(command in done for command in order), az.commands
