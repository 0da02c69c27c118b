"""Pages of the site that live elsewhere in the repository, or are notebooks (a hook of MkDocs, see mkdocs.yml).

README.md is the front page. Links in the repository lead from file to file; here they follow the pages.
"""

import importlib.util
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
ELSEWHERE = ("CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "bench/README.md", "bench/results/**/*.png", "examples/*.py")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README.md as the front page, the files of `ELSEWHERE` at their own paths, notebooks as Markdown."""
    files.append(File.generated(config, "index.md", abs_src_path=str(ROOT / "README.md")))
    for path in sorted(path for pattern in ELSEWHERE for path in ROOT.glob(pattern)):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    notebooks = _notebooks()
    for path in sorted(notebooks.FOLDER.glob("*.ipynb")):
        page, name = notebooks.as_markdown(notebooks.read(path)), f"notebooks/{path.stem}.md"
        files.append(File.generated(config, name, content=page.replace(".ipynb)", ".md)")))
        if (own := files.get_file_from_path(f"notebooks/{path.name}")) is not None:
            own.inclusion = InclusionLevel.EXCLUDED
    return files


def _notebooks() -> Any:
    """The module notebooks.py beside this file."""
    spec = importlib.util.spec_from_file_location("notebooks", Path(__file__).with_name("notebooks.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let the links of pages in `docs/`, in the root and one folder below it lead to where `on_files` put the files."""
    markdown = re.sub(r"(?m)^([\s\d.-]*)#(?=[a-z])", r"\1\#", markdown)  # `#params` is no heading
    if "/" in page.file.src_uri:
        return markdown.replace("](../docs/", "](../")
    markdown = re.sub(r"\]\((?:\.\./|docs/)", "](", markdown).replace("](README.md", "](index.md")
    return markdown.replace(".ipynb)", ".md)")
