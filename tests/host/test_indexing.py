"""An app that cannot be served is said to be so, with its own fault, and the process ends with 1."""

import subprocess
from pathlib import Path

import pytest

from tests.host.conftest import READY_SECONDS, ROOT, WriteApp, command, environment, running_worker

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
            GOOD + '\n@app.timer_trigger(arg_name="timer", schedule="%NotSet%")\n'
            "async def sweep(timer: func.TimerRequest) -> None: ...\n",
            "function sweep: %NotSet% is used in a trigger and not set",
        ),
        (
            GOOD + '\n@app.service_bus_queue_trigger(arg_name="m", connection="NoBus", queue_name="q")\n'
            "async def receive(m: func.ServiceBusMessage) -> None: ...\n",
            "function receive: the connection 'NoBus' of a Service Bus trigger is not set",
        ),
        (
            GOOD + '\n@app.blob_trigger(arg_name="blob", path="p", connection="c")\n'
            "async def read(blob: func.InputStream) -> None: ...\n",
            "function read has bindings that this host does not serve: ['blobTrigger']",
        ),
    ],
    ids=["missing", "empty", "broken import", "exits", "unset schedule", "unset connection", "unserved binding"],
)
def test_an_app_that_does_not_index_is_told_with_its_own_fault(
    write_app: WriteApp, function_app: str | None, told: str
) -> None:
    code, output, errors = start(write_app(function_app))
    assert code == 1
    assert told in errors
    assert "ready" not in output


def test_a_function_that_is_disabled_by_its_setting_is_not_served(write_app: WriteApp) -> None:
    with running_worker(write_app(GOOD), {"AzureWebJobs.hello.Disabled": "true"}) as worker:
        import urllib.error
        import urllib.request

        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(worker.url + "/api/hello")
