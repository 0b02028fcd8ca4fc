"""What a stranger can ask the server for, and what not."""

import json
from pathlib import Path

import pytest

from profilers.collecting import application as application_module
from profilers.collecting.application import CollectingApplication, Report
from profilers.collecting.jobs import SESSION_LIFETIME_S, TOKEN_LIFETIME_S, Job, JobStore
from profilers.collecting.models import ModelFolder
from profilers.collecting.plan import PROTOCOL, Received
from profilers.collecting.secrets_and_limits import hash_secret, new_secret
from profilers.latency_table import LatencyTable
from profilers.sentinel import COMPANIONS
from search_space.errors import UsageError
from tests.profilers.collecting.conftest import HAS_RUNTIME, IPHONE, ORIGIN, PIXEL, Phone, asked_keys

pytestmark = pytest.mark.skipif(not HAS_RUNTIME, reason="needs scripts/install_browser_runtime")


def test_a_phone_measures_itself(phone: Phone, store: JobStore, table: LatencyTable, reports: list[Report]) -> None:
    phone.measure_everything()
    (job,) = store.jobs()
    assert job.status == "complete"
    assert job.device is not None
    assert job.device.name == "browser-pixel-8"
    assert job.device.operating_system == "Android 14"
    assert "in Chrome 130" in job.device.runtime
    assert reports[-1].num_done == reports[-1].num_total
    assert table.devices() == (), "nothing leaves the quarantine by itself"


def test_a_token_opens_its_job_once(phone: Phone, application: CollectingApplication) -> None:
    status, job = phone.claim()
    assert status == 200
    assert phone.claim() == (200, job), "asked again after a lost answer"
    other = Phone(application, phone.token)
    assert other.claim()[0] == 409
    assert phone.job() == (200, job)


def test_a_used_token_is_refused_before_anything_else(
    phone: Phone, application: CollectingApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, job = phone.claim()
    other = Phone(application, phone.token, user_agent=IPHONE)
    assert other.claim()[0] == 409, "whether or not it tells its model"

    def nothing_to_measure(*_: object) -> None:
        raise UsageError("nothing to measure")

    monkeypatch.setattr(application_module, "make_plan", nothing_to_measure)
    assert other.claim(model="iPhone 12")[0] == 409, "whether or not there is something to measure"
    assert phone.claim() == (200, job), "asked again after a lost answer"


def test_a_rejected_job_asks_for_nothing_and_takes_nothing(phone: Phone, store: JobStore) -> None:
    _, job = phone.claim()
    portion = phone.portion(job)
    (rejected,) = store.jobs()
    store.reject(rejected)
    status, closed = phone.job()
    assert (status, closed["work"]) == (200, None)
    assert phone.send(portion)[0] == 409
    assert store.received(rejected) == ()


def test_a_portion_is_answered_from_one_look_at_what_came_in_before(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    received_of_last_group = JobStore.received_of_last_group

    def looked_at(store: JobStore, job: Job) -> tuple[Received, ...]:
        received = received_of_last_group(store, job)
        looks.append(len(received))
        return received

    monkeypatch.setattr(JobStore, "received_of_last_group", looked_at)
    phone.measure_everything()
    assert looks == [0, *range(PROTOCOL.min_rounds)], "the claim, and one portion in a round"


def test_a_wrong_token_is_refused_and_guessing_soon_stops(phone: Phone, application: CollectingApplication) -> None:
    stranger = Phone(application, new_secret())
    assert [stranger.claim()[0] for _ in range(13)] == [401] * 10 + [429] * 3
    assert stranger.job()[0] == 429


def test_session_keys_are_asked_for(phone: Phone) -> None:
    phone.claim()
    for headers in ({}, {"authorization": "Basic x"}, {"authorization": f"Bearer {new_secret()}"}):
        assert phone.ask("GET", "/api/job", headers=headers).status == 401
        assert phone.ask("GET", "/api/models/0123456789abcdef", headers=headers).status == 401


def test_a_token_is_no_session_key_and_no_query(phone: Phone) -> None:
    assert phone.ask("GET", "/api/job", headers={"authorization": f"Bearer {phone.token}"}).status == 401
    assert phone.ask("GET", f"/api/claim?token={phone.token}").status == 404


def test_secrets_are_stored_as_hashes(phone: Phone, tmp_path: Path) -> None:
    phone.claim()
    content = b"".join(path.read_bytes() for path in tmp_path.glob("quarantine.db*"))
    assert phone.token.encode() not in content
    assert phone.session_key.encode() not in content
    assert hash_secret(phone.token).encode() in content


def test_no_address_and_no_user_agent_is_stored(phone: Phone, tmp_path: Path) -> None:
    phone.measure_everything()
    content = b"".join(path.read_bytes() for path in tmp_path.glob("quarantine.db*"))
    assert b"192.0.2.7" not in content
    assert b"Mozilla" not in content
    assert PIXEL.encode() not in content


def test_tokens_and_sessions_expire(collecting_engine, table: LatencyTable, tmp_path: Path) -> None:
    now_s = [1000.0]
    store = JobStore(collecting_engine, clock_s=lambda: now_s[0])
    application = CollectingApplication(store, table, ModelFolder(tmp_path), on_progress=lambda report: None)
    _, first = store.create(space="tiny", device_name="", max_blocks=3)
    _, second = store.create(space="tiny", device_name="", max_blocks=3)
    phone = Phone(application, first)
    assert phone.claim()[0] == 200
    now_s[0] += TOKEN_LIFETIME_S + 1
    assert Phone(application, second).claim()[0] == 401
    assert phone.job()[0] == 200
    now_s[0] += SESSION_LIFETIME_S
    assert phone.job()[0] == 401


def test_the_same_upload_counts_once(phone: Phone, store: JobStore) -> None:
    _, job = phone.claim()
    portion = phone.portion(job)
    status, following = phone.send(portion)
    assert status == 201
    assert phone.send(portion) == (200, following), "the answer was lost, the page tries again"
    assert len(store.received(store.jobs()[0])) == 1
    changed = {**portion, "samples": [{**sample, "raw_ms": 9.0} for sample in portion["samples"]]}
    assert phone.send(changed)[0] == 409, "the same upload cannot come with other samples"
    renamed = {**portion, "upload_id": "f" * 32}
    assert phone.send(renamed)[0] == 409, "the same portion cannot come twice"
    assert len(store.received(store.jobs()[0])) == 1


def test_a_reload_gets_the_work_that_was_asked_for(phone: Phone) -> None:
    _, job = phone.claim()
    _, following = phone.send(phone.portion(job))
    assert phone.job() == (200, following)


def test_a_server_that_is_started_again_knows_the_phone(
    phone: Phone, store: JobStore, table: LatencyTable, tmp_path: Path
) -> None:
    _, job = phone.claim()
    phone.application = CollectingApplication(store, table, ModelFolder(tmp_path), on_progress=lambda report: None)
    assert phone.job() == (200, job)
    assert phone.send(phone.portion(job))[0] == 201


def test_answers_to_other_jobs_are_refused(phone: Phone, application: CollectingApplication, store: JobStore) -> None:
    _, job = phone.claim()
    _, token = store.create(space="tiny", device_name="", max_blocks=12)
    other = Phone(application, token)
    _, other_job = other.claim()
    assert other.send(other.portion(job))[0] == 409
    assert phone.send(phone.portion(job, plan_id=other_job["plan_id"]))[0] == 409


def test_a_complete_job_takes_no_more(phone: Phone) -> None:
    _, job = phone.claim()
    first = phone.portion(job)
    phone.measure_everything()
    assert phone.send(first)[0] == 409


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
def test_only_json_is_read(phone: Phone, content_type: str) -> None:
    body = json.dumps(phone.claim_body()).encode()
    assert phone.ask("POST", "/api/claim", body, headers={"content-type": content_type}).status == 400


def test_a_median_that_is_sent_along_is_refused(phone: Phone) -> None:
    _, job = phone.claim()
    assert phone.send({**phone.portion(job), "median_ms": 0.1})[0] == 400


UNREACHABLE = (
    *("/..", "/../collect.py", "/%2e%2e/jobs.py", "//etc/passwd", "/runtime/../page.js", "/api/models/../job"),
    *("/package.json", "/node_modules/", "/runtime/ort.all.js", "/page.js/", "/api", "/api/jobs", "/_dash-layout"),
)


@pytest.mark.parametrize("path", UNREACHABLE)
def test_nothing_else_is_reachable(phone: Phone, path: str) -> None:
    phone.claim()
    assert phone.ask("GET", path).status == 404


def test_every_route_takes_its_own_method_only(phone: Phone) -> None:
    for method, path in (("POST", "/"), ("POST", "/page.js"), ("GET", "/api/claim"), ("POST", "/api/job")):
        assert phone.ask(method, path).status == 405


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:8061", "https://127.0.0.1:8060"])
def test_a_page_of_another_origin_is_refused(phone: Phone, origin: str) -> None:
    for method, path in (("GET", "/"), ("POST", "/api/claim"), ("OPTIONS", "/api/claim")):
        response = phone.ask(method, path, headers={"origin": origin})
        assert response.status == 403
        assert not any(name.lower().startswith("access-control") for name in response.headers)


def test_a_preflight_allows_the_own_origin_and_nothing_more(phone: Phone) -> None:
    response = phone.ask("OPTIONS", "/api/portions", headers={"origin": ORIGIN})
    assert response.status == 204
    assert response.headers == {
        "Access-Control-Allow-Origin": ORIGIN,
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": "authorization, content-type",
    }
    assert phone.ask("OPTIONS", "/api/portions", headers={}).status == 403
    asked = {"origin": ORIGIN, "access-control-request-private-network": "true"}
    assert phone.ask("OPTIONS", "/api/portions", headers=asked).headers == response.headers  # not even then


def test_models_are_those_of_the_job(phone: Phone) -> None:
    _, job = phone.claim()
    key = job["sentinel"]["key"]
    model = phone.ask("GET", f"/api/models/{key}")
    assert model.status == 200
    assert b"input_0" in model.content
    (chunk,) = job["work"]["chunks"]
    assert len(chunk["keys"]) + len(chunk["companions"]) == PROTOCOL.sentinel_every
    assert chunk["companions"][0] == COMPANIONS[0].subject_id
    assert phone.ask("GET", f"/api/models/{COMPANIONS[0].subject_id}").status == 200
    assert phone.ask("GET", "/api/models/0123456789abcdef").status == 404


def test_samples_of_an_exact_and_of_a_coarse_clock_never_mix(
    application: CollectingApplication, store: JobStore
) -> None:
    devices = []
    for has_exact_clock in (True, False):
        job, token = store.create(space="tiny", device_name="", max_blocks=1)
        Phone(application, token).claim(has_exact_clock=has_exact_clock)
        devices.append(store.job(job.job_id).device)
    exact, coarse = devices
    assert exact is not None
    assert coarse is not None
    assert exact.device_id != coarse.device_id
    assert exact.runtime.removesuffix("exact clock") == coarse.runtime.removesuffix("coarse clock")


def test_a_phone_whose_model_nobody_tells_is_asked_for_it_and_keeps_its_link(
    application: CollectingApplication, store: JobStore
) -> None:
    devices = []
    for model in ("iPhone 15 Pro", "iPhone 12"):
        job, token = store.create(space="tiny", device_name="", max_blocks=1)
        phone = Phone(application, token, user_agent=IPHONE)
        status, refusal = phone.claim()
        assert (status, "write it into the field" in refusal["error"]) == (422, True)
        assert phone.claim(model=model)[0] == 200
        devices.append(store.job(job.job_id).device)
    assert len({device.device_id for device in devices if device}) == 2, "or their rows would mix"
    assert [device.name for device in devices if device] == ["browser-iphone-15-pro", "browser-iphone-12"]
    _, token = store.create(space="tiny", device_name="browser-mine", max_blocks=1)
    assert Phone(application, token, user_agent=IPHONE).claim()[1]["device"] == "browser-mine"


def test_the_browsers_hint_tells_the_system_that_chromes_user_agent_hides(phone: Phone, store: JobStore) -> None:
    phone.claim(model="Pixel 8", system_version="16.0.0")
    (job,) = store.jobs()
    assert job.device is not None
    assert job.device.operating_system == "Android 16"


def test_the_browsers_hint_names_the_model_that_the_user_agent_hides(phone: Phone) -> None:
    _, job = phone.claim(model="Pixel 8 Pro")
    assert job["device"] == "browser-pixel-8-pro"
    assert job["num_subjects"] == len(asked_keys(job["work"])) == 12
