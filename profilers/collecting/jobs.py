"""The quarantine: jobs, the portions that came in for them, and who may speak for them. Nothing here is a latency yet.

Everything is in the workspace's database, so a server that is started again knows the phones of the one before.
"""

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import sqlalchemy
from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from profilers.collecting.messages import Portion
from profilers.collecting.plan import Plan, Received
from profilers.collecting.secrets_and_limits import hash_secret, matches, new_secret
from profilers.collecting.tables import CollectingBase, JobRow, PortionRow
from profilers.device import Device
from profilers.storage import create_tables
from search_space.errors import SnapNASError, UsageError

Status = Literal["waiting", "collecting", "complete", "accepted", "rejected"]

TOKEN_LIFETIME_S = 30 * 60.0
SESSION_LIFETIME_S = 24 * 3600.0


class WrongSecretError(SnapNASError):
    """No job is open under this token or session key, or not any more."""


class TokenUsedError(SnapNASError):
    """The token has opened its job already, for another page, or the job was rejected."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One list of blocks and networks for one device."""

    job_id: str
    """12 hex digits; what a person types to accept it."""
    space: str
    """The search space whose blocks are measured."""
    device_name: str
    """The name that was given with the job, or empty."""
    max_blocks: int | None
    """How many blocks at most; None for all that are missing."""
    num_networks: int
    """How many whole networks beside them, those that `profilers.check` draws as well."""
    created_at: float
    """Seconds since 1970."""
    status: Status
    """waiting for a page, collecting, complete, accepted or rejected."""
    device: Device | None
    """None before a page claimed the job, and so is the plan."""
    plan: Plan | None
    """The blocks and networks asked for."""
    campaign_id: int | None
    """The latency table's campaign, once it is being accepted."""

    @property
    def what(self) -> str:
        """What it asks for, in a word for people."""
        return "blocks and networks" if self.num_networks else "blocks"


class JobStore:
    """Every job of one workspace. Cheap to make; safe to use from many threads."""

    def __init__(self, engine: Engine, *, clock_s: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock_s = clock_s
        create_tables(engine, CollectingBase.metadata)

    # Jobs

    def create(self, *, space: str, device_name: str, max_blocks: int | None, num_networks: int = 0) -> tuple[Job, str]:
        """Opens a job; returns it with the token that one page can claim it with."""
        job_id, token = secrets.token_hex(6), new_secret()
        row = JobRow(
            job_id=job_id,
            space=space,
            device_name=device_name,
            max_blocks=max_blocks,
            num_networks=num_networks,
            created_at=self._clock_s(),
            token_hash=hash_secret(token),
            token_expires_at=self._clock_s() + TOKEN_LIFETIME_S,
            status="waiting",
        )
        with Session(self._engine) as session, session.begin():
            session.add(row)
        return self.job(job_id), token

    def job(self, job_id: str) -> Job:
        """Reads one job.

        Raises:
            UsageError: There is none with this id.
        """
        with Session(self._engine) as session:
            row = session.get(JobRow, job_id)
            if row is None:
                raise UsageError(f"there is no collected job {job_id!r}", fix="python -m profilers.collect --list")
            return _job(row)

    def jobs(self) -> tuple[Job, ...]:
        """Every job, oldest first."""
        with Session(self._engine) as session:
            return tuple(map(_job, session.scalars(select(JobRow).order_by(JobRow.created_at, JobRow.job_id))))

    def unfinished(self) -> tuple[Job, ...]:
        """The jobs that a page can go on with, oldest first."""
        can_go_on = (JobRow.status == "collecting") & (JobRow.session_expires_at > self._clock_s())
        with Session(self._engine) as session:
            return tuple(map(_job, session.scalars(select(JobRow).where(can_go_on).order_by(JobRow.created_at))))

    def close(self, job: Job) -> None:
        """Ends a job whose page is at work: nothing more is asked for or taken."""
        self._change(job, JobRow.status == "collecting", status="complete")

    def set_campaign(self, job: Job, campaign_id: int) -> bool:
        """Names the campaign that takes a complete job's samples; False if it was accepted or rejected meanwhile."""
        is_free = (JobRow.status == "complete") & JobRow.campaign_id.is_(None)
        return self._change(job, is_free, campaign_id=campaign_id)

    def set_accepted(self, job: Job) -> None:
        """Says that everything that the campaign takes is in the latency table."""
        self._change(job, JobRow.campaign_id.is_not(None), status="accepted")

    def reject(self, job: Job) -> bool:
        """Closes the job for good; False if it has a campaign, so that its samples may be in the latency table."""
        return self._change(job, JobRow.campaign_id.is_(None), status="rejected")

    def _change(self, job: Job, condition: sqlalchemy.ColumnElement[bool], **values: object) -> bool:
        """Changes the job if the condition holds now, whatever it was when the job was read; says whether it did."""
        statement = update(JobRow).where(JobRow.job_id == job.job_id, condition).values(**values)
        with self._engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    # Who speaks for a job

    def find_by_token(self, token: str) -> Job:
        """The job that the token opens, claimed or not.

        Raises:
            WrongSecretError: There is none, or its time is over.
        """
        is_open = JobRow.token_expires_at > self._clock_s()
        return self._find(token, "token_hash", is_open)

    def find_by_session(self, session_key: str) -> Job:
        """The job that the session key speaks for.

        Raises:
            WrongSecretError: There is none, or its time is over.
        """
        return self._find(session_key, "session_hash", JobRow.session_expires_at > self._clock_s())

    def _find(self, secret: str, column: str, is_open: sqlalchemy.ColumnElement[bool]) -> Job:
        with Session(self._engine) as session:
            rows = session.scalars(select(JobRow).where(is_open)).all()
            found = [row for row in rows if matches(secret, getattr(row, column) or "")]  # looks at every row
            if not found:
                raise WrongSecretError("no job is open under this link")
            return _job(found[0])

    def claim(self, job: Job, session_key: str, *, device: Device, plan: Plan) -> Job:
        """Binds the job to one page and its device.

        Raises:
            TokenUsedError: Another page was first, or the job was rejected.
        """
        self._change(  # one page wins, whatever the timing
            job,
            JobRow.status == "waiting",
            session_hash=hash_secret(session_key),
            session_expires_at=self._clock_s() + SESSION_LIFETIME_S,
            device=device.to_json(),
            plan=plan.to_json(),
            status="collecting",
        )
        claimed = self.claimed(job, session_key)
        assert claimed is not None
        return claimed

    def claimed(self, job: Job, session_key: str) -> Job | None:
        """The job as the page with this session key claimed it; None as long as no page has.

        Raises:
            TokenUsedError: Another page was first, or the job was rejected.
        """
        with Session(self._engine) as session:
            row = session.get_one(JobRow, job.job_id)
            if row.status == "waiting":
                return None
            if not matches(session_key, row.session_hash or ""):
                raise TokenUsedError("this link has been used by another page, or its job was rejected")
            return _job(row)

    # What came in

    def add_portion(self, job: Job, received: Received, *, is_last: bool) -> bool:
        """Keeps a portion, and with the last one the job is complete: both or, if the process dies now, neither.

        Returns:
            Whether it was kept; not if this upload or this portion is there already, or the job takes no more.
        """
        portion = received.portion
        values = {
            "upload_id": portion.upload_id,
            "job_id": job.job_id,
            "group_index": portion.group_index,
            "round_index": portion.round_index,
            "portion_index": portion.portion_index,
            "received_at": received.received_at,
            "content": _portion_json(portion),
        }
        is_open = (JobRow.job_id == job.job_id) & (JobRow.status == "collecting")
        status: Status = "complete" if is_last else "collecting"
        try:
            with self._engine.begin() as connection:
                if connection.execute(update(JobRow).where(is_open).values(status=status)).rowcount == 0:
                    return False
                connection.execute(insert(PortionRow).values(**values))
        except IntegrityError:
            return False
        return True

    def has_upload(self, job: Job, portion: Portion) -> bool:
        """Whether this very upload came in before, for this job and with this content."""
        with Session(self._engine) as session:
            row = session.get(PortionRow, portion.upload_id)
            return row is not None and (row.job_id, row.content) == (job.job_id, _portion_json(portion))

    def received(self, job: Job) -> tuple[Received, ...]:
        """Everything that came in for the job, in order."""
        return self._received(PortionRow.job_id == job.job_id)

    def received_of_last_group(self, job: Job) -> tuple[Received, ...]:
        """What came in for the last group that anything came in for: all that decides what is asked for next."""
        is_of_job = PortionRow.job_id == job.job_id
        last_group = select(sqlalchemy.func.max(PortionRow.group_index)).where(is_of_job).scalar_subquery()
        return self._received(is_of_job & (PortionRow.group_index == last_group))

    def _received(self, condition: sqlalchemy.ColumnElement[bool]) -> tuple[Received, ...]:
        order = (PortionRow.group_index, PortionRow.round_index, PortionRow.portion_index)
        with Session(self._engine) as session:
            rows = session.scalars(select(PortionRow).where(condition).order_by(*order))
            return tuple(
                Received(portion=Portion.model_validate_json(row.content), received_at=row.received_at) for row in rows
            )


def _portion_json(portion: Portion) -> str:
    return json.dumps(portion.model_dump(), sort_keys=True)


def _job(row: JobRow) -> Job:
    return Job(
        job_id=row.job_id,
        space=row.space,
        device_name=row.device_name,
        max_blocks=row.max_blocks,
        num_networks=row.num_networks,
        created_at=row.created_at,
        status=cast(Status, row.status),
        device=None if row.device is None else Device.from_json(row.device),
        plan=None if row.plan is None else Plan.from_json(row.plan),
        campaign_id=row.campaign_id,
    )
