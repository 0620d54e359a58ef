"""A task that rests on a large model, between real gateways: a person puts the file in place, and little of it is trained."""

import asyncio
import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from safetensors.numpy import save

from gateway.hospital.approval import missing_base
from gateway.hospital.plan import model_spec
from gateway.hospital.task_work import TaskWork
from gateway.task_file import parse
from privacy import training
from privacy.models import parameter_count
from tests.support import hospitals
from tests.support.hospitals import ROUNDS_LIMIT_SECONDS, TogetherConsortium, consortium, task_document, write_patients

LENGTH = 16
SIGNAL = f"""
[[views]]
name = "ecg"
resource = "Observation"
select = [{{ column = [
    {{ name = "patient", path = "subject.getReferenceKey(Patient)" }},
    {{ name = "at", path = "effective.ofType(dateTime)" }},
    {{ name = "samples", path = "value.ofType(SampledData).data" }},
] }}]

[signal]
view = "ecg"
column = "samples"
time = "at"
shape = [{LENGTH}]
low = -5
high = 5

[cohort]
"""


def document(digest: str) -> bytes:
    text = task_document(rounds=1).decode().replace("[cohort]\n", SIGNAL, 1)
    base = f'kind = "cnn"\nfilters = [4, 3]\nkernel = 3\nbase = {{ digest = "{digest}", train = ["convolutions.1", "output"] }}\n'
    return text.replace('kind = "logistic_regression"\n', base).encode()


def base() -> bytes:
    rng = np.random.default_rng(0)
    shapes = {"convolutions.0.weight": (4, 1, 3), "convolutions.0.bias": (4,), "convolutions.1.weight": (3, 4, 3)}
    return save({name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()})


def write_with_signals(folder: Path, *, patients: int, features: int, seed: int) -> Path:
    """The patients of the other tests, with a recording each."""
    write_patients(folder, patients=patients, features=features, seed=seed)
    rng = np.random.default_rng(seed)
    keys = [json.loads(line)["id"] for line in (folder / "Patient.ndjson").read_text().splitlines()]
    with (folder / "Observation.ndjson").open("a") as file:
        for key in keys:
            data = " ".join(f"{value:.2f}" for value in rng.normal(size=LENGTH))
            recording = {"origin": {"value": 0}, "period": 1, "dimensions": 1, "data": data}
            entry = {"resourceType": "Observation", "id": f"{key}-ecg", "status": "final", "code": {"text": "ECG"}}
            subject = {"subject": {"reference": f"Patient/{key}"}, "effectiveDateTime": "2023-01-01"}
            file.write(json.dumps(entry | subject | {"valueSampledData": recording}) + "\n")
    return folder


async def test_a_hospital_without_the_file_waits_and_all_train_a_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hospitals, "write_patients", write_with_signals)
    monkeypatch.setattr(training, "PLAIN_STEPS", 5)
    content = base()
    digest = hashlib.sha256(content).hexdigest()
    async with consortium(tmp_path) as together:
        late, *others = together.mspids
        for mspid in others:
            await restart_with_models(together, mspid, tmp_path / mspid, {digest: content})
        task_id = await together.submit(document(digest))
        async with asyncio.timeout(ROUNDS_LIMIT_SECONDS):
            while True:
                view = await together.researcher.ledger.task(task_id)
                if {each.mspid for each in view.decisions} == set(others):
                    break
                await asyncio.sleep(0.1)
        await restart_with_models(together, late, tmp_path / late, {digest: content})
        end = await together.until_over(task_id)
        assert (end.phase, end.round) == ("finished", 1), end.reason
        assert end.terms.parameters == parameter_count(model_spec(parse(document(digest)))) == 3 * 4 * 3 + 3 + (3 + 2) + 1


async def restart_with_models(together: TogetherConsortium, mspid: str, folder: Path, files: dict[str, bytes]) -> None:
    """What a hospital's staff do."""
    await together.stop(mspid)
    put_in_place(together.network.gateway(mspid), folder, files)
    await together.start(mspid)


def put_in_place(config: Path, folder: Path, files: dict[str, bytes]) -> None:
    """Files by digest into the folder, and the folder into the configuration."""
    folder.mkdir()
    for digest, content in files.items():
        (folder / f"{digest}.safetensors").write_bytes(content)
    text, changed = re.subn("^heartbeat_seconds", f'models = "{folder}"\nheartbeat_seconds', config.read_text(), flags=re.MULTILINE)
    assert changed
    config.write_text(text)


def missing(models: Path | None, digest: str) -> str | None:
    """What stands in the way of the task in a gateway whose folder of models is this one."""
    config = SimpleNamespace(gateway=SimpleNamespace(models=models))
    return missing_base(cast(TaskWork, SimpleNamespace(context=SimpleNamespace(config=config))), parse(document(digest)))


def test_what_is_missing_is_said_in_one_sentence(tmp_path: Path) -> None:
    content = base()
    digest = hashlib.sha256(content).hexdigest()
    file = tmp_path / f"{digest}.safetensors"
    assert "name a folder for it in [gateway] models" in (missing(None, digest) or "")
    assert f"cannot read the base {file}" in (missing(tmp_path, digest) or "")
    file.write_bytes(b"another file")
    assert f"put the base with the digest {digest} there" in (missing(tmp_path, digest) or "")
    file.write_bytes(content)
    assert missing(tmp_path, digest) is None
    other = save({"convolutions.0.weight": np.zeros((4, 1, 3), dtype=np.float32)})
    wrong = hashlib.sha256(other).hexdigest()
    (tmp_path / f"{wrong}.safetensors").write_bytes(other)
    assert "needs convolutions.0.bias as (4,): the file has none" in (missing(tmp_path, wrong) or "")
