"""The page in the browser, by Gradio: what `mambadapter.inference.page` says, and where it stands."""

import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any

from mambadapter.errors import UserError
from mambadapter.inference.page import LONG, Heard, Packages
from mambadapter.inference.picture import timeline_figure
from mambadapter.inference.reading import or_user_error

_BARS = 12  # classes
_STEP = 0.001  # of a threshold
_UNSAID = 0.5  # a threshold, where a package has none
_HOST = "127.0.0.1"
_QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_RUN_HISTORY": "False"}


def check_gradio() -> None:
    """Say what to install where Gradio is missing."""
    if find_spec("gradio") is None:
        raise UserError(
            "The page needs the package gradio; install it: pip install 'mambadapter[page]'."
        )


@contextmanager
def serving(packages: Packages, port: int | None = None) -> Iterator[Any]:
    """Serve the page to this machine alone.

    Recordings are kept in a temporary folder, which is deleted at the end. Nothing is sent anywhere: Gradio's
    telemetry is off, and there are no links to share.

    Parameters
    ----------
    packages : Packages
        What to choose among.
    port : int, optional
        Default the first free one from 7860.

    Yields
    ------
    gradio.Blocks
        Its ``local_url`` is the address.

    Raises
    ------
    UserError
        If Gradio is missing or the port cannot be had.
    """
    check_gradio()
    with (
        tempfile.TemporaryDirectory(
            prefix="mambadapter-page-", ignore_cleanup_errors=True
        ) as scratch,
        _environment({**_QUIET, "GRADIO_TEMP_DIR": scratch}),
    ):
        page = _build(packages)
        try:
            page.launch(
                server_name=_HOST, server_port=port, share=False, quiet=True, inbrowser=False,
                ssr_mode=False, prevent_thread_lock=True, footer_links=[],
            )  # fmt: skip
        except OSError as error:
            raise UserError(
                f"port {port or 7860} of this machine is taken; give another, --port 8000."
            ) from error
        try:
            yield page
        finally:
            page.close(verbose=False)


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Gradio reads these also in parts that no argument reaches."""
    before = {name: os.environ.pop(name, None) for name in settings}
    os.environ |= settings
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def _build(packages: Packages) -> Any:
    import gradio as gr

    def answer(
        name: str, path: str | None, rejects: bool, threshold: float, window: float
    ) -> tuple[Any, Any, Any]:
        heard: Heard | UserError = Heard("")
        if path is not None:
            hear = partial(
                packages.hear, name, threshold=threshold if rejects else None, window=window
            )
            heard = or_user_error(hear)(path)
        if isinstance(heard, UserError):
            heard = Heard(f"error: {heard}")
        figure = heard.timeline and timeline_figure(heard.timeline, title=False)
        return (
            heard.answer,
            gr.update(value=heard.scores or None, visible=bool(heard.scores)),
            gr.update(value=figure, visible=figure is not None),
        )

    def about(name: str, rejects: bool) -> dict[str, dict[str, Any]]:
        """How the controls of an adapter differ from another's."""
        classifies, kept = packages.rejects(name), packages.threshold(name)
        return {
            "said": {"info": packages.about(name)},
            "rejects": {"visible": classifies},
            "threshold": {
                "visible": classifies and rejects,
                # Not above it, or what a package takes would be none here.
                "value": _UNSAID if kept is None else math.floor(kept / _STEP) * _STEP,
            },
            "window": {"visible": classifies},
        }

    first = about(packages.names[0], rejects=False)
    with gr.Blocks(title="MambAdapter", analytics_enabled=False) as page:
        with gr.Row():
            with gr.Column():
                name = gr.Dropdown(
                    [*packages.names], label="Adapter", visible=len(packages.names) > 1
                )
                audio = gr.Audio(
                    sources=["upload", "microphone"], type="filepath", label="Recording", buttons=[]
                )
                rejects = gr.Checkbox(label="Say when it is none of these", **first["rejects"])
                threshold = gr.Slider(
                    0,
                    1,
                    step=_STEP,
                    label="None of these below this probability",
                    **first["threshold"],
                )
                window = gr.Slider(
                    0.2, LONG, 1, step=0.1, **first["window"],
                    label=f"Seconds at a time, of recordings longer than {LONG:g} s",
                )  # fmt: skip
            with gr.Column():
                said = gr.Textbox(label="Answer", max_lines=20, interactive=False, **first["said"])
                bars = gr.Label(
                    label="Probabilities", num_top_classes=_BARS, show_heading=False, visible=False
                )
        plot = gr.Plot(show_label=False, visible=False)

        inputs, outputs = [name, audio, rejects, threshold, window], [said, bars, plot]
        controls = {"said": said, "rejects": rejects, "threshold": threshold, "window": window}
        gr.on([audio.change, threshold.release, window.release], answer, inputs, outputs)
        rejects.change(lambda shown: gr.update(visible=shown), rejects, threshold).then(
            answer, inputs, outputs
        )
        name.change(
            lambda *chosen: [gr.update(**about(*chosen)[key]) for key in controls],
            [name, rejects],
            [*controls.values()],
        ).then(answer, inputs, outputs)
    return page
