"""What the dashboard serves besides its page: pictures and architectures' JSON, by id and never by path."""

from flask import Flask, Response, abort, request

from dashboard.workspace import Selection, Workspace
from search_space.errors import SnapNASError
from studies.pictures import picture_type


def add_downloads(server: Flask, workspace: Workspace) -> None:
    """Adds the two routes; whatever the database does not know is 404."""

    @server.get("/pictures/<sha256>")
    def picture(sha256: str) -> Response:
        selection = Selection.from_search(request.query_string.decode(errors="replace"))
        if selection.study_name is None or selection.trial is None:
            abort(404)
        try:
            content = workspace.picture(selection.study_name, selection.trial, sha256)
        except SnapNASError:
            abort(404)
        if content is None:
            abort(404)
        response = Response(content, mimetype=picture_type(content))
        response.headers["Cache-Control"] = "private, max-age=31536000, immutable"  # the hash names the content
        return response

    @server.get("/arch/<arch_id>.json")
    def arch(arch_id: str) -> Response:
        try:
            text = workspace.reader().arch(arch_id).to_json(indent=2)
        except SnapNASError:
            abort(404)
        response = Response(text + "\n", mimetype="application/json")
        response.headers["Content-Disposition"] = f'attachment; filename="arch-{arch_id}.json"'
        return response


def picture_url(selection: Selection, sha256: str) -> str:
    return f"/pictures/{sha256}{selection.to_search()}"


def arch_url(arch_id: str) -> str:
    return f"/arch/{arch_id}.json"
