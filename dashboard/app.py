"""Puts the dashboard together: page, callbacks, downloads, protection. It needs no torch."""

from importlib import resources

from dash import Dash
from flask import Flask

from dashboard.callbacks import add_callbacks
from dashboard.downloads import add_downloads
from dashboard.layout import page
from dashboard.security import protect
from dashboard.workspace import Workspace

_INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
{%metas%}
<title>{%title%}</title>
{%favicon%}
<style>THEME</style>
{%css%}
</head>
<body>
{%app_entry%}
<footer>
{%config%}
{%scripts%}
{%renderer%}
</footer>
</body>
</html>
"""


def build_app(workspace: Workspace) -> Flask:
    """The dashboard of a workspace as a WSGI application; nothing in it loads from another server."""
    theme = resources.files("studies").joinpath("theme.css").read_text(encoding="utf-8")
    app = Dash(
        "dashboard",
        title="SnapNAS",
        update_title="SnapNAS",
        index_string=_INDEX.replace("THEME", theme),
        serve_locally=True,
        suppress_callback_exceptions=True,  # a trial's components come and go
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )
    app.layout = page
    add_callbacks(app, workspace)
    add_downloads(app.server, workspace)
    protect(app.server, script_hashes=app.csp_hashes())
    server: Flask = app.server
    return server
