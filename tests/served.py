"""The page's server in a thread, with networks that look at brightness alone."""

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from builders import draw_study, run_record, write_study

from scarseg_jax.segment.model import Model
from scarseg_jax.serving.app import make_app
from scarseg_jax.serving.server import HOST, listening, server
from scarseg_jax.serving.uploads import Limits

TOKEN = "a-token-of-tests"


def model_of(**values: Any) -> Model:
    """Returns networks of Protocol 2 to which what is bright in the wall is scar."""
    run = run_record(**values)

    def ask(images, wanted):
        del wanted
        bright = images[..., :1] > 0.5 * images[..., :1].max()
        said = np.where(bright, 0.8, 0.3).astype(np.float32)
        return np.stack([said] * len(run.members))

    return Model(Path("run"), run, run.members, ask)


def write_patient(folder: Path, name: str = "Doe_Jane", slices: int = 3):
    """Writes a study as NIfTI under a patient's name; image, myocardium and the study."""
    study = draw_study(name, slices=slices)
    write_study(folder, study)
    return *(folder / f"{name}_{part}.nii" for part in ("image", "myocardium")), study


class Client:
    """Asks the server, by HTTP as it is.

    Attributes:
      folder: The server's private one.
      address: The page's.
      batch: Of the files that are being sent.
    """

    def __init__(self, port: int, folder: Path) -> None:
        self._port, self.folder, self.batch = port, folder, 0
        self.address = f"http://{HOST}:{port}/{TOKEN}/"

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        method: str | None = None,
        root: str = f"/{TOKEN}/",
        **headers: str,
    ) -> tuple[int, Any, dict[str, str]]:
        """Returns the status, what is said (of JSON its values), and the headers."""
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body)
        connection = http.client.HTTPConnection(HOST, self._port, timeout=60)
        with contextlib.closing(connection):
            connection.request(
                method or ("GET" if body is None else "POST"),
                root + path,
                sent,
                headers,
            )
            answer = connection.getresponse()
            said: Any = answer.read()
            if "json" in (answer.getheader("content-type") or ""):
                said = json.loads(said)
            return answer.status, said, dict(answer.getheaders())

    def do(self, name: str, now: dict[str, Any], **values: Any) -> dict[str, Any]:
        """Does a deed on a state; returns the next one."""
        status, said, _ = self.ask(f"do/{name}", {"version": now["version"], **values})
        assert status == 200, said
        return said

    def begin(self) -> None:
        """Begins to send a study's files."""
        self.batch = self.ask("files", b"")[1]["batch"]

    def send(self, slot: str, file: Path | bytes, ending: str) -> tuple[int, Any]:
        """Sends a file; returns the status and what is said."""
        content = file if isinstance(file, bytes) else file.read_bytes()
        return self.ask(f"files/{self.batch}/{slot}?ending={ending}", content)[:2]

    def read(self, **asked: Any) -> tuple[int, Any]:
        """Has what was sent read; returns the status and what is said."""
        return self.ask("read", {"batch": self.batch, "asked": asked})[:2]

    def opened(self, image: Path, myocardium: Path) -> dict[str, Any]:
        """Opens a study; returns pictures and state."""
        self.begin()
        assert self.send("image", image, ".nii") == (200, {})
        assert self.send("contours", myocardium, ".nii") == (200, {})
        status, said = self.read()
        assert status == 200, said
        return said


@contextlib.contextmanager
def served(
    folder: Path, model: Model | None = None, limits: Limits | None = None
) -> Iterator[Client]:
    """Yields a client of a server that ends with it."""
    folder.mkdir(exist_ok=True)
    with listening(0) as listener:
        port = listener.getsockname()[1]
        app = make_app(
            model or model_of(), folder, token=TOKEN, port=port, limits=limits
        )
        running = server(app)
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        try:
            yield Client(port, folder)
        finally:
            running.should_exit = True
            thread.join()
