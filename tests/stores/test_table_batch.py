"""A transaction on the wire: what is written is what OData batch says, and no answer is read as something it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.stores.table_batch import NotABatchAnswer, Part, Refused, decode_batch, encode_batch

TABLE = "https://concord.table.core.windows.net/credit"
ANSWER = "multipart/mixed; boundary=batchresponse_1"
CHANGES = "--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_2\r\n\r\n"


def answered(*parts: str, end: str = "--changesetresponse_2--\r\n--batchresponse_1--\r\n") -> bytes:
    head = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    return (CHANGES + "".join(f"--changesetresponse_2\r\n{head}{part}\r\n" for part in parts) + end).encode()


def done(etag: str) -> str:
    return f"HTTP/1.1 204 No Content\r\nCache-Control: no-cache\r\nETag: {etag}\r\n\r\n"


def refused(status: int, code: str, message: str) -> str:
    body = f'{{"odata.error":{{"code":"{code}","message":{{"lang":"en-US","value":"{message}"}}}}}}'
    return f"HTTP/1.1 {status} No\r\nContent-Type: application/json\r\n\r\n{body}"


def test_each_write_stands_in_one_change_set_with_its_condition() -> None:
    kind, body = encode_batch(
        TABLE,
        [
            Part("insert", {"PartitionKey": "p", "RowKey": "a", "n": 1}),
            Part("replace", {"PartitionKey": "p", "RowKey": "it's"}, 'W/"1"'),
            Part("delete", {"PartitionKey": "p", "RowKey": "c"}, "*"),
        ],
    )
    boundary = kind.removeprefix("multipart/mixed; boundary=")
    text = body.decode("ascii")
    assert text.startswith(f"--{boundary}\r\nContent-Type: multipart/mixed; boundary=changeset_")
    assert text.endswith(f"--{boundary}--\r\n")
    assert f"POST {TABLE} HTTP/1.1\r\n" in text
    assert f"PUT {TABLE}(PartitionKey='p',RowKey='it%27%27s') HTTP/1.1\r\nIf-Match: W/\"1\"\r\n" in text
    assert f"DELETE {TABLE}(PartitionKey='p',RowKey='c') HTTP/1.1\r\nIf-Match: *\r\n" in text
    assert '"n":1,"n@odata.type":"Edm.Int32"' in text


@pytest.mark.parametrize("value", [1.5, None, 2**31, ["a"]])
def test_what_a_row_cannot_hold_is_refused_before_anything_is_sent(value: object) -> None:
    with pytest.raises(TypeError, match="amount"):
        encode_batch(TABLE, [Part("insert", {"PartitionKey": "p", "RowKey": "a", "amount": value})])


def test_the_versions_of_all_writes_come_back_in_order() -> None:
    assert decode_batch(ANSWER, answered(done("W/1"), done("W/2"))) == ["W/1", "W/2"]
    assert decode_batch(ANSWER, answered("HTTP/1.1 204 No Content\r\n\r\n")) == [""]


def test_a_refusal_names_the_write_that_failed_and_why() -> None:
    said = refused(409, "EntityAlreadyExists", "7:The specified entity already exists.")
    with pytest.raises(Refused) as known:
        decode_batch(ANSWER, answered(said))
    assert (known.value.index, known.value.status, known.value.code) == (7, 409, "EntityAlreadyExists")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html", b"<html>a proxy</html>"),
        (ANSWER, b""),
        (ANSWER, answered(done("W/1"), end="")),
        (ANSWER, answered("hello")),
        (ANSWER, answered()),
    ],
)
def test_an_answer_that_is_none_is_never_taken_for_a_success(content_type: str, body: bytes) -> None:
    with pytest.raises(NotABatchAnswer):
        decode_batch(content_type, body)


@given(cut=st.integers(0, 400), etags=st.lists(st.text("abc019", min_size=1, max_size=8), min_size=1, max_size=3))
def test_an_answer_cut_short_is_never_taken_for_a_success(cut: int, etags: list[str]) -> None:
    whole = answered(*(done(etag) for etag in etags))
    end = whole.rindex(b"--batchresponse_1--")
    with pytest.raises(NotABatchAnswer):
        decode_batch(ANSWER, whole[: max(0, end - 1 - cut)])
