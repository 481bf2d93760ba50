"""A small app that shows its callers what the host handed to it."""

import asyncio
import json
import os
import sys

import azure.functions as func

app = func.FunctionApp()
fired: list[dict[str, object]] = []


def _answer(value: object, status: int = 200) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(value), status_code=status, mimetype="application/json")


def _echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return _answer(
        {
            "method": req.method,
            "url": req.url,
            "headers": dict(req.headers),
            "query": dict(req.params),
            "route": dict(req.route_params),
            "body": req.get_body().decode(),
            "trace": context.trace_context.trace_parent,
            "function": context.function_name,
            "pid": os.getpid(),
        }
    )


@app.function_name("echo")
@app.route(route="echo/{name}/{rest?}", methods=["GET", "POST"], auth_level=func.AuthLevel.ANONYMOUS)
async def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return _echo(req, context)


@app.function_name("echo_options")
@app.route(route="echo/{name}", methods=["OPTIONS"], auth_level=func.AuthLevel.ANONYMOUS)
async def echo_options(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(status_code=200, headers={"WebHook-Allowed-Origin": "*", "Set-Cookie": "a=b; HttpOnly"})


@app.function_name("numbered")
@app.route(route="numbers/{number:int}", auth_level=func.AuthLevel.ANONYMOUS)
async def numbered(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return _echo(req, context)


@app.function_name("period")
@app.route(route="periods/{year}-{month}/close", auth_level=func.AuthLevel.ANONYMOUS)
async def period(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return _echo(req, context)


@app.function_name("guarded")
@app.route(route="guarded", auth_level=func.AuthLevel.FUNCTION)
async def guarded(req: func.HttpRequest) -> func.HttpResponse:
    return _answer({"open": True})


@app.function_name("other_guarded")
@app.route(route="other", auth_level=func.AuthLevel.FUNCTION)
async def other_guarded(req: func.HttpRequest) -> func.HttpResponse:
    return _answer({"open": True})


@app.function_name("switched_off")
@app.route(route="switched-off", auth_level=func.AuthLevel.ANONYMOUS)
async def switched_off(req: func.HttpRequest) -> func.HttpResponse:
    return _answer({"open": True})


@app.function_name("admin_only")
@app.route(route="admin-only", auth_level=func.AuthLevel.ADMIN)
async def admin_only(req: func.HttpRequest) -> func.HttpResponse:
    return _answer({"open": True})


@app.function_name("blocking")
@app.route(route="blocking", auth_level=func.AuthLevel.ANONYMOUS)
def blocking(req: func.HttpRequest) -> func.HttpResponse:
    return _answer({"sync": True})


@app.function_name("failing")
@app.route(route="failing/{how}", auth_level=func.AuthLevel.ANONYMOUS)
async def failing(req: func.HttpRequest) -> func.HttpResponse:
    match req.route_params["how"]:
        case "raise":
            raise ValueError("this order cannot be read")
        case "exit":
            sys.exit(3)
        case "cancel":
            raise asyncio.CancelledError
        case "hang":
            await asyncio.Event().wait()
    return None  # type: ignore[return-value]  # what a real app forgets


@app.function_name("held")
@app.route(route="held", auth_level=func.AuthLevel.ANONYMOUS)
async def held(req: func.HttpRequest) -> func.HttpResponse:
    """Says that it has begun, then takes a while: in flight during a drain."""
    print("held has begun", flush=True)
    await asyncio.sleep(float(req.params.get("seconds", "0.5")))
    return _answer({"finished": True})


@app.function_name("nightly")
@app.timer_trigger(arg_name="timer", schedule="%NightlySchedule%", run_on_startup=False)
async def nightly(timer: func.TimerRequest) -> None:
    fired.append({"past_due": timer.past_due})


@app.function_name("stumbling")
@app.timer_trigger(arg_name="timer", schedule="0 0 3 * * *")
async def stumbling(timer: func.TimerRequest) -> None:
    raise RuntimeError("the sweep found nothing to sweep")


@app.function_name("fired_so_far")
@app.route(route="fired", auth_level=func.AuthLevel.ANONYMOUS)
async def fired_so_far(req: func.HttpRequest) -> func.HttpResponse:
    return _answer(fired)


@app.function_name("identity")
@app.route(route="identity", auth_level=func.AuthLevel.ANONYMOUS)
async def identity(req: func.HttpRequest) -> func.HttpResponse:
    from azure.identity.aio import ManagedIdentityCredential

    async with ManagedIdentityCredential() as credential:
        token = await credential.get_token(req.params["scope"])
    return _answer({"token": token.token, "expires_on": token.expires_on})
