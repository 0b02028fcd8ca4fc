"""The Optuna side of a study: its storage in our database, its sampler, its constraint."""

import contextlib
import hashlib
import warnings
from collections.abc import Iterator
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from sqlalchemy import Engine

from profilers.storage import BUSY_TIMEOUT_S, display_url, schema_lock
from search_space.errors import StorageError
from studies.config import StudyConfig

LATENCY_CONSTRAINT = "latency_budget"


@contextlib.contextmanager
def open_optuna_study(engine: Engine, study_name: str, config: StudyConfig) -> Iterator[optuna.Study]:
    """The study of that name, created if it is not there; whether it is the same study is the fingerprint's to say.

    Optuna's own connections are closed at the end of the `with` block.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = engine.url.render_as_string(hide_password=False)
    with storage_errors(engine), schema_lock(engine):
        storage = optuna.storages.RDBStorage(url, engine_kwargs=_engine_kwargs(engine))
        study = optuna.create_study(
            storage=storage,
            study_name=study_name,
            directions=[objective.direction for objective in config.objectives],
            load_if_exists=True,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([objective.name for objective in config.objectives])
    try:
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def sampler_for(config: StudyConfig, number: int) -> optuna.samplers.BaseSampler:
    """The sampler that proposes trial `number`.

    A new one for every trial, seeded by its number: what is proposed depends on the trials that are stored and on
    nothing that a kill could lose. Plain TPE proposes the same architecture again and again (63 % in a space of 3^12);
    multivariate and by groups it does so far less, and copes with decisions that open others.
    """
    digest = hashlib.sha256(f"sampler {config.seed} {number}".encode()).digest()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return optuna.samplers.TPESampler(
            multivariate=True,
            group=True,
            n_startup_trials=config.num_random_trials,
            seed=int.from_bytes(digest[:4], "big"),
        )


@contextlib.contextmanager
def storage_errors(engine: Engine) -> Iterator[None]:
    """Turns what Optuna says about a database that is gone into our error."""
    try:
        yield
    except StorageInternalError as error:
        cause = str(error.__cause__ or error).strip().splitlines()[0]
        raise StorageError(
            f"the database {display_url(engine.url)} does not work: {cause}",
            fix="see that it can be reached, then type the same command again to resume",
        ) from error


def _engine_kwargs(engine: Engine) -> dict[str, Any]:
    if engine.dialect.name == "sqlite":
        return {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
    return {"pool_pre_ping": True}  # or the first connection that the server drops ends the study
