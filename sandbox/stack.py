"""The local stack: Azurite, the broker, the simulators and the functions workers, started and stopped as one.

`python -m sandbox.stack up` starts it and stays; tests and the trading day enter `Stack` instead. The stack holds the
workers' listening sockets itself, so a worker that dies or restarts keeps its port, and callers wait instead of being
refused. Every key and secret is made anew for each run.
"""

import argparse
import asyncio
import base64
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from sandbox.host.people import sign_in
from sandbox.kit import exact_json
from sandbox.kit.certificates import write_certificate
from sandbox.kit.entities import legal_entities
from sandbox.kit.tokens import sign
from sandbox.ports import ClaimedPorts, NoPort, listening_socket
from sandbox.processes import Child, Command, StartFailed, start
from sandbox.sap.configuration import CLIENT

ROOT: Final = Path(__file__).resolve().parent.parent
SIMULATORS: Final = ("sap", "dataverse", "commerce")
LANES_PER_WORKER: Final = 8  # host.json: a worker serves as many sessions of each function at once
_RESTART_EXIT_CODE: Final = 75
_WORKER_GRACE_SECONDS: Final = 12.0
_WORKER_DRAIN_SECONDS: Final = 8
_WORKERS_MAX: Final = 64
_GRACE_SECONDS: Final = 5.0
_KEEP_ALIVE_SECONDS: Final = "120"
_STARTS_FAILED_MAX: Final = 3
_ACCOUNT: Final = "devstoreaccount1"
_SAP_USER: Final = "CONCORD"
_TOKEN_SECONDS: Final = 12 * 3600
_ENVIRONMENT_ID: Final = "5b9c1a52-3a3f-4b52-9d0c-0f6f1c6a7d01"
_PEOPLE: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "operator": ("olivia.operator@concord.example", ("Reader", "Operator", "Controller")),
    "approver": ("amir.approver@concord.example", ("Approver",)),
    "second_approver": ("sara.approver@concord.example", ("Approver", "SeniorApprover")),
}


class StackFailed(Exception):
    """The stack cannot start or cannot go on; the text says which process, with its last lines."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What one run of the stack keeps to itself; hexadecimal, so that none looks like an option to a command line."""

    default_key: str = field(default_factory=lambda: secrets.token_hex(32))
    master_key: str = field(default_factory=lambda: secrets.token_hex(32))
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    sap_password: str = field(default_factory=lambda: secrets.token_hex(24))
    storage_key: str = field(default_factory=lambda: base64.b64encode(secrets.token_bytes(64)).decode())


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens on 127.0.0.1."""

    broker: int
    broker_control: int
    tables: int
    blobs: int
    queues: int
    simulators: Mapping[str, int]
    dataverse_https: int


class Stack:
    """The running stack, as an async context. Entering raises StackFailed; leaving stops every process."""

    def __init__(
        self,
        *,
        workers: int = 1,
        overlay: Path | None = None,
        out: Path = ROOT / "out" / "stack.json",
        app: Path = ROOT,
        logs: Path | None = None,
        simulators: Sequence[str] = SIMULATORS,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`overlay` is a policy file laid over the shipped one, `settings` are further settings of the app."""
        self.secrets = Secrets()
        self._workers = workers
        self._overlay = overlay
        self._out = out
        self._app = app
        self._logs = logs or out.parent / "logs"
        self._names = tuple(simulators)
        self._more_settings = dict(settings or {})
        self._data = Path()
        self._trusted = self._served = Path()
        self._sockets: list[socket.socket] = []
        self._children: dict[str, list[Child]] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._failed: asyncio.Future[None] | None = None
        self._claims = ClaimedPorts()
        self._ports = Ports(0, 0, 0, 0, 0, {}, 0)
        self._is_up = False

    async def __aenter__(self) -> Self:
        self._failed = asyncio.get_running_loop().create_future()
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    @property
    def functions_urls(self) -> list[str]:
        """One url for each worker."""
        return [f"http://127.0.0.1:{listen.getsockname()[1]}" for listen in self._sockets]

    @property
    def functions_url(self) -> str:
        """The first worker."""
        return self.functions_urls[0]

    @property
    def servicebus_connection(self) -> str:
        """The broker, in the form the Service Bus clients read."""
        return (
            f"Endpoint=sb://127.0.0.1:{self._ports.broker};SharedAccessKeyName=RootManageSharedAccessKey;"
            "SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;"
        )

    @property
    def broker_control_url(self) -> str:
        """Where `GET /state` tells what every entity of the broker holds."""
        return f"http://127.0.0.1:{self._ports.broker_control}"

    @property
    def storage_connection(self) -> str:
        """Azurite's tables and blobs, in the form the storage clients read."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={self.secrets.storage_key};"
            f"BlobEndpoint=http://127.0.0.1:{self._ports.blobs}/{_ACCOUNT};"
            f"TableEndpoint=http://127.0.0.1:{self._ports.tables}/{_ACCOUNT};"
        )

    def simulator_url(self, name: str) -> str:
        """The url of sap, dataverse or commerce."""
        return f"http://127.0.0.1:{self._ports.simulators[name]}"

    def headers_of(self, person: str) -> dict[str, str]:
        """What operator, approver or second_approver sends to the functions."""
        name, roles = _PEOPLE[person]
        return {"X-ZUMO-AUTH": sign_in(self.secrets.token, name, roles)}

    def described(self) -> dict[str, Any]:
        """The content of stack.json."""
        urls = self.functions_urls
        return {
            "functions": {
                "url": urls[0],
                **({"urls": urls} if len(urls) > 1 else {}),
                "keys": {"default": self.secrets.default_key, "master": self.secrets.master_key},
            },
            **{name: {"url": self.simulator_url(name), **self._way_in(name)} for name in self._names},
            "servicebus": {"connection_string": self.servicebus_connection, "control_url": self.broker_control_url},
            "tables": {"connection_string": self.storage_connection},
            "blobs": {"connection_string": self.storage_connection},
            **{person: {"headers": self.headers_of(person)} for person in _PEOPLE},
            "legal_entities": [
                {"code": e.code, "currency": e.currency, "plants": list(e.plants), "tax_rate": e.tax_rate}
                for e in legal_entities().values()
            ],
            "processes": {role: [child.pid for child in children] for role, children in self._children.items()},
        }

    def _way_in(self, name: str) -> dict[str, Any]:
        """What another client of a simulator signs in with; tokens live as long as a working day.

        Dataverse also speaks https, with a certificate of its own, because its own client speaks nothing else.
        """
        if name == "sap":
            return {"client": CLIENT, "user": _SAP_USER, "password": self.secrets.sap_password}
        way_in: dict[str, Any] = {"token": self._token(self.simulator_url(name))}
        if name == "dataverse":
            url = f"https://127.0.0.1:{self._ports.dataverse_https}"
            way_in["https"] = {"url": url, "token": self._token(url), "certificate": str(self._trusted)}
        return way_in

    def _token(self, audience: str) -> str:
        return sign(self.secrets.token, audience, "outsider", lifetime_seconds=_TOKEN_SECONDS)

    async def failure(self) -> None:
        """Wait until the stack cannot go on. Raises StackFailed then."""
        assert self._failed is not None, "the stack has not been entered"
        await asyncio.shield(self._failed)

    async def _start(self) -> None:
        for folder in (self._out.parent, self._logs):
            folder.mkdir(parents=True, exist_ok=True)
        for old in self._logs.glob("*.log"):
            old.unlink()
        self._out.unlink(missing_ok=True)
        self._data = _data_folder(self._out.parent)
        try:
            self._take_ports()
        except NoPort as taken:
            raise StackFailed(str(taken)) from None
        self._trusted, self._served = write_certificate(self._data)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._start_one(self._azurite()))
                for name in self._names:
                    group.create_task(self._start_one(self._simulator(name)))
                broker = group.create_task(self._start_broker())
                for number in range(self._workers):
                    group.create_task(self._start_worker(number, broker))
        except* StartFailed as failed:
            raise StackFailed("\n".join(str(fault) for fault in failed.exceptions)) from None
        self._is_up = True
        self._write()

    def _take_ports(self) -> None:
        claim = self._claims.claim
        self._sockets += [listening_socket(claim("functions", number)) for number in range(self._workers)]
        self._ports = Ports(
            claim("broker"),
            claim("broker_control"),
            claim("tables"),
            claim("blobs"),
            claim("queues"),
            {name: claim(name) for name in self._names},
            claim("dataverse_https"),
        )

    async def _start_broker(self) -> None:
        ports = ("--port", str(self._ports.broker), "--control-port", str(self._ports.broker_control))
        await self._start_one(self._python("broker", "sandbox.broker", *ports))

    async def _start_one(self, command: Command) -> None:
        child = await start(command)
        self._children[command.role] = [child]
        await child.ready()
        self._watch(self._watch_one(child))

    async def _start_worker(self, number: int, broker: asyncio.Task[None]) -> None:
        """Workers come after the broker, so that their first attach finds it."""
        await asyncio.wait((broker,))
        child = await start(self._worker(number))
        self._children.setdefault("functions", []).append(child)
        await child.ready()
        self._watch(self._watch_worker(number, child))

    async def _watch_one(self, child: Child) -> None:
        code = await child.ended()
        self._fail(child.described_end(code))

    async def _watch_worker(self, number: int, child: Child) -> None:
        """Start a worker that ended again, on the same socket; give up when it does not become ready any more."""
        starts_failed = 0
        while True:
            code = await child.ended()
            if code not in {0, _RESTART_EXIT_CODE}:
                print(child.described_end(code), file=sys.stderr, flush=True)
            again = await start(self._worker(number))
            workers = self._children["functions"]
            workers[workers.index(child)] = again
            child = again
            self._write()
            try:
                await child.ready()
                starts_failed = 0
            except StartFailed as failed:
                starts_failed += 1
                if starts_failed == _STARTS_FAILED_MAX:
                    self._fail(str(failed))
                    return

    def _watch(self, watcher: Coroutine[Any, Any, None]) -> None:
        self._watchers.append(asyncio.create_task(watcher))

    def _fail(self, why: str) -> None:
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(StackFailed(why))

    async def _stop(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        workers = self._children.get("functions", [])
        await asyncio.gather(*(child.stop(_WORKER_GRACE_SECONDS) for child in workers))
        others = [child for role, children in self._children.items() if role != "functions" for child in children]
        await asyncio.gather(*(child.stop(_GRACE_SECONDS) for child in others))
        for listen in self._sockets:
            listen.close()
        self._claims.release()
        if self._data != Path():
            shutil.rmtree(self._data, ignore_errors=True)
        if self._failed is not None and self._failed.done():
            self._failed.exception()  # seen: leaving is the answer to it
        if self._is_up:
            self._out.unlink(missing_ok=True)

    def _write(self) -> None:
        """Replace stack.json in one step, so that nobody reads half of it."""
        if not self._is_up:
            return
        self._out.parent.mkdir(parents=True, exist_ok=True)
        written = self._out.with_name(f"{self._out.name}.{os.getpid()}")
        written.touch(mode=0o600)  # keys and passwords are in it
        written.write_bytes(exact_json.dumps(self.described()))
        written.replace(self._out)

    def _azurite(self) -> Command:
        ports = self._ports
        argv = [_azurite_program(), "--location", str(self._data), "--silent", "--disableTelemetry"]
        argv += ["--skipApiVersionCheck", "--tablePort", str(ports.tables), "--blobPort", str(ports.blobs)]
        argv += ["--queuePort", str(ports.queues)]
        # as long as Azure's front ends: Azurite's own 5 seconds end connections just as a client uses them again
        argv += ["--tableKeepAliveTimeout", _KEEP_ALIVE_SECONDS, "--blobKeepAliveTimeout", _KEEP_ALIVE_SECONDS]
        return Command(
            "azurite",
            argv,
            {**os.environ, "AZURITE_ACCOUNTS": f"{_ACCOUNT}:{self.secrets.storage_key}"},
            self._logs / "azurite.log",
            ROOT,
            ready_ports=(ports.tables, ports.blobs),
        )

    def _simulator(self, name: str) -> Command:
        return self._python(
            name,
            f"sandbox.{name}",
            "--port",
            str(self._ports.simulators[name]),
            "--functions-url",
            self.functions_url,
            "--functions-key",
            self.secrets.default_key,
            "--token-secret",
            self.secrets.token,
            *self._neighbours_of(name),
            *self._tls_of(name),
            environment={"SAP_SANDBOX_PASSWORD": self.secrets.sap_password},
        )

    def _neighbours_of(self, name: str) -> list[str]:
        """SAP creates the customers it is told of in the other systems too."""
        others = [other for other in ("commerce", "dataverse") if name == "sap" and other in self._names]
        return [part for other in others for part in (f"--{other}-url", self.simulator_url(other))]

    def _tls_of(self, name: str) -> list[str]:
        tls = ["--tls-certificate", str(self._served), "--tls-port", str(self._ports.dataverse_https)]
        return tls if name == "dataverse" else []

    def _worker(self, number: int) -> Command:
        listen = self._sockets[number].fileno()
        return self._python(
            "functions" if self._workers == 1 else f"functions-{number + 1}",
            "sandbox.host",
            "--app",
            str(self._app),
            "--listen-fd",
            str(listen),
            "--host-keys",
            f"default={self.secrets.default_key},master={self.secrets.master_key}",
            "--token-secret",
            self.secrets.token,
            "--drain-seconds",
            str(_WORKER_DRAIN_SECONDS),
            environment=self._settings(),
            inherit_fds=(listen,),
        )

    def _python(
        self,
        role: str,
        module: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        inherit_fds: Sequence[int] = (),
    ) -> Command:
        return Command(
            role,
            [sys.executable, "-m", module, *arguments],
            {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            self._logs / f"{role}.log",
            ROOT,
            inherit_fds,
        )

    def _settings(self) -> dict[str, str]:
        """The app's settings, as its settings would stand in the cloud."""
        settings = {
            "ServiceBus": self.servicebus_connection,
            "Tables__connectionString": self.storage_connection,
            "Blobs__connectionString": self.storage_connection,
            "AzureWebJobsStorage": self.storage_connection,
            "Sap__client": CLIENT,
            "Sap__user": _SAP_USER,
            "Sap__password": self.secrets.sap_password,
            "Commerce__environmentId": _ENVIRONMENT_ID,
            "Concord__serviceKey": self.secrets.default_key,
            "Concord__lanes": str(LANES_PER_WORKER * self._workers),
            "Concord__guaranteedInstances": str(self._workers),
        }
        if "sap" in self._names:
            settings["Sap__url"] = self.simulator_url("sap")
        if "dataverse" in self._names:
            settings["Dataverse__url"] = self.simulator_url("dataverse")
        if "commerce" in self._names:
            commerce = self.simulator_url("commerce")
            settings |= {
                "Commerce__retailUrl": commerce,
                "Commerce__hqUrl": commerce,
                "Commerce__inventoryUrl": commerce,
                "Commerce__inventoryTokenUrl": commerce,
            }
        if self._overlay is not None:
            settings["Concord__policyOverlay"] = str(self._overlay.resolve())
        return settings | self._more_settings


def _data_folder(parent: Path) -> Path:
    """A new folder for Azurite's files. Those of stacks that were killed before they could tidy up go first."""
    for old in parent.glob("azurite-*-*"):
        if not Path(f"/proc/{old.name.split('-')[1]}").exists():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"azurite-{os.getpid()}-", dir=parent))


def _azurite_program() -> str:
    """Azurite as npm installed it in the project, or as the environment names it, or on the path."""
    for candidate in (os.environ.get("AZURITE"), str(ROOT / "node_modules" / ".bin" / "azurite"), "azurite"):
        found = shutil.which(candidate) if candidate else None
        if found is not None:
            return found
    raise StartFailed("azurite is not installed: npm installs it into node_modules (make does that)")


async def _up(stack: Stack) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    stay = asyncio.create_task(_stay(stack))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((stay, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not stay.done():
        print("stopping", flush=True)
        stay.cancel()
    try:
        with suppress(asyncio.CancelledError):
            await stay
    except StackFailed as failed:
        print(f"the stack failed: {failed}", file=sys.stderr, flush=True)
        return 1
    return 0


async def _stay(stack: Stack) -> None:
    async with stack:
        print(f"ready {stack.functions_url}", flush=True)
        await stack.failure()


def main() -> int:
    """Read the command line and run the stack until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.stack")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the stack and stay until SIGTERM or Ctrl-C")
    up.add_argument("--workers", type=int, default=1, help="processes of the app")
    up.add_argument("--overlay", type=Path, help="policy values laid over the shipped ones")
    up.add_argument("--out", type=Path, default=ROOT / "out" / "stack.json")
    up.add_argument("--app", type=Path, default=ROOT, help="folder of function_app.py")
    up.add_argument("--simulators", nargs="*", choices=SIMULATORS, default=list(SIMULATORS), help="which to start")
    up.add_argument("--traces", type=Path, help="file that traces and metrics are written to, for sandbox.trace")
    given = parser.parse_args()
    if not 1 <= given.workers <= _WORKERS_MAX:
        parser.error(f"one worker at least, {_WORKERS_MAX} at most")
    if given.overlay is not None and not given.overlay.is_file():
        parser.error(f"there is no file {given.overlay}")
    stack = Stack(
        workers=given.workers,
        overlay=given.overlay,
        out=given.out,
        app=given.app,
        simulators=given.simulators,
        settings={"Concord__traces": str(given.traces.resolve())} if given.traces else None,
    )
    return asyncio.run(_up(stack))


if __name__ == "__main__":
    sys.exit(main())
