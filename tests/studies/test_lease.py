"""Two runs never work on one study."""

import pytest
from sqlalchemy import Engine

from profilers.storage import open_engine
from search_space.errors import UsageError
from studies.lease import study_lease


def _check_lease(engine: Engine) -> None:
    with study_lease(engine, "one"):
        with pytest.raises(UsageError, match="another run works on study 'one'"), study_lease(engine, "one"):
            pass
        with study_lease(engine, "two"):
            pass
    with study_lease(engine, "one"):
        pass


def test_a_study_in_a_file_is_held_by_one_run(search_engine: Engine) -> None:
    _check_lease(search_engine)


def test_a_study_on_a_server_is_held_by_one_run(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    _check_lease(engine)
    engine.dispose()
