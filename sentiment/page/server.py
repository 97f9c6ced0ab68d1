"""The server of the page, which neither fetches nor sends anything elsewhere."""

import contextlib
import errno
import os
import socket
import webbrowser
from pathlib import Path
from typing import Any

from sentiment.errors import SentimentError

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
FIRST_PORT, PORTS = 7860, 100
STYLE = Path(__file__).with_name("style.css")


def find_port(host: str, port: int | None) -> int:
    """Return a port that is free: this one, or the first one from `FIRST_PORT`.

    Raises:
        SentimentError: if there is none, or if this computer doesn't have the address.
    """
    candidates = [port] if port else range(FIRST_PORT, FIRST_PORT + PORTS)
    try:
        for candidate in candidates:
            try:
                _bind(host, candidate)
                return candidate
            except OSError as error:
                if error.errno != errno.EADDRINUSE or candidate == candidates[-1]:
                    raise
    except (OSError, UnicodeError) as error:  # a name that is too long is a UnicodeError
        reason = getattr(error, "strerror", None) or error
    raise SentimentError(
        f"can't listen at {host}, port {candidate}: {reason}; choose another --host or --port"
    )


def _bind(host: str, port: int):
    """Bind a port for a moment; raise OSError if that is not possible."""
    family, kind, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind) as probe:
        if os.name != "nt":  # there it would allow a port that is in use
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def import_gradio() -> Any:
    """Import Gradio so that it doesn't contact other servers."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    # After each event it would compute statistics for a page that is switched off.
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**9)
    import gradio

    return gradio


def launch(gradio: Any, page: Any, host: str, port: int, opens_browser: bool = False):
    """Start Gradio Blocks in threads of their own.

    Raises:
        SentimentError: if the port is not free.
    """
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    # A page of another site whose name is made to lead here, by DNS rebinding, could read this one.
    trusted = [_bracket(name) for name in LOCAL_HOSTS] if host in LOCAL_HOSTS else ["*"]
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=trusted, www_redirect=False)]
    fonts = ["system-ui", "sans-serif"]  # no web font
    theme = gradio.themes.Default(primary_hue="blue", font=fonts, font_mono=fonts)
    page.queue(default_concurrency_limit=4)
    app = {"docs_url": None, "redoc_url": None, "openapi_url": None, "middleware": middleware}
    try:
        with _without_proxy():
            page.launch(
                server_name=_bracket(host),
                server_port=port,
                inbrowser=False,
                inline=False,
                share=False,
                prevent_thread_lock=True,
                quiet=True,
                theme=theme,
                css_paths=[STYLE],
                footer_links=[],
                run_history=False,
                enable_monitoring=False,
                max_file_size=0,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                app_kwargs=app,
            )
    except OSError:
        raise SentimentError(f"port {port} is in use; choose another --port") from None
    if opens_browser:
        webbrowser.open(page.local_url)


def _bracket(host: str) -> str:
    """Return a host as it is written in a URL."""
    return f"[{host}]" if ":" in host else host


@contextlib.contextmanager
def _without_proxy():
    """Make Gradio ask its own server directly whether it runs, not through a proxy."""
    before = os.environ.get("no_proxy")
    os.environ["no_proxy"] = "*"
    try:
        yield
    finally:  # a download of the data may need the proxy
        del os.environ["no_proxy"]
        if before is not None:
            os.environ["no_proxy"] = before
