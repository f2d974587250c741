"""The page's server: what may be asked of it, of one study at a time.

Every answer to a deed is the whole state after it. Every deed says on which version of
the state it was done, so that no second window changes a study that it does not show.
"""

import dataclasses
import json
import tempfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scarseg_jax.errors import InputError
from scarseg_jax.readers import sources
from scarseg_jax.records import parse
from scarseg_jax.run import Decision
from scarseg_jax.segment.model import Model
from scarseg_jax.segment.pipeline import find_scar
from scarseg_jax.serving import case as cases
from scarseg_jax.serving import view
from scarseg_jax.serving.case import Case, Point, Stroke
from scarseg_jax.serving.guard import App, guarded
from scarseg_jax.serving.uploads import ENDINGS, FIELDS, Asked, Limits, Uploads
from scarseg_jax.show.bulls_eye import SHOWN, bare, legend
from scarseg_jax.show.pages import part, template
from scarseg_jax.show.patient_report import write_patient_report
from scarseg_jax.writers.dicom import check_dicom, write_dicom
from scarseg_jax.writers.nifti import check_grid
from scarseg_jax.writers.segmentation import page_path, write_segmentation

_HERE = "scarseg_jax.serving"
_MASK = "SCAR.nii.gz"  # in the zip; what goes beside it is named after it
_SEG, _SR = "SCAR_segmentation.dcm", "SCAR_report.dcm"
BESIDE = ("probability", "dicom")  # what the zip has if it is asked for
_LARGEST_BODY = 2**20  # bytes of JSON
Body = TypeVar("Body")


@dataclasses.dataclass(frozen=True)
class Read:
    """Opens what was sent as a batch."""

    batch: int
    asked: Asked


@dataclasses.dataclass(frozen=True)
class Deed:
    """What a person does; `version` is that of the state which the page showed."""

    version: int


@dataclasses.dataclass(frozen=True)
class Decide(Deed):
    """Calls scar from another threshold and area; without them, as the networks do."""

    decision: Decision | None = None


@dataclasses.dataclass(frozen=True)
class Paint(Deed):
    """Draws with the brush."""

    stroke: Stroke


@dataclasses.dataclass(frozen=True)
class Turn(Deed):
    """Shows the insertions of the right ventricle."""

    anterior: Point | None
    inferior: Point | None


@dataclasses.dataclass(frozen=True)
class Accept(Deed):
    """Accepts what is shown, or takes that back."""

    accepted: bool


class Stale(Exception):
    """Raised when the page shows another state than there is."""


class Desk:
    """Where the one study lies."""

    def __init__(self, model: Model, folder: Path, limits: Limits) -> None:
        """Takes the networks, loaded, and a private folder."""
        self.uploads, self.limits = Uploads(folder, limits), limits
        self._model, self._folder = model, folder
        self._lock = threading.Lock()
        self._case: Case | None = None
        self._pictures: dict[str, Any] = {}
        self._version = 0

    def read(self, it: Read) -> dict[str, Any]:
        """Reads what was sent, asks the networks, and returns pictures and state."""
        with self._lock:
            spacing_from = sources.spacing_from(self._model.run.source)
            study = self.uploads.read(it.batch, it.asked, spacing_from=spacing_from)
            check_grid(Path(_MASK), study.geometry, study.image.shape)
            case = cases.opened(find_scar(self._model, study, force=it.asked.force))
            # Before it is kept: what fails changes nothing.
            pictures, told = view.pictures(case), view.state(case)
            self._put(case)
            self._pictures = pictures
            return {**pictures, **told, "version": self._version}

    def all(self) -> dict[str, Any]:
        """Returns pictures and state, or that there is no study."""
        with self._lock:
            now = view.state(self._case) if self._case else {}
            return {**self._pictures, **now, "version": self._version}

    def do(self, deed: Deed, change: Callable[[Case], Case]) -> dict[str, Any]:
        """Changes the study and returns its state.

        Raises:
          Stale: If the deed was meant for another state.
        """
        with self._lock:
            if self._case is None or deed.version != self._version:
                raise Stale
            case = change(self._case)
            told = view.state(case)  # before it is kept, as above
            if case is not self._case:
                self._put(case)
            return {**told, "version": self._version}

    def zipped(self, version: int, *, probability: bool, dicom: bool) -> bytes:
        """Returns what `predict` writes, as a zip.

        Args:
          version: Of the state that the page shows.
          probability: Whether probabilities are in it.
          dicom: Whether a Segmentation and a report are, which name the patient.

        Raises:
          Stale: If it is not accepted, or another state.
          InputError: If DICOM is asked for and cannot be written.
        """
        with self._lock:
            shown = self._case if version == self._version else None
            if shown is None or not shown.accepted:
                raise Stale
            found = cases.segmentation(shown)
            numbers = cases.measured(shown, found)
            with tempfile.TemporaryDirectory(dir=self._folder) as folder:
                mask, seg, sr = (Path(folder) / name for name in (_MASK, _SEG, _SR))
                if dicom:
                    check_dicom(found.study, seg, sr, output=mask)
                    write_dicom(found, numbers, seg, sr)
                write_segmentation(found, mask, numbers, probability=probability)
                write_patient_report(page_path(mask), found, numbers)
                archive = Path(folder) / "all.zip"
                with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as together:
                    for file in sorted(Path(folder).glob("SCAR*")):
                        together.write(file, file.name)
                return archive.read_bytes()

    def _put(self, case: Case) -> None:
        self._case = case
        self._version += 1


def make_app(
    model: Model, folder: Path, *, token: str, port: int, limits: Limits | None = None
) -> App:
    """Returns the ASGI app of a page at /TOKEN/.

    Args:
      model: The networks.
      folder: A private one, which is empty.
      token: The secret in the address.
      port: Where it is served.
      limits: Of what is sent.
    """
    desk = Desk(model, folder, limits or Limits())

    async def page(_: Request) -> Response:
        return Response(_page(desk.limits), media_type="text/html")

    async def style(_: Request) -> Response:
        text = part("run_report.css") + part("patient_report.css")
        return Response(text + part("page.css", _HERE), media_type="text/css")

    async def script(_: Request) -> Response:
        return Response(part("page.js", _HERE), media_type="text/javascript")

    async def begin(_: Request) -> Response:
        return JSONResponse({"batch": desk.uploads.begin()})

    async def send(request: Request) -> Response:
        batch, slot = request.path_params["batch"], request.path_params["slot"]
        path = desk.uploads.new(batch, slot, request.query_params.get("ending", ""))
        with path.open("xb") as file:
            async for piece in request.stream():
                desk.uploads.count(batch, len(piece))
                await run_in_threadpool(file.write, piece)
        return JSONResponse({})

    async def read(request: Request) -> Response:
        it = await _body(request, Read)
        return JSONResponse(await run_in_threadpool(desk.read, it))

    async def everything(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(desk.all))

    def deed(kind: type[Any], change: Callable[[Any, Case], Case]) -> Callable:
        async def done(request: Request) -> Response:
            it = await _body(request, kind)
            told = await run_in_threadpool(desk.do, it, lambda case: change(it, case))
            return JSONResponse(told)

        return done

    async def download(request: Request) -> Response:
        asked = request.query_params
        said = asked.get("version", "")
        version = int(said) if said.isdecimal() else -1
        beside = {name: name in asked for name in BESIDE}
        return Response(
            await run_in_threadpool(lambda: desk.zipped(version, **beside)),
            media_type="application/zip",
            headers={"Content-Disposition": 'attachment; filename="SCAR.zip"'},
        )

    async def unusable(_: Request, error: Exception) -> Response:
        assert isinstance(error, InputError)
        return JSONResponse({"error": desk.uploads.line(error)}, 400)

    async def stale(_: Request, __: Exception) -> Response:
        said = "the study was changed in another window, or is not accepted"
        return JSONResponse({"error": f"{said}; this is how it stands"}, 409)

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=400)

    async def failed(_: Request, error: Exception) -> Response:
        said = f"this went wrong in the program itself ({type(error).__name__})"
        if isinstance(error, OSError) and error.strerror:
            said = f"the disk: {error.strerror}"
        return JSONResponse({"error": f"{said}; nothing was changed"}, 500)

    deeds = {
        "decide": deed(
            Decide,
            lambda it, case: cases.decided(case, it.decision or case.found.decision),
        ),
        "paint": deed(Paint, lambda it, case: cases.painted(case, it.stroke)),
        "undo": deed(Deed, lambda _, case: cases.undone(case)),
        "clear": deed(Deed, lambda _, case: cases.cleared(case)),
        "turn": deed(
            Turn, lambda it, case: cases.referenced(case, it.anterior, it.inferior)
        ),
        "accept": deed(
            Accept, lambda it, case: dataclasses.replace(case, accepted=it.accepted)
        ),
    }
    routes = [
        Route("/", page),
        Route("/page.css", style),
        Route("/page.js", script),
        Route("/files", begin, methods=["POST"]),
        Route("/files/{batch:int}/{slot}", send, methods=["POST"]),
        Route("/read", read, methods=["POST"]),
        Route("/study", everything),
        Route("/SCAR.zip", download),
        *(Route(f"/do/{name}", do, methods=["POST"]) for name, do in deeds.items()),
    ]
    handlers: Any = {
        InputError: unusable,
        Stale: stale,
        ClientDisconnect: gone,
        Exception: failed,
    }
    app: Any = Starlette(routes=routes, exception_handlers=handlers)
    return guarded(app, token=token, port=port)


def _page(limits: Limits) -> str:
    told = {
        "limits": dataclasses.asdict(limits),
        "endings": ENDINGS,
    }
    return template("page.html.jinja", _HERE).render(
        told=json.dumps(told),
        fields=FIELDS,
        eyes={name: words for name, (_, _, words) in SHOWN.items()},
        bare=bare(),
        legend=legend(),
    )


async def _body(request: Request, kind: type[Body]) -> Body:
    """Returns what was sent as JSON.

    Raises:
      InputError: If it is larger than any page of ours makes it, or not of this kind.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_BODY:
            raise InputError(
                "a request larger than 1 MiB; expected less: reload the page"
            )
    return parse(kind, body, "a request that is not understood", "reload the page")
