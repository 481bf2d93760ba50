"""An app that cannot be served is said to be so, with its own fault, and the process ends with 1."""

import subprocess
from pathlib import Path

import pytest

from sandbox.host.bus import Listener
from sandbox.host.runtime import Function, Invoker
from sandbox.host.settings import SettingsRefused, read_settings
from sandbox.host.timers import Timer
from tests.host.conftest import READY_SECONDS, ROOT, WriteApp, command, environment

GOOD = """
import azure.functions as func
app = func.FunctionApp()

@app.function_name("hello")
@app.route(route="hello", auth_level=func.AuthLevel.ANONYMOUS)
async def hello(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("hello")
"""


def start(app: Path) -> tuple[int, str, str]:
    ended = subprocess.run(
        command(app), capture_output=True, text=True, env=environment(), cwd=ROOT, timeout=READY_SECONDS, check=False
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("function_app", "told"),
    [
        (None, "there is no function_app.py"),
        ("import azure.functions as func\napp = func.FunctionApp()\n", "registers no functions"),
        ("import missing_module_of_this_app\n", 'function_app.py", line 1, in <module>'),
        ("raise SystemExit(0)\n", "ended the process"),
        (
            GOOD + '\n@app.blob_trigger(arg_name="blob", path="p", connection="c")\n'
            "async def read(blob: func.InputStream) -> None: ...\n",
            "function read has bindings that this host does not serve: ['blobTrigger']",
        ),
    ],
    ids=["missing", "empty", "broken import", "exits", "unserved binding"],
)
def test_an_app_that_does_not_index_is_told_with_its_own_fault(
    write_app: WriteApp, function_app: str | None, told: str
) -> None:
    code, output, errors = start(write_app(function_app))
    assert code == 1
    assert told in errors
    assert "ready" not in output


def test_a_timer_whose_schedule_is_not_set_is_named() -> None:
    sweep = Function("sweep", "1", {"type": "timerTrigger", "name": "timer", "schedule": "%NotSet%"})
    with pytest.raises(SettingsRefused, match="function sweep: %NotSet% is used in a trigger and not set"):
        Timer(sweep, Invoker(None))


def test_a_message_function_whose_connection_is_not_set_is_named(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    trigger = {"type": "serviceBusTrigger", "name": "message", "connection": "NoBus", "queueName": "q"}
    settings = read_settings(tmp_path, {})
    with pytest.raises(SettingsRefused, match="function receive: the connection 'NoBus'"):
        Listener(Function("receive", "1", trigger), settings.bus, Invoker(None))
