"""Claims about $batch."""

from tests.sap_simulator.caller import ROOT, Reply, Sap

SERVICE = "API_BUSINESS_PARTNER"


def part(request: str, body: str = "", headers: str = "") -> str:
    return (
        "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        f"{request} HTTP/1.1\r\nAccept: application/json\r\nContent-Type: application/json\r\n{headers}\r\n{body}\r\n"
    )


def change_set(*parts: str) -> str:
    inner = "".join(f"--set\r\n{one}" for one in parts)
    return f"Content-Type: multipart/mixed; boundary=set\r\n\r\n{inner}--set--\r\n"


async def send(sap: Sap, *parts: str) -> Reply:
    body = "".join(f"--batch\r\n{one}" for one in parts) + "--batch--\r\n"
    headers = {"Content-Type": "multipart/mixed; boundary=batch"}
    return await sap.call("POST", f"{SERVICE}/$batch", body.encode(), headers)


def change(account: str, body: str) -> str:
    return part(f"PATCH A_BusinessPartner('{account}')", body, "If-Match: *\r\n")


async def names(sap: Sap) -> dict[str, str]:
    rows = (await sap.get(f"{SERVICE}/A_BusinessPartner", filter="startswith(BusinessPartner,'C-')")).results
    return {row["BusinessPartner"]: row["SearchTerm2"] for row in rows}


async def test_reads_are_answered_one_by_one_and_one_may_fail_under_an_outer_202(sap: Sap) -> None:
    await sap.account()
    reply = await send(sap, part("GET A_Customer('C-1')"), part("GET A_Customer('C-9')"))
    assert reply.status == 202
    assert reply.body.count(b"HTTP/1.1 200 OK") == 1
    assert reply.body.count(b"HTTP/1.1 404 Not Found") == 1


async def test_a_change_set_takes_effect_as_a_whole(sap: Sap) -> None:
    await sap.account("C-1")
    await sap.account("C-2")
    changes = change_set(change("C-1", '{"SearchTerm2":"ONE"}'), change("C-2", '{"SearchTerm2":"TWO"}'))
    reply = await send(sap, changes, part("GET A_BusinessPartner('C-2')?$select=SearchTerm2"))
    assert reply.body.count(b"HTTP/1.1 204") == 2
    assert b'"SearchTerm2":"TWO"' in reply.body
    assert await names(sap) == {"C-1": "ONE", "C-2": "TWO"}


async def test_a_change_set_with_one_refused_part_has_no_effect_and_one_answer(sap: Sap) -> None:
    await sap.account("C-1")
    reply = await send(sap, change_set(change("C-1", '{"SearchTerm2":"ONE"}'), change("C-9", '{"SearchTerm2":"TWO"}')))
    assert reply.status == 202
    assert reply.body.count(b"HTTP/1.1 404") == 1
    assert reply.body.count(b"HTTP/1.1") == 1
    assert await names(sap) == {"C-1": ""}


async def test_a_batch_needs_the_csrf_token_too(sap: Sap) -> None:
    headers = {"Content-Type": "multipart/mixed; boundary=batch", "X-CSRF-Token": "guessed"}
    assert (await sap.call("POST", f"{SERVICE}/$batch", b"--batch--\r\n", headers)).status == 403


async def test_a_malformed_batch_is_refused(sap: Sap) -> None:
    await sap.account()
    assert (await send(sap, change("C-1", "{}"))).status == 400, "a write outside a change set"
    cut_off = b"--batch\r\n" + part("GET A_Customer").encode()
    headers = {"Content-Type": "multipart/mixed; boundary=batch"}
    assert (await sap.call("POST", f"{SERVICE}/$batch", cut_off, headers)).status == 400
    assert (await sap.call("POST", f"{SERVICE}/$batch", b"{}")).status == 400
    read_inside = await send(sap, change_set(part("GET A_Customer('C-1')")))
    assert b"HTTP/1.1 400" in read_inside.body
    for elsewhere in (
        "http://[::1/A_Customer",
        "http://elsewhere/A_Customer",
        f"{ROOT}/API_SALES_ORDER_SRV/A_SalesOrder",
    ):
        assert (await send(sap, part(f"GET {elsewhere}"))).status == 400, elsewhere
    assert b"HTTP/1.1 200" in (await send(sap, part(f"GET {ROOT}/{SERVICE}/A_Customer('C-1')"))).body
