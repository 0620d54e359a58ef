"""The documentation against what it describes: verbs, options, exit codes, files, functions, samples."""

import ast
import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from fabric.devledger.config import load as load_ledger
from gateway import errors
from gateway.cli.main import consortium
from gateway.config import GatewayConfig
from gateway.errors import ExitCode, ProductError
from gateway.fhir.export.settings import load_data_section
from gateway.fhir.extract import check
from gateway.market.listing_file import load_listing
from gateway.task_file import load as load_task
from gateway.toml_file import validate

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
SAMPLES = sorted(path for path in (ROOT / "deploy" / "samples").rglob("*") if path.is_file())
RECORDS = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
SHARED_OPTIONS = {"--format", "--help"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def leaves(group: click.Group = consortium, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every verb, as it is typed."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


VERBS = dict(leaves())


def sections(text: str) -> dict[str, str]:
    """The page's parts by their heading of second order."""
    found = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def rows(text: str) -> list[tuple[str, ...]]:
    """The cells of every table row but headings and rules."""
    found = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in text.splitlines() if line.startswith("| ")]
    return [cells for cells in found if not set(cells[0]) <= {"-"}]


def fences(text: str) -> list[tuple[str, str]]:
    """Fenced blocks, also indented ones: (language, content)."""
    return [(kind, content) for _, kind, content in re.findall(r"^( *)```(\w*)\n(.*?)^\1```", text, flags=re.MULTILINE | re.DOTALL)]


def cli_section(verb: str) -> str:
    return sections(page("docs/cli.md"))[f"`consortium {verb}`"]


def test_every_verb_and_no_other_has_a_section() -> None:
    documented = [heading for heading in sections(page("docs/cli.md")) if heading.startswith("`")]
    assert sorted(documented) == sorted(f"`consortium {verb}`" for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_s_section_says_what_it_does_and_lists_its_options(verb: str) -> None:
    command, section = VERBS[verb], cli_section(verb)
    assert " ".join((command.help or "").split()) in " ".join(section.split())
    options = [option for option in command.params if isinstance(option, click.Option) and not set(option.opts) & SHARED_OPTIONS]
    listed = {cells[0] for cells in rows(section) if cells[0].startswith("`--")}
    documented = {cell.split("`")[1].split()[0]: cell.endswith("(required)") for cell in listed}
    assert documented == {option.opts[0]: option.required for option in options}


@pytest.mark.parametrize("verb", VERBS)
def test_an_option_is_explained_in_the_words_of_its_help(verb: str) -> None:
    explained = {cells[0].split("`")[1].split()[0]: cells[1] for cells in rows(cli_section(verb)) if cells[0].startswith("`--")}
    for option in VERBS[verb].params:
        if isinstance(option, click.Option) and not set(option.opts) & SHARED_OPTIONS:
            assert option.help is None or explained[option.opts[0]].startswith(option.help)


def test_the_readme_s_table_has_every_verb() -> None:
    listed = [cells[0].strip("`").removeprefix("consortium ") for cells in rows(page("README.md")) if cells[0].startswith("`consortium ")]
    assert sorted(listed) == sorted(VERBS)


def test_the_readme_s_exit_codes_are_the_product_s() -> None:
    listed = {cells for cells in rows(page("README.md")) if cells[0].isdigit()}
    assert listed == {(str(int(code)), f"`{code.name}`", code.meaning) for code in ExitCode}


def subclasses(kind: type[ProductError]) -> Iterator[type[ProductError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from subclasses(each)


def test_the_error_codes_are_the_product_s() -> None:
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        if "ProductError" in path.read_text(encoding="utf-8"):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    product = {(kind.error_code, int(kind.exit_code)) for kind in subclasses(ProductError) if kind.__module__.startswith("gateway.")}
    foreign = {(kind.error_code, int(kind.exit_code)) for kind in errors._FOREIGN.values()}
    own = {("USAGE", int(ExitCode.USAGE)), ("INTERRUPTED", int(ExitCode.INTERRUPTED))}
    listed = {(cells[0].strip("`"), int(cells[1])) for cells in rows(sections(page("docs/cli.md"))["Error codes"]) if cells[1].isdigit()}
    assert listed == product | foreign | own


def commands() -> Iterator[tuple[str, str]]:
    """Every command line of `consortium` that a page shows in a fenced block."""
    for path in PAGES:
        for _, content in fences(path.read_text(encoding="utf-8")):
            for line in content.splitlines():
                typed = line.strip().removeprefix(".venv/bin/")
                if typed.startswith("consortium "):
                    yield name_of(path), typed


@pytest.mark.parametrize(("source", "typed"), list(commands()))
def test_a_command_line_that_is_shown_is_one(source: str, typed: str) -> None:
    words = shlex.split(typed, comments=True)[1:]
    verb = max((verb for verb in VERBS if words[: len(verb.split())] == verb.split()), key=len, default=None)
    assert verb is not None, f"{source} shows an unknown verb: {typed}"
    VERBS[verb].make_context(verb, words[len(verb.split()) :])  # a UsageError fails the test


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"])
def test_what_is_to_be_made_can_be_made(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", page("Makefile"), flags=re.MULTILINE))
    text = page(name)
    code = "\n".join([content for _, content in fences(text)] + re.findall(r"`([^`\n]+)`", text))
    assert set(re.findall(r"\bmake ([a-z-]+)", code)) <= targets


def mentions(text: str) -> set[tuple[str, str]]:
    """Files and folders of the repository that a page names, with the definition after a colon: (path, definition or "")."""
    found = re.findall(r"(?<![\w/.-])((?:fabric|gateway|privacy|protos|deploy|tests|docs|requirements)/[\w./-]*\w/?)(?::(\w+))?", text)
    return {(path, definition) for path, definition in found}


def defined_in(path: Path) -> set[str]:
    """Names of functions, classes and methods in a module."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_file_and_function_that_a_page_names_exists(path: Path) -> None:
    made_when_used = {"tests/interop/node_modules"}
    for name, definition in sorted(mentions(path.read_text(encoding="utf-8"))):
        if name in made_when_used:
            continue
        assert (ROOT / name).exists(), f"{name_of(path)} names {name}, which does not exist"
        assert not definition or definition in defined_in(ROOT / name), f"{name_of(path)} names {definition} in {name}, which has none"


def test_the_architecture_follows_files_and_functions() -> None:
    named = mentions(page("ARCHITECTURE.md"))
    assert len(named) > 60, "the page names files as folder/file.py:function; the pattern that reads them finds too few"
    assert sum(1 for _, definition in named if definition) > 40


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), f"{name_of(path)} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{name_of(path)} links to {target}, which has no such heading"


@pytest.mark.parametrize("path", SAMPLES, ids=name_of)
def test_every_sample_parses(path: Path) -> None:
    if path.parent.name == "tasks":
        check(load_task(path))
    elif path.parent.name == "market":
        load_listing(path)
    elif path.name == "ledger.toml":
        load_ledger(path)
    elif path.name == "export.toml":
        load_data_section(path)
    else:
        pytest.fail(f"no loader is known for {name_of(path)}; add it to this test")


def test_the_readme_s_configuration_is_one(tmp_path: Path) -> None:
    (example,) = (content for kind, content in fences(page("README.md")) if kind == "toml")
    config = validate(GatewayConfig, tomllib.loads(example), tmp_path / "hospital.toml")
    for name, field in GatewayConfig.model_fields.items():
        assert name in config.model_fields_set or not field.is_required()
    assert not config.trial


def test_every_decision_has_its_parts_and_is_listed() -> None:
    index = page("docs/adr/README.md")
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))
    for record in RECORDS:
        text = record.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(record.name[:4])}. ")
        assert [part for part in ("**Context.**", "**Decision.**", "**Consequences.**") if part not in text] == []
        assert f"({record.name})" in index


def test_every_dependency_has_its_reason() -> None:
    record = page("docs/adr/0008-dependencies.md")
    for line in page("requirements/runtime.in").splitlines():
        package = re.split(r"[<>=\[]", line.partition("#")[0].strip())[0]
        if not package.startswith("grpcio-"):  # told of together with grpcio
            assert re.search(rf"\b{re.escape(package)}\b", record), f"{package} has no reason in docs/adr/0008-dependencies.md"


FORBIDDEN = {
    "a package registry": r"pypi|pythonhosted|npmjs|docker\.io|ghcr\.io|quay\.io|proxy\.golang|crates\.io|\bregistry\.\w|index-url",
    "a path of one machine": r"(?<![\w.<])/(?:home|root|tmp|work|Users|opt|mnt|var)/|\b[A-Z]:\\",
    "something to be done": r"\b(?:TODO|FIXME|XXX|TBD)\b",
}


@pytest.mark.parametrize("path", [*PAGES, *SAMPLES], ids=name_of)
@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_page_names_what_is_nobody_s_business(path: Path, what: str) -> None:
    found = re.search(FORBIDDEN[what], path.read_text(encoding="utf-8"), flags=0 if what == "something to be done" else re.IGNORECASE)
    assert found is None, f"{name_of(path)} names {what}: {found[0] if found else ''}"
