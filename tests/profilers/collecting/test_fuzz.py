"""Ten thousand broken uploads: each is answered with 2xx or 4xx, and only whole ones are in the database."""

import http.client
import json
import random
import resource
from typing import Any

import pytest

from profilers.collecting.http_server import serving
from profilers.collecting.jobs import JobStore
from profilers.collecting.strict_json import MAX_ITEMS
from tests.profilers.collecting.conftest import Phone

NUM_BODIES = 10_000
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**63, 1e308, -0.0, 1e-320, "", "x", "\0", "\ud800", "0" * 32, "f" * 16),
    *("<img src=x onerror=alert(1)>", "../../etc/passwd", [], {}, [[[[[[[[]]]]]]]], {"a": {"b": 1}}, "x" * 5000),
)


def mutated(document: Any, generator: random.Random) -> Any:
    """The document with one value somewhere in it changed, doubled or left out."""
    if isinstance(document, dict) and document and generator.random() < 0.95:
        key = generator.choice(list(document))
        match generator.randrange(8):
            case 0:
                return {name: value for name, value in document.items() if name != key}
            case 1:
                return {**document, generator.choice(["x", "__proto__", "median_ms", key + " "]): 1}
            case _:
                return {**document, key: mutated(document[key], generator)}
    if isinstance(document, list) and document and generator.random() < 0.9:
        index = generator.randrange(len(document))
        match generator.randrange(6):
            case 0:
                return document[:index] + document[index + 1 :]
            case 1:
                return [*document, document[index]]
            case _:
                return [*document[:index], mutated(document[index], generator), *document[index + 1 :]]
    return generator.choice(VALUES)


def mutated_bytes(body: bytes, generator: random.Random) -> bytes:
    """The body with some bytes changed, cut or repeated."""
    start, end = sorted(generator.randrange(len(body) + 1) for _ in range(2))
    match generator.randrange(5):
        case 0:
            return body[:start]
        case 1:
            return body[:start] + generator.randbytes(generator.randrange(1, 9)) + body[start:]
        case 2:
            return body[:start] + body[end:]
        case 3:
            return body[:end] + body[start:end] + body[end:]
        case _:
            return body[:start] + bytes([generator.choice(b'[]{}",:0e-.\\')]) * generator.randrange(1, 300) + body[end:]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_mutated_bodies_change_nothing(phone: Phone, store: JobStore) -> None:
    generator = random.Random(0)
    _, document = phone.claim()
    (job,) = store.jobs()
    good = phone.portion(document)
    claim = phone.claim_body()
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    num_accepted = 0
    statuses = set()
    for index in range(NUM_BODIES):
        path, template = ("/api/portions", good) if index % 4 else ("/api/claim", claim)
        whole = json.dumps(template).encode()
        body = json.dumps(mutated(template, generator)).encode() if index % 2 else mutated_bytes(whole, generator)
        if body == whole:
            continue
        response = phone.ask("POST", path, body)
        statuses.add(response.status)
        assert 200 <= response.status < 300 or 400 <= response.status < 500, (response.status, body)
        if response.status == 201:
            num_accepted += 1
            document = json.loads(response.content)
            good = phone.portion(document) if document["work"] is not None else good
        phone.application._limit._failures.clear()  # a wrong token in a claim is no reason to stop here
    assert {200, 400, 409} <= statuses
    received = store.received(store.job(job.job_id))
    assert len(received) == num_accepted
    assert [item.portion.plan_id for item in received] == [good["plan_id"]] * num_accepted
    assert len(store.jobs()) == 1
    growth_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_before) / 1024
    assert growth_mib < 200


def test_mutated_bodies_over_a_real_connection_are_answered(phone: Phone) -> None:
    generator = random.Random(1)
    _, document = phone.claim()
    good = phone.portion(document)
    whole = json.dumps(good).encode()
    headers = {"Authorization": f"Bearer {phone.session_key}", "Content-Type": "application/json"}
    with serving(phone.application, address="127.0.0.1", port=0) as port:
        for index in range(200):
            body = json.dumps(mutated(good, generator)).encode() if index % 2 else mutated_bytes(whole, generator)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("POST", "/api/portions", body, headers)
            status = connection.getresponse().status
            connection.close()
            assert 200 <= status < 300 or 400 <= status < 500, (status, body)


def test_the_largest_bodies_are_answered(phone: Phone) -> None:
    phone.claim()
    size = 2**20
    bodies = (
        b"[" * size,
        b'{"a":' * (size // 5),
        b'["' + b"\\" * (size - 2),
        b'"' + b'\\"' * (size // 2 - 1),
        b"[" + b"0," * MAX_ITEMS + b"0]",
    )
    for body in bodies:
        for path in ("/api/portions", "/api/claim"):
            assert phone.ask("POST", path, body).status == 400
