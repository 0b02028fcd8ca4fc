"""What `python -m profilers.collect` does, each as a text for people and a document for programs."""

import datetime
import ipaddress
import logging
import queue
import re
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine

from profilers.backends.registry import DEVICE_NAMES, is_backend_name
from profilers.collecting.accepting import Outlier, accept, outliers
from profilers.collecting.application import CollectingApplication, Report
from profilers.collecting.http_server import Tls, serving
from profilers.collecting.jobs import Job, JobStore
from profilers.collecting.models import ModelFolder
from profilers.collecting.page_files import runtime_version
from profilers.collecting.plan import samples_of
from profilers.collecting.watching import watch_pages
from profilers.latency_table import LatencyTable
from profilers.measurement import Sample
from profilers.subject import Subject
from search_space.errors import UsageError
from search_space.spaces import search_space

logger = logging.getLogger(__name__)

Result = tuple[str, dict[str, object]]
_MAX_SHOWN_OUTLIERS = 5
_LAST_ANSWER_S = 0.5  # the page has to learn that it is done before the server is gone


def serve_job(
    engine: Engine,
    *,
    space: str,
    device_name: str,
    max_blocks: int | None,
    num_networks: int,
    listen: str,
    port: int,
    tls: Tls | None,
) -> Result:
    """Opens one job and serves until it is complete."""
    search_space(space)  # a wrong name is an error before anything is opened
    runtime_version()
    if device_name:
        _check_name(device_name)
    address = _address(listen)
    store, table = JobStore(engine), LatencyTable(engine)
    reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="snapnas-collecting-") as folder:
        application = CollectingApplication(store, table, ModelFolder(Path(folder)), on_progress=reports.put)
        with serving(application, address=address, port=port, tls=tls) as served_port:
            url = _url(address, served_port, tls)
            unfinished = store.unfinished()
            job, token = store.create(
                space=space, device_name=device_name, max_blocks=max_blocks, num_networks=num_networks
            )
            _invite(f"{url}/#{token}", unfinished, is_plain=_is_plain(address, tls))
            job_id = watch_pages(reports, job.job_id)
            time.sleep(_LAST_ANSWER_S)
    return _result(store.job(job_id), store, table)


def list_jobs(engine: Engine) -> Result:
    """Every job that a page has opened, with what does not fit."""
    store, table = JobStore(engine), LatencyTable(engine)
    results = [_result(job, store, table) for job in store.jobs() if job.status != "waiting"]
    text = "\n".join(text for text, _ in results) or "nothing was collected yet"
    return text, {"jobs": [document for _, document in results]}


def accept_job(engine: Engine, job_id: str, *, with_outliers: bool) -> Result:
    """Takes a job into the latency table."""
    store = JobStore(engine)
    job = store.job(job_id)
    accepted = accept(job, store, LatencyTable(engine), engine, with_outliers=with_outliers)
    name = f"{accepted.device.name} ({accepted.device.device_id})"
    text = f"{name}: {accepted.num_measured} {job.what} are in the table"
    if accepted.num_failed:
        text += f", {accepted.num_failed} failed"
    if accepted.num_left:
        text += f", {accepted.num_left} are left for another job"
    return text, {
        "job": job_id,
        "device": accepted.device.name,
        "device_id": accepted.device.device_id,
        "num_measured": accepted.num_measured,
        "num_failed": accepted.num_failed,
        "num_left": accepted.num_left,
    }


def reject_job(engine: Engine, job_id: str) -> Result:
    """Marks a job as never to be taken; its samples stay where they are."""
    store = JobStore(engine)
    if not store.reject(store.job(job_id)):
        raise UsageError(f"the job {job_id} is accepted already, in whole or in part", allowed="a job in quarantine")
    return f"the job {job_id} is rejected", {"job": job_id, "status": "rejected"}


def _check_name(device_name: str) -> None:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", device_name) is None:
        raise UsageError(f"--name {device_name!r} was given", allowed="up to 40 letters, digits, dots and dashes")
    if is_backend_name(device_name):  # whoever asked for the phone would be given the other device
        raise UsageError(
            f"--name {device_name} was given, which SnapNAS calls another device",
            allowed=f"every name but {', '.join(DEVICE_NAMES)}",
            fix=f"--name browser-{device_name}",
        )


def _result(job: Job, store: JobStore, table: LatencyTable) -> Result:
    samples: dict[Subject, list[Sample]] = {}
    failures: dict[str, str] = {}
    found: tuple[Outlier, ...] = ()
    if job.device is not None and job.plan is not None:
        samples, failures = samples_of(job.plan, store.received(job))
        found = outliers(job.device, samples, table)
    device = job.device.name if job.device else job.device_name or "no phone yet"
    created = datetime.datetime.fromtimestamp(job.created_at, datetime.UTC).isoformat(timespec="seconds")
    num_samples = sum(map(len, samples.values()))
    lines = [f"{job.job_id}  {created}  {job.status:10}  {device}, {job.space}: {len(samples)} {job.what}, "]
    lines[0] += f"{num_samples} samples, {len(failures)} failed, {len(found)} do not fit other devices"
    lines += [_outlier_line(outlier) for outlier in found[:_MAX_SHOWN_OUTLIERS]]
    if job.status in ("collecting", "complete"):
        what = "accept" if job.status == "complete" else "end it and accept what is there"
        lines.append(f"{what}: python -m profilers.collect --accept {job.job_id}")
    return "\n".join(lines), {
        "job": job.job_id,
        "status": job.status,
        "created_at": created,
        "space": job.space,
        "device": device,
        "device_id": job.device.device_id if job.device else None,
        "num_blocks": sum(subject.kind == "block" for subject in samples),
        "num_networks": sum(subject.kind == "network" for subject in samples),
        "num_samples": num_samples,
        "num_failed": len(failures),
        "outliers": [
            {"spec": item.subject.text, "median_ms": item.median_ms, "expected_ms": item.expected_ms} for item in found
        ],
    }


def _outlier_line(outlier: Outlier) -> str:
    return f"    {outlier.median_ms:.4g} ms, expected {outlier.expected_ms:.4g} ms: {outlier.subject.text[:100]}"


def _invite(url: str, unfinished: Sequence[Job], *, is_plain: bool) -> None:
    import segno

    if is_plain:
        logger.warning(
            "plain HTTP: everybody in this network can read along, and a phone's browser gives the page one thread, "
            "no WebGPU and a coarse clock (--tls-cert and --tls-key change that)"
        )
    for name in dict.fromkeys(job.device.name for job in unfinished if job.device):
        print(f"\n{name} is not done: reload its page to go on; it needs no new link", file=sys.stderr)
    phone = "another phone" if unfinished else "the phone"
    print(f"\nopen this on {phone}, once, within 30 minutes (Ctrl-C ends):\n\n    {url}\n", file=sys.stderr)
    segno.make(url, error="l").terminal(out=sys.stderr, compact=True)


def _url(address: str, port: int, tls: Tls | None) -> str:
    host = _lan_address() if address in ("0.0.0.0", "::") else address
    host = f"[{host}]" if ":" in host else host
    return f"{'http' if tls is None else 'https'}://{host}:{port}"


def _address(listen: str) -> str:
    try:
        match listen:
            case "lan":
                return _lan_address()
            case "localhost":
                return "127.0.0.1"
            case _:
                return str(ipaddress.ip_address(listen))
    except ValueError as error:
        raise UsageError(f"--listen {listen!r} was given", allowed="lan, localhost or an IP address") from error


def _is_plain(address: str, tls: Tls | None) -> bool:
    """Whether others in a network can read along."""
    return tls is None and not ipaddress.ip_address(address).is_loopback


def _lan_address() -> str:
    """The address of this machine that its network sees. Connecting a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError as error:
            raise UsageError("this machine is in no network", fix="give the address to --listen") from error
        return str(probe.getsockname()[0])
