"""The parts of the site that do not lie in docs/ as they are: its first page, and a report."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "build" / "docs" / "example" / "report"
"""The report of a small study, which ``make docs`` has run."""
AT_ROOT = {"index.md": "README.md", "changelog.md": "CHANGELOG.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """All files of the site."""
    for page, name in AT_ROOT.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text("utf-8")))
    for path in EXAMPLE.rglob("*"):
        if path.is_file():
            place = f"example/report/{path.relative_to(EXAMPLE).as_posix()}"
            files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A page whose links lead to the site where they can, and to the repository elsewhere."""
    at_root = page.file.src_uri in AT_ROOT

    def led(link: re.Match[str]) -> str:
        target = link[1]
        if at_root and target.startswith("docs/"):
            target = target.removeprefix("docs/")
        elif at_root and target == "CHANGELOG.md":
            target = "changelog.md"
        elif at_root or target.startswith("../"):
            target = f"{config.repo_url}/blob/main/{target.removeprefix('../')}"
        return f"]({target})"

    return re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", led, markdown)
