"""Every route refuses strangers, large bodies and foreign pages, and tells the browser to do the same."""

import pytest
from flask.testing import FlaskClient

from dashboard.security import MAX_BODY_BYTES

UPDATE = "/_dash-update-component"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[::1", "", "10.0.0.1:8050"])
def test_another_host_is_refused_on_every_route(client: FlaskClient, host: str) -> None:
    rules = [rule for rule in client.application.url_map.iter_rules() if not rule.arguments]
    assert len(rules) > 5
    for rule in rules:
        for method in sorted((rule.methods or set()) - {"OPTIONS"}):
            response = client.open(rule.rule, method=method, headers={"Host": host}, json={})
            assert response.status_code in (400, 403), rule.rule  # 400: no host at all


@pytest.mark.parametrize("host", ["127.0.0.1:8050", "localhost:8050", "[::1]:8050", "localhost"])
def test_this_machine_is_served(client: FlaskClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_site_may_not_call(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.post(UPDATE, json={}, headers=headers).status_code == 403


def test_large_bodies_are_refused(client: FlaskClient) -> None:
    response = client.post(UPDATE, data=b"x" * (MAX_BODY_BYTES + 1), content_type="application/json")
    assert response.status_code == 413


def test_every_answer_carries_the_policy(client: FlaskClient) -> None:
    for path in ("/", "/_dash-layout", "/pictures/0", "/assets/dashboard.css"):
        with client.get(path) as response:
            headers = response.headers
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert "script-src 'self' 'unsafe-eval' 'sha256-" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers


def test_the_page_names_no_other_server(client: FlaskClient) -> None:
    page = client.get("/").text
    assert "http://" not in page
    assert "https://" not in page


def test_a_broken_request_shows_no_traceback(client: FlaskClient) -> None:
    response = client.post(UPDATE, json={"output": "nonsense", "inputs": []})
    assert response.status_code >= 400
    assert "Traceback" not in response.text
    assert "site-packages" not in response.text
