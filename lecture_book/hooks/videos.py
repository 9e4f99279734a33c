"""Videos: move embedded videos to separate files, which browsers load lazily and cache."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

MEDIA = "_static/media"
DATA_URI = re.compile(
    r'(?P<attribute>src|poster)="data:(?:video|image)/(?P<kind>mp4|png);base64,'
    r'(?P<data>[A-Za-z0-9+/=\s]+)"'
)
VIDEO = re.compile(r"<video\b.*?</video>", re.DOTALL)


def move_videos(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Write embedded videos and their posters to files and link to these.

    The poster is added as an image for printing, where browsers show an empty box for a video.
    """
    if "<video" not in context.get("body", ""):
        return
    prefix = context["content_root"] + MEDIA

    def to_file(match: re.Match[str]) -> str:
        content = base64.b64decode(match["data"])
        name = f"{hashlib.sha256(content).hexdigest()[:16]}.{match['kind']}"
        path = Path(app.outdir) / MEDIA / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return f'{match["attribute"]}="{prefix}/{name}"'

    def with_still(match: re.Match[str]) -> str:
        video = DATA_URI.sub(to_file, match[0])
        attributes = dict(re.findall(r'(poster|aria-label)="([^"]*)"', video))
        poster, label = attributes["poster"], attributes["aria-label"]
        return f'{video}<img class="on-paper" src="{poster}" alt="{label}">'

    context["body"] = VIDEO.sub(with_still, context["body"])


def drop_unused_media(app: Sphinx, error: Exception | None) -> None:
    """Delete the files of videos that no page shows any more."""
    folder = Path(app.outdir) / MEDIA
    if error is not None or not folder.is_dir():
        return
    pages = "".join(page.read_text(encoding="utf8") for page in Path(app.outdir).rglob("*.html"))
    for path in folder.iterdir():
        if path.name not in pages:
            path.unlink()
