"""What `mkdocs build` does beyond mkdocs: pages from all over the repository, an API page per folder, formulas.

mkdocs takes pages from one folder, while the project's lie where their readers look: the README at the top, a bundle's
documentation in the bundle. Every page keeps its path in the repository, so that the links that work on GitHub work in
the site. Tutorials come with the outputs of the run that `make tutorials` left in build/. Formulas become MathML, which
browsers show without a script.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "CITATION.cff",
    "LICENSE",
    "configs/offline_prompts.md",
    "docs/**/*.md",
    "docs/images/*",
    "bundles/*/docs/*.md",
    "build/figures/*.png",
)
RUN_TUTORIALS = ("tutorials/*.md", "tutorials/*_files/*.png")  # in build/
PACKAGE = "anomalyclip_med"
_BADGE = re.compile(r"^\[!\[.*\n", re.M)
_NOTEBOOK = re.compile(r"(\]\([\w./]*)\.ipynb\)")
_FIGURE = re.compile(r"^<!-- figure (\S+): (.*?)\n(.*?)\n-->$", re.M | re.S)
_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):(<code>.*?</code>)")


def on_config(config: MkDocsConfig) -> None:
    """Show ```math fences as formulas."""
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {})
    fences["custom_fences"] = [{"name": "math", "class": "math", "format": _formula}]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take the repository's pages, and one of each folder's API."""
    kept = Files([file for file in files if file.src_dir != config.docs_dir])  # the theme's
    for path in sorted(p for pattern in SOURCES for p in ROOT.glob(pattern)):
        kept.append(File(str(path.relative_to(ROOT)), str(ROOT), config.site_dir, config.use_directory_urls))
    build = ROOT / "build"
    for path in sorted(p for pattern in RUN_TUTORIALS for p in build.glob(pattern)):
        kept.append(File(str(path.relative_to(build)), str(build), config.site_dir, config.use_directory_urls))
    pages = api_pages()
    for name, text in pages.items():
        kept.append(File.generated(config, name, content=text))
    config.nav = [*(config.nav or []), {"API": list(pages)}]
    return kept


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Lead to a tutorial's page where GitHub shows the notebook, load no badge from the network, show figures.

    Figures are made with the site: on GitHub, where they would be missing, they stand in comments.
    """
    up = "../" * page.file.src_uri.count("/")
    markdown = _FIGURE.sub(rf"![\2]({up}build/figures/\1)\n\n\3", markdown)
    return _BADGE.sub("", _NOTEBOOK.sub(r"\1.md)", markdown))


def on_page_content(html: str, **_: Any) -> str:
    """Docstrings name things as Sphinx does; mkdocstrings has no roles."""
    return _ROLE.sub(r"\1", html)


def api_pages() -> dict[str, str]:
    """Path and text of each page: the modules at the top of the package, then one page per folder."""
    modules: dict[str, list[str]] = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        folder = parts[1] if len(parts) > 2 else PACKAGE
        modules.setdefault(folder, []).append(".".join(parts).removesuffix(".__init__"))
    top = modules.pop(PACKAGE)
    return {f"api/{folder}.md": _page(folder, names) for folder, names in {PACKAGE: top, **modules}.items()}


def _page(folder: str, modules: list[str]) -> str:
    entries = []
    for module in sorted(modules):
        is_package = (ROOT / Path(*module.split("."))).is_dir()
        # A package's names stand where they are defined.
        entries.append(f"::: {module}\n" + ("    options:\n      members: false\n" if is_package else ""))
    return f"# {folder}\n\n" + "\n".join(entries)


def _formula(source: str, *_: Any, **__: Any) -> str:
    return str(convert(source, display="block"))
