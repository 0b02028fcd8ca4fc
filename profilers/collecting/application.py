"""The routes of `python -m profilers.collect`: a page, its models, and what it sends back. Nothing else is reachable.

    GET  /, /page.js, /runtime/...   the page; open to everybody, it holds nothing
    POST /api/claim                  {token, session key, ...} -> the job; once for each token
    GET  /api/job                    the job again, after a reload
    GET  /api/models/KEY             a block or network as ONNX
    POST /api/portions               raw samples into quarantine -> the next portion

A token comes in the body of one POST. The URL carries it behind the "#", which a browser never sends.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from profilers.collecting.http_server import Request, Response, error_response, json_response
from profilers.collecting.jobs import Job, JobStore, TokenUsedError, WrongSecretError
from profilers.collecting.messages import SAMPLES_PER_PROBE, SCHEMA_VERSION, Claim, Message, Portion
from profilers.collecting.models import ModelFolder
from profilers.collecting.page_files import page_file
from profilers.collecting.phone import make_plan, phone_device
from profilers.collecting.plan import PROTOCOL, Received, Work, contradiction, next_work, progress_of
from profilers.collecting.secrets_and_limits import SECRET_PATTERN, FailureLimit
from profilers.collecting.strict_json import BodyError, parse_json
from profilers.latency_table import LatencyTable
from profilers.sentinel import SENTINEL
from search_space.errors import UsageError

logger = logging.getLogger(__name__)

MessageT = TypeVar("MessageT", bound=Message)

_ROUTES = {"/api/claim": "POST", "/api/job": "GET", "/api/portions": "POST"}
_MODEL_PATH = re.compile(r"/api/models/([0-9a-f]{16})")


@dataclass(frozen=True, kw_only=True)
class Report:
    """How far a job is."""

    job_id: str
    """The job."""
    device: str
    """The name of the device that it is for."""
    num_done: int
    """Samples so far; what is known counts as whole."""
    num_total: int
    """Samples at most."""

    @property
    def is_complete(self) -> bool:
        return self.num_done == self.num_total


class CollectingApplication:
    """Answers requests. Safe to use from many threads."""

    def __init__(
        self,
        store: JobStore,
        table: LatencyTable,
        models: ModelFolder,
        *,
        on_progress: Callable[[Report], None],
    ) -> None:
        """Serves the jobs of a store.

        Args:
            store: Where jobs and portions are.
            table: Says which blocks a device lacks; only read.
            models: What is measured, as ONNX.
            on_progress: Called whenever a page learns how far its job is.
        """
        self._store = store
        self._table = table
        self._models = models
        self._on_progress = on_progress
        self._limit = FailureLimit()
        self._lock = threading.Lock()  # one portion at a time: the next one depends on it

    def __call__(self, request: Request) -> Response:
        origin = request.headers.get("origin")
        if origin is not None and origin != request.own_origin:
            return error_response(403, "a page of another site may not ask this server")
        if request.method == "OPTIONS":
            return _preflight(request, origin)
        if (file := page_file(request.path)) is not None:
            if request.method != "GET":
                return error_response(405, "this is read with GET")
            return Response(status=200, content=file.content, content_type=file.content_type)
        model = _MODEL_PATH.fullmatch(request.path)
        allowed_method = "GET" if model else _ROUTES.get(request.path)
        if allowed_method is None:
            return error_response(404, "there is nothing here")
        if request.method != allowed_method:
            return error_response(405, f"this is asked for with {allowed_method}")
        if self._limit.is_over(request.address):
            return error_response(429, "too many wrong tokens; wait a minute")
        try:
            if request.path == "/api/claim":
                return self._claim(request)
            job = self._store.find_by_session(_session_key(request))
            if model:
                return self._model(job, model[1])
            if request.method == "GET":
                return self._job_response(200, job, _work(job, self._store.received_of_last_group(job)))
            return self._keep_portion(job, request)
        except WrongSecretError as error:
            self._limit.add_failure(request.address)
            return error_response(401, str(error))
        except (BodyError, TokenUsedError) as error:
            return error_response(409 if isinstance(error, TokenUsedError) else 400, str(error))

    def _claim(self, request: Request) -> Response:
        claim = _message(request, Claim)
        job = self._store.find_by_token(claim.token)
        claimed = self._store.claimed(job, claim.session_key)
        if claimed is None:
            try:
                device = phone_device(job, claim, user_agent=request.headers.get("user-agent", ""))
                plan = make_plan(job, device, self._table)
            except UsageError as error:  # such as nothing to measure
                return error_response(422, str(error))
            claimed = self._store.claim(job, claim.session_key, device=device, plan=plan)
        return self._job_response(200, claimed, _work(claimed, self._store.received_of_last_group(claimed)))

    def _model(self, job: Job, key: str) -> Response:
        assert job.plan is not None
        content = self._models.model(job.plan, key)
        if content is None:
            return error_response(404, "this model is not part of the job")
        return Response(status=200, content=content, content_type="application/octet-stream")

    def _keep_portion(self, job: Job, request: Request) -> Response:
        portion = _message(request, Portion)
        assert job.plan is not None
        if portion.plan_id != job.plan.plan_id:
            return error_response(409, "this is the answer to another question")
        with self._lock:
            received = self._store.received_of_last_group(job)
            work = _work(job, received)
            if self._store.has_upload(job, portion):
                return self._job_response(200, job, work)
            if work is None:
                return error_response(409, "the job takes no more samples")
            problem = contradiction(portion, work)
            if problem is not None:
                logger.warning("the job %s: a portion was refused, because %s", job.job_id, problem)
                return error_response(409, problem)
            new = Received(portion=portion, received_at=time.time())
            following = _work(job, (*received, new))
            if not self._store.add_portion(job, new, is_last=following is None):
                return error_response(409, "this upload is there already, or the job takes no more samples")
            return self._job_response(201, job, following)

    def _job_response(self, status: int, job: Job, work: Work | None) -> Response:
        assert job.plan is not None
        assert job.device is not None
        num_done, num_total = progress_of(job.plan, work)
        report = Report(job_id=job.job_id, device=job.device.name, num_done=num_done, num_total=num_total)
        self._on_progress(report)
        document = {
            "schema_version": SCHEMA_VERSION,
            "plan_id": job.plan.plan_id,
            "space": job.space,
            "device": job.device.name,
            "num_subjects": len(job.plan.subjects),
            "what": job.what,
            "num_done": num_done,
            "num_total": num_total,
            "sentinel": {
                "key": SENTINEL.subject_id,
                "num_samples": SAMPLES_PER_PROBE,
            },
            "num_passes": PROTOCOL.num_passes,
            "work": None
            if work is None
            else {
                "group_index": work.group_index,
                "round_index": work.round_index,
                "portion_index": work.portion_index,
                "chunks": [
                    {
                        "kind": chunk.kind,
                        "keys": [subject.subject_id for subject in chunk.subjects],
                        "companions": [subject.subject_id for subject in chunk.companions],
                    }
                    for chunk in work.chunks
                ],
            },
        }
        return json_response(status, document)


def _work(job: Job, received: Sequence[Received]) -> Work | None:
    """What the job asks for next; None once it is closed, whether or not it was measured to its end."""
    assert job.plan is not None
    return next_work(job.plan, received) if job.status == "collecting" else None


def _preflight(request: Request, origin: str | None) -> Response:
    """The page asks its own server only, so a preflight says no more than that its own origin may."""
    if origin is None or request.path not in _ROUTES:
        return error_response(403, "there is nothing to ask for")
    headers = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": _ROUTES[request.path],
        "Access-Control-Allow-Headers": "authorization, content-type",
    }
    return Response(status=204, headers=headers)


def _session_key(request: Request) -> str:
    scheme, _, session_key = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or re.fullmatch(SECRET_PATTERN, session_key) is None:
        raise WrongSecretError("this asks for the session key of a claimed job")
    return session_key


def _message(request: Request, message_type: type[MessageT]) -> MessageT:
    """Reads the body as one strict message."""
    content_type = request.headers.get("content-type", "").lower().replace(" ", "")
    if content_type not in ("application/json", "application/json;charset=utf-8"):
        raise BodyError("the body has to be application/json")
    try:
        return message_type.model_validate(parse_json(request.body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))[:100]
        raise BodyError(f"{where or 'the body'}: {first['msg'][:200]}") from error
