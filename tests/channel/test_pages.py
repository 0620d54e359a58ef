"""The files that the page on joining shows are ones that the product reads."""

import json
import re
import tomllib
from pathlib import Path

from gateway.config import ClientConfig
from gateway.network.description import Description
from gateway.network.render import render
from gateway.toml_file import validate

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "joining.md").read_text(encoding="utf-8")


def example(kind: str) -> str:
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_administrator_s_configuration_is_one(tmp_path: Path) -> None:
    config = validate(ClientConfig, tomllib.loads(example("toml")), tmp_path / "admin.toml")
    assert config.ledger.endpoint.endswith(":7051")


def test_the_joining_hospital_s_description_is_rendered(tmp_path: Path) -> None:
    description = Description.model_validate(json.loads(example("json")))
    written = render(description, "compose", tmp_path)
    assert tmp_path / description.members[0].mspid / "compose.yaml" in written
