"""A phone as a device of the latency table, and the plan that fits it."""

import itertools
import re
import secrets
from dataclasses import replace

from profilers.block_places import telling_order
from profilers.collecting.jobs import Job
from profilers.collecting.messages import Claim
from profilers.collecting.page_files import runtime_version
from profilers.collecting.plan import Plan
from profilers.collecting.user_agent import Browser, reduce_user_agent
from profilers.device import Device
from profilers.latency_table import LatencyTable
from profilers.subject import Subject
from search_space.errors import UsageError
from search_space.space import distinct_archs, reachable_specs
from search_space.spaces import search_space


def phone_device(job: Job, claim: Claim, *, user_agent: str) -> Device:
    """The device that keys the phone's rows: made of what it is, never of whose it is.

    Raises:
        UsageError: Nobody says which model it is, so that other phones would be the same device.
    """
    browser = reduce_user_agent(user_agent, has_touch=claim.max_touch_points > 1)
    if claim.model is not None:
        browser = replace(browser, model=claim.model)
    elif browser.is_model_hidden and not job.device_name:
        raise UsageError("this browser does not tell which model it runs on; write it into the field above Start")
    if claim.system_version is not None and browser.operating_system.startswith("Android"):
        browser = replace(browser, operating_system=f"Android {claim.system_version.partition('.')[0]}")
    cores = f"{claim.num_cores} cores" if claim.num_cores else "cores unknown"
    # By an exact clock blocks run in turn, by a coarse one they are looped, which is faster: they never mix. Nor do
    # they with rows of earlier versions, which did not name an exact clock: there networks ran in turn as well.
    clock = "exact clock" if claim.has_exact_clock else "coarse clock"
    return Device(
        name=job.device_name or device_name_of(browser),
        backend="browser",
        hardware=f"{browser.model}, {cores}",
        operating_system=browser.operating_system,
        runtime=f"onnxruntime-web {runtime_version()} {claim.provider} in {browser.browser}, {clock}",
        precision="fp32",
        threads=claim.threads,
    )


def device_name_of(browser: Browser) -> str:
    """`browser-pixel-8`."""
    return "browser-" + re.sub(r"[^a-z0-9]+", "-", browser.model.lower()).strip("-")


def make_plan(job: Job, device: Device, table: LatencyTable) -> Plan:
    """The blocks of the job's space, and the networks, without a latency of the device; where the job takes only some
    blocks, those that say most of the others.

    What failed in an earlier job is among them: the phone may have been locked, or its page reloaded, while it loaded.
    Nobody can ask for it otherwise. Of some blocks it comes last, so that it keeps no other block out job after job.

    Raises:
        UsageError: The table lacks none.
    """
    space = search_space(job.space)
    coverage = table.coverage(reachable_specs(space), device)
    specs = [*coverage.missing, *coverage.failed]
    if job.max_blocks is not None:
        in_order = itertools.chain(telling_order(coverage.missing, known=coverage.known), coverage.failed)
        specs = list(itertools.islice(in_order, job.max_blocks))
    networks = list(map(Subject.of_network, distinct_archs(space, job.num_networks, seed=0)))
    records = table.records(device, networks)
    lacking = [network for network in networks if network not in records or not records[network].has_latency]
    subjects = [*map(Subject.of_block, specs), *lacking]
    if not subjects:
        wanted = "every block" if not networks else "every block and network"
        raise UsageError(f"nothing to measure: the table holds {wanted} of {job.space} for {device.name}")
    nonce = secrets.token_hex(16)
    return Plan.of_subjects(subjects, seed=int(nonce[:8], 16), nonce=nonce)
