"""The address names a selection, and the database is only ever read."""

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DatabaseError

from dashboard.workspace import Selection, Workspace
from search_space.errors import StorageError
from tests.studies.sample_study import STUDY


@given(name=st.text(min_size=1), trial=st.none() | st.integers(0, 999_999_999))
def test_a_selection_survives_the_address(name: str, trial: int | None) -> None:
    selection = Selection(study_name=name, trial=trial)
    assert Selection.from_search(selection.to_search()) == selection


@given(st.text())
def test_any_address_is_some_selection(search: str) -> None:
    assert isinstance(Selection.from_search(search), Selection)


def test_the_database_refuses_writes(workspace: Workspace) -> None:
    with workspace.engine().connect() as connection, pytest.raises((DatabaseError, StorageError)):
        connection.execute(sqlalchemy.text("DELETE FROM snapnas_trials"))
    assert workspace.reader().trials(STUDY)
