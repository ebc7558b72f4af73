"""HTTP routes of folders of images, for Load Dataset. All answers but images are JSON; a refusal is {"error": "one
line"}.

GET /lora_bootstrap/folders
    {"folders": [{"name": as the widget takes it, "images": int (directly in it)}, ...]}: those that hold images, of
    input/, the host's datasets/, output/ and the pack's sandbox. At most 500.

GET /lora_bootstrap/folder?name=<folder>&recursive=<0 or 1, 1 if absent>
    What is in it, by the names of its files: none is opened.
    {"name", "images": int, "captions": int (images with a caption file), "notes": [str, ...] (the first about what is
     left out), "more_notes": int, "own": bool (made for uploads, so that files can be added),
     "pictures": [{"file": str, "thumb": "/lora_bootstrap/folder/thumb?…", "place": str (as Load Image takes it, "" if
      it does not find it)}, ...]: the first, the middle and the last}
    If there is no such folder, or it is elsewhere: {"name", "problem": one line}. The status is 200, because
    browsers log refusals as errors, and a name that is still being typed is not an error.

GET /lora_bootstrap/folder/thumb?name=<folder>&file=<file>&v=<version>
    A JPEG of at most 192 pixels a side; v changes with the file, so browsers may cache it. 204 if the image cannot be
    read, 404 if there is none of that name in the folder.

POST /lora_bootstrap/folder/file?folder=<folder>&wanted=<name>&file=<file>
    The body is a file, as application/octet-stream: an image, or a caption as text. It is put into a folder that was
    made for uploads or, without `folder`, into a new one named like `wanted`.
    {"folder": str, "name": str, "known": bool (exactly this file was there already)}. Nothing is overwritten: an image
    whose name is taken becomes `a (2).png`. 400 for any other file or folder, 413 for a file that is larger than the
    host's --max-upload-size.
"""

from __future__ import annotations

from aiohttp import web

from ...trainer.common.errors import UserError
from ...trainer.common.new_files import unnamed_file
from .. import paths
from ..folders.uploads import save_upload
from ..folders.view import folder_thumbnail, folder_view, offered_folders
from .answers import aside, get, post_file, receive_file, refusal


@get("/lora_bootstrap/folders")
async def get_folders(request: web.Request) -> web.Response:
    return web.json_response({"folders": await aside(offered_folders)})


@get("/lora_bootstrap/folder")
async def get_folder(request: web.Request) -> web.Response:
    name, recursive = request.query.get("name", ""), request.query.get("recursive", "1") != "0"
    try:
        return web.json_response(await aside(lambda: folder_view(name, recursive)))
    except UserError as error:
        return web.json_response({"name": name, "problem": str(error)})


@get("/lora_bootstrap/folder/thumb")
async def get_folder_thumb(request: web.Request) -> web.Response:
    name, file = request.query.get("name", ""), request.query.get("file", "")
    try:
        data = await aside(lambda: folder_thumbnail(name, file))
    except UserError as error:
        return refusal(404, str(error))
    if data is None:
        return web.Response(status=204)
    return web.Response(body=data, content_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})


@post_file("/lora_bootstrap/folder/file")
async def post_folder_file(request: web.Request) -> web.Response:
    folder, wanted, file = (request.query.get(name, "") for name in ("folder", "wanted", "file"))
    with unnamed_file(paths.dataset_roots()["input"] / "upload") as temp:
        await receive_file(request, temp, file, "shrink it, or start ComfyUI with a larger --max-upload-size.")
        saved = await aside(lambda: save_upload(temp, folder, wanted, file))
    return web.json_response({"folder": saved.folder, "name": saved.name, "known": saved.known})
