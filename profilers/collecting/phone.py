"""A phone as a device of the latency table, and the plan that fits it."""

import re
import secrets
from dataclasses import replace

from profilers.collecting.jobs import Job
from profilers.collecting.messages import Claim
from profilers.collecting.page_files import runtime_version
from profilers.collecting.plan import Plan
from profilers.collecting.user_agent import Browser, reduce_user_agent
from profilers.device import Device
from profilers.latency_table import LatencyTable
from profilers.subject import Subject
from search_space.errors import UsageError
from search_space.space import reachable_specs
from search_space.spaces import search_space


def phone_device(job: Job, claim: Claim, *, user_agent: str) -> Device:
    """The device that keys the phone's rows: made of what it is, never of whose it is."""
    browser = reduce_user_agent(user_agent)
    if claim.model is not None and browser.operating_system.startswith("Android"):
        browser = replace(browser, model=claim.model)
    cores = f"{claim.num_cores} cores" if claim.num_cores else "cores unknown"
    clock = (
        "" if claim.is_isolated else ", coarse clock"
    )  # looped blocks are faster than blocks in turn: never mix them
    return Device(
        name=job.device_name or device_name_of(browser),
        backend="browser",
        hardware=f"{browser.model}, {cores}",
        operating_system=browser.operating_system,
        runtime=f"onnxruntime-web {runtime_version()} {claim.provider} in {browser.browser}{clock}",
        precision="fp32",
        threads=claim.threads,
    )


def device_name_of(browser: Browser) -> str:
    """`browser-pixel-8`."""
    return "browser-" + re.sub(r"[^a-z0-9]+", "-", browser.model.lower()).strip("-")


def make_plan(job: Job, device: Device, table: LatencyTable) -> Plan:
    """The blocks of the job's space that the table lacks for the device, as many as the job takes.

    Raises:
        UsageError: The table lacks none.
    """
    nonce = secrets.token_hex(16)
    missing = table.coverage(reachable_specs(search_space(job.space)), device).missing
    if not missing:
        raise UsageError(f"nothing to measure: the table holds every block of {job.space} for {device.name}")
    plan = Plan.of_specs(missing, seed=int(nonce[:8], 16), nonce=nonce)
    if job.max_blocks is None:
        return plan
    chosen = {subject for subject in plan.subjects[: job.max_blocks]}  # a random choice: the plan's order is random
    specs = [spec for spec in missing if Subject.of_block(spec) in chosen]
    return Plan.of_specs(specs, seed=plan.seed, nonce=nonce)
