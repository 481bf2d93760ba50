"""HTTP: what reaches the app and what comes back are what the real host would pass on."""

import asyncio
import json

import pytest

from sandbox.host.people import sign_in
from sandbox.host.routes import Routes
from sandbox.host.runtime import AppNotIndexed, Function
from sandbox.kit import tokens
from tests.host.conftest import TOKEN_SECRET, Client

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def routes(*templates: tuple[str, list[str]], prefix: str = "api") -> Routes:
    return Routes(
        [
            Function(f"f{number}", str(number), {"type": "httpTrigger", "route": template, "methods": methods})
            for number, (template, methods) in enumerate(templates)
        ],
        prefix,
    )


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("orders/{number}", "/api/orders/S-1", {"number": "S-1"}),
        ("orders/{number}", "/api/Orders/S-1/", {"number": "S-1"}),
        ("orders/{number}", "/api/orders/a%2Fb%20c", {"number": "a/b c"}),
        ("orders/{number}", "/api/orders", None),
        ("orders/{number}", "/api/orders/a/b", None),
        ("orders/{number?}", "/api/orders", {}),
        ("orders/{number:int}", "/api/orders/12", {"number": "12"}),
        ("orders/{number:int}", "/api/orders/x", None),
        ("files/{*rest}", "/api/files/a/b", {"rest": "a/b"}),
        (
            "r/{entity}/{year}-{month}/close",
            "/api/r/GB01/2026-11/close",
            {"entity": "GB01", "year": "2026", "month": "11"},
        ),
        ("a.b", "/api/aXb", None),
    ],
)
def test_a_route_template_matches_as_in_asp_net(template: str, path: str, values: dict[str, str] | None) -> None:
    found = routes((template, [])).find("GET", path)
    assert (found[1] if found else None) == values


def test_the_first_route_that_matches_wins() -> None:
    table = routes(("orders/{number}", ["GET"]), ("orders/open", ["GET"]), ("orders/{number}", ["DELETE"]))
    first, last = table.find("GET", "/api/orders/open"), table.find("DELETE", "/api/orders/open")
    assert first is not None
    assert first[0].function.name == "f0"
    assert last is not None
    assert last[0].function.name == "f2"


def test_a_route_without_prefix_starts_at_the_root() -> None:
    assert routes(("orders", []), prefix="").find("GET", "/orders") is not None


def test_a_route_constraint_that_is_not_served_is_refused_at_start() -> None:
    with pytest.raises(AppNotIndexed, match="regex"):
        routes(("orders/{number:regex(^x)}", []))


async def test_the_app_sees_method_url_query_route_and_body(client: Client) -> None:
    answer = await client.post("/api/echo/a%2Fb/more?x=1&y=&x=2", b'{"amount": 1.10}')
    seen = json.loads(answer.body)
    assert seen["method"] == "POST"
    assert seen["url"] == f"{client.url}/api/echo/a%2Fb/more?x=1&y=&x=2"
    assert seen["query"] == {"x": "1,2", "y": ""}
    assert seen["route"] == {"name": "a/b", "rest": "more"}
    assert seen["body"] == '{"amount": 1.10}'
    assert seen["headers"]["content-length"] == "16"


async def test_a_wrong_method_is_not_found(client: Client) -> None:
    assert (await client.call("DELETE", "/api/echo/x")).status == 404
    assert (await client.get("/api/nothing-here")).status == 404
    assert (await client.get("/echo/x")).status == 404


async def test_a_function_that_its_setting_disables_is_not_found(client: Client) -> None:
    assert (await client.get("/api/switched-off", {"x-functions-key": "the-master-key"})).status == 404


async def test_another_function_takes_another_method_of_the_same_route(client: Client) -> None:
    answer = await client.call("OPTIONS", "/api/echo/x")
    assert answer.status == 200
    assert answer.headers["WebHook-Allowed-Origin"] == "*"
    assert answer.headers["Set-Cookie"] == "a=b; HttpOnly"


@pytest.mark.parametrize("how", ["raise", "exit", "cancel", "none", "hang"])
async def test_a_function_that_fails_answers_a_bare_500(client: Client, how: str) -> None:
    answer = await client.get(f"/api/failing/{how}")
    assert (answer.status, answer.body) == (500, b"")
    assert (await client.get("/api/echo/still-serving")).status == 200


async def test_a_function_without_async_runs_too(client: Client) -> None:
    assert json.loads((await client.get("/api/blocking")).body) == {"sync": True}


async def test_the_callers_trace_reaches_the_app(client: Client) -> None:
    seen = json.loads((await client.get("/api/echo/x", {"traceparent": TRACE})).body)
    assert seen["trace"] == TRACE


async def test_a_call_without_a_valid_trace_begins_one(client: Client) -> None:
    first = json.loads((await client.get("/api/echo/x")).body)["trace"]
    second = json.loads((await client.get("/api/echo/x", {"traceparent": "not-a-trace"})).body)["trace"]
    assert first != second
    assert len(first.split("-")[1]) == len(second.split("-")[1]) == 32


async def test_a_body_over_the_limit_is_refused(client: Client) -> None:
    assert (await client.post("/api/echo/x", b"x" * 1000)).status == 200
    assert (await client.post("/api/echo/x", b"x" * 1001)).status == 413


async def test_a_body_that_says_it_is_compressed_reaches_the_app_as_it_came(client: Client) -> None:
    answer = await client.post("/api/echo/x", b"{}", {"Content-Encoding": "gzip"})
    assert json.loads(answer.body)["body"] == "{}"


async def test_a_body_without_a_length_does_not_reach_the_app(client: Client) -> None:
    async def chunks() -> object:
        yield b"lost"

    async with client.session.post(f"{client.url}/api/echo/x", data=chunks()) as answer:
        assert (await answer.json())["body"] == ""


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/api/guarded", None, 401),
        ("/api/guarded", "wrong", 401),
        ("/api/guarded", "the-default-key", 200),
        ("/api/guarded", "the-guarded-key", 200),
        ("/api/guarded", "the-master-key", 200),
        ("/api/other", "the-guarded-key", 401),
        ("/api/admin-only", "the-default-key", 401),
        ("/api/admin-only", "the-master-key", 200),
        ("/api/echo/x", "wrong", 200),
        ("/admin/functions", "the-default-key", 401),
        ("/admin/functions", "the-master-key", 200),
    ],
)
async def test_a_key_opens_what_its_level_allows(client: Client, path: str, key: str | None, status: int) -> None:
    header = await client.get(path, {"x-functions-key": key} if key else None)
    query = await client.get(f"{path}?code={key}" if key else path)
    assert (header.status, query.status) == (status, status)


async def test_the_key_in_the_header_beats_the_one_in_the_query(client: Client) -> None:
    wrong = await client.get("/api/guarded?code=the-default-key", {"x-functions-key": "wrong"})
    right = await client.get("/api/guarded?code=wrong", {"x-functions-key": "the-default-key"})
    assert (wrong.status, right.status) == (401, 200)


async def test_only_the_host_says_who_is_calling(client: Client) -> None:
    forged = {"X-MS-CLIENT-PRINCIPAL": "Zm9yZ2Vk", "x-ms-client-principal-name": "mallory", "X-Ms-Anything": "1"}
    seen = json.loads((await client.get("/api/echo/x", forged)).body)
    assert not [name for name in seen["headers"] if name.startswith("x-ms-")]


async def test_a_signed_in_person_arrives_as_app_service_shows_people(client: Client) -> None:
    import base64

    signed_in = await client.post("/.auth/login/dev", b'{"name": "ada@concord.example", "roles": ["Operator"]}')
    token = json.loads(signed_in.body)["authenticationToken"]
    headers = {"X-ZUMO-AUTH": token, "X-MS-CLIENT-PRINCIPAL": "Zm9yZ2Vk"}
    seen = json.loads((await client.get("/api/echo/x", headers)).body)["headers"]
    principal = json.loads(base64.b64decode(seen["x-ms-client-principal"]))
    assert seen["x-ms-client-principal-name"] == "ada@concord.example"
    assert principal["auth_typ"] == "aad"
    claims = {(claim["typ"], claim["val"]) for claim in principal["claims"]}
    assert (principal["role_typ"], "Operator") in claims
    assert (principal["name_typ"], "ada@concord.example") in claims
    assert seen["x-ms-client-principal-id"] in {value for _, value in claims}


async def test_a_forged_or_foreign_sign_in_is_refused(client: Client) -> None:
    forged = sign_in("another-secret", "mallory", ["Controller"])
    foreign = tokens.sign(TOKEN_SECRET, "https://sap.example", '{"name": "mallory", "roles": ["Controller"]}')
    expired = tokens.sign(TOKEN_SECRET, "urn:concord:people", '{"name": "ada", "roles": []}', lifetime_seconds=-1)
    for token in (forged, foreign, expired, "x"):
        assert (await client.get("/api/echo/x", {"X-ZUMO-AUTH": token})).status == 401


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"roles": []}', b'{"name": "", "roles": []}', b'{"name": "a", "roles": [1]}']
)
async def test_a_malformed_sign_in_is_refused(client: Client, body: bytes) -> None:
    assert (await client.post("/.auth/login/dev", body)).status == 400


async def test_the_unmodified_azure_credential_gets_a_token_for_its_audience(client: Client) -> None:
    got = json.loads((await client.get("/api/identity?scope=https://crm.example/.default")).body)
    claims = tokens.verify(TOKEN_SECRET, got["token"], "https://crm.example/")
    assert claims.subject == "concord-functions"
    assert claims.expires_on == got["expires_on"]


async def test_a_token_is_not_given_without_the_identity_header(client: Client) -> None:
    path = "/__identity/token?api-version=2019-08-01&resource=https://crm.example"
    assert (await client.get(path)).status == 401
    assert (await client.get(path, {"X-IDENTITY-HEADER": "guess"})).status == 401


async def test_many_requests_at_once_are_all_answered(client: Client) -> None:
    answers = await asyncio.gather(*(client.get(f"/api/echo/{number}") for number in range(200)))
    assert [json.loads(answer.body)["route"]["name"] for answer in answers] == [str(n) for n in range(200)]
