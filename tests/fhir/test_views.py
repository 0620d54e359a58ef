"""Compiled views against plain Python, and everything they refuse."""

import itertools
import json
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.fhir import sandbox
from gateway.fhir.database import Database
from gateway.fhir.errors import DataError, ViewError
from gateway.fhir.view_definition import view_definition
from gateway.fhir.views import CompiledView, compile_views


def _compile(resource: str, select: list[dict[str, Any]], **more: Any) -> CompiledView:
    return compile_views([view_definition({"name": "tested", "resource": resource, "select": select, **more})]).views[0]


def _run(resources: list[dict[str, Any]], select: list[dict[str, Any]], **more: Any) -> list[tuple[Any, ...]]:
    views = compile_views([view_definition({"name": "tested", "resource": "Patient", "select": select, **more})])
    database = Database(views)
    if resources:
        database.insert("Patient", [json.dumps(resource) for resource in resources])
    return database.rows("SELECT * FROM rows.tested", [])


def _columns(**paths: str) -> list[dict[str, Any]]:
    return [{"name": name, "path": path} for name, path in paths.items()]


words = st.sampled_from(["a", "b", "it's", 'say "x"', "ü", "%_", "a\\b"])
human_names = st.fixed_dictionaries(
    {}, optional={"use": st.sampled_from(["official", "usual"]), "family": words, "given": st.lists(words, min_size=1, max_size=3)}
)
patients = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "active": st.booleans(),
            "gender": st.sampled_from(["male", "female"]),
            "name": st.lists(human_names, min_size=1, max_size=3),
        },
    ),
    max_size=4,
).map(lambda found: [{"resourceType": "Patient", "id": f"p{number}", **body} for number, body in enumerate(found)])


@settings(max_examples=40, deadline=None)
@given(patients, words)
def test_paths_are_what_plain_python_says(found: list[dict[str, Any]], word: str) -> None:
    quoted = word.replace("\\", "\\\\").replace("'", "\\'")
    columns = _columns(
        id="id",
        family=f"name.where(family = '{quoted}').family.first()",
        some=f"name.exists(family = '{quoted}')",
        none="name.given.empty()",
        second="name[1].family",
        given_names="name.given.join('|')",
        man="gender = 'male' and active",
    )

    def expected(patient: dict[str, Any]) -> tuple[Any, ...]:
        names = patient.get("name", [])
        same = [name for name in names if name.get("family") == word]
        given_names = [text for name in names for text in name.get("given", [])]
        second = names[1].get("family") if len(names) > 1 else None
        gender, active = patient.get("gender"), patient.get("active")
        male = None if gender is None else gender == "male"
        both = False if male is False or active is False else None if male is None or active is None else True
        return (patient["id"], word if same else None, bool(same), not given_names, second, "|".join(given_names), both)

    assert sorted(_run(found, [{"column": columns}])) == sorted(map(expected, found))


@settings(max_examples=40, deadline=None)
@given(patients)
def test_loops_are_what_plain_python_says(found: list[dict[str, Any]]) -> None:
    select = [
        {"column": _columns(id="id")},
        {
            "forEach": "name",
            "column": _columns(position="%rowIndex", family="family"),
            "select": [{"forEachOrNull": "given", "column": _columns(given="$this")}],
        },
    ]
    expected = [
        (patient["id"], position, name.get("family"), text)
        for patient in found
        for position, name in enumerate(patient.get("name", []))
        for text in name.get("given", [None])
    ]
    assert sorted(_run(found, select), key=str) == sorted(expected, key=str)


@settings(max_examples=25, deadline=None)
@given(patients)
def test_siblings_multiply_and_unions_add(found: list[dict[str, Any]]) -> None:
    select = [
        {"forEach": "name", "column": _columns(one="family")},
        {"unionAll": [{"forEach": "name", "column": _columns(two="use")}, {"column": _columns(two="gender")}]},
    ]
    expected = [
        pair
        for patient in found
        for pair in itertools.product(
            [name.get("family") for name in patient.get("name", [])],
            [*(name.get("use") for name in patient.get("name", [])), patient.get("gender")],
        )
    ]
    assert sorted(_run(found, select), key=str) == sorted(expected, key=str)


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20))
def test_no_text_leaves_its_quotes(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    rows = _run(
        [{"resourceType": "Patient", "id": "p"}],
        [{"column": _columns(a=f"'{quoted}'", b="%c")}],
        constant=[{"name": "c", "valueString": text}],
    )
    assert rows == [(text, text)]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([*"abi.()[]='<>+-*/%$ 01\\,`", "name", "where", "first", "or", "exists", "$this"]), min_size=1, max_size=30)
)
def test_any_text_is_compiled_or_refused(pieces: list[str]) -> None:
    try:
        compiled = _compile("Patient", [{"column": _columns(a="".join(pieces))}])
    except ValidationError:
        assert not "".join(pieces).strip()
    except ViewError as error:
        assert str(error).startswith("view tested")
    else:
        assert compiled.sql


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nam", "Patient has no element 'nam'"),
        ("name.familly", "HumanName has no element 'familly'"),
        ("id.value", "id has no element 'value'"),
        ("deceasedBoolean", "deceasedBoolean is spelled deceased.ofType(Boolean) in FHIRPath"),
        ("deceased", "would hold deceased[x]"),
        ("deceased.exists()", "deceased[x] is a choice of types"),
        ("deceased.ofType(Quantity)", "deceased[x] of Patient is never a Quantity"),
        ("active.ofType(boolean).ofType(string)", "needs no ofType()"),
        ("name", "would hold HumanName"),
        ("name.count()", "the function count() is not supported; supported are empty, exists"),
        ("name.given.first(1)", "first() takes 0 arguments, not 1"),
        ("name | contact.name", "the operator '|' is not supported"),
        ("active xor active", "the operator 'xor' is not supported"),
        ("gender in name.use", "the operator 'in' is not supported"),
        ("birthDate > @2000", "'@' is not understood (character 13)"),
        ("birthDate > birthDate", "> between date and date is not supported"),
        ("gender = 1", "comparing code with integer is not supported"),
        ("birthDate = 'x'", "comparing date with string is not supported"),
        ("gender + 'x'", "+ between code and string is not supported"),
        ("gender and active", "and needs a boolean on both sides, not code"),
        ("gender.not()", "not() needs a boolean"),
        ("name.given = name.family", "comparing two collections is not supported"),
        ("name[gender]", "an index in [ ] must be one integer"),
        ("%missing", "%missing is not defined"),
        ("extension(url)", "extension() takes the extension's URL as a string"),
        ("name.getResourceKey()", "getResourceKey() is for the resource itself"),
        ("name.getReferenceKey()", "getReferenceKey() is for references, not for HumanName"),
        ("generalPractitioner.getReferenceKey(Doctor).first()", "Doctor is no FHIR R4 resource"),
        ("contained.id", "Patient has no element 'contained'"),
        ("'\\q'", "the escape \\q is not supported"),
        ("name..family", "a name is expected where '.' stands"),
        ("name.where(", "'the end' is not expected"),
        ("(" * 40 + "id" + ")" * 40, "nests deeper than 30 levels"),
        ("id" + " or id" * 160, "has 321 parts, more than 300"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(path: str, reason: str) -> None:
    with pytest.raises(ViewError) as error:
        _compile("Patient", [{"column": _columns(a=path)}])
    assert reason in str(error.value)
    assert str(error.value).startswith("view tested")


@pytest.mark.parametrize(
    ("select", "more", "reason"),
    [
        ([{"repeat": ["contact.first()"], "column": _columns(a="id")}], {}, "repeat 'contact.first()' is not supported"),
        ([{"repeat": ["contact", "name"], "column": _columns(a="id")}], {}, "repeat reaches different types: HumanName, PatientContact"),
        ([{"repeat": ["gender"], "column": _columns(a="id")}], {}, "repeat 'gender' gives code, which has no elements"),
        ([{"repeat": ["contcat"], "column": _columns(a="id")}], {}, "column a needs a type, because its repeat names no element"),
        ([{"column": [{"name": "a", "path": "id", "type": "integer"}]}], {}, "column a is declared integer, but its path gives id"),
        ([{"column": [{"name": "a", "path": "id", "type": "Coding"}]}], {}, "column a is declared Coding"),
        ([{"forEach": "deceased", "column": _columns(a="id")}], {}, "deceased[x] is a choice of types"),
        ([{"unionAll": [{"column": _columns(a="id")}, {"column": _columns(a="active")}]}], {}, "different types: id, boolean"),
        ([{"column": _columns(a="id")}], {"where": [{"path": "gender"}]}, "path 'gender' gives code, where a boolean is needed"),
    ],
)
def test_views_that_make_no_sense_are_refused(select: list[dict[str, Any]], more: dict[str, Any], reason: str) -> None:
    with pytest.raises(ViewError) as error:
        _compile("Patient", select, **more)
    assert reason in str(error.value)


def test_an_unknown_resource_is_refused() -> None:
    for name in ("Patiens", "HumanName", "DomainResourceX"):
        with pytest.raises(ViewError, match=f"{name} is no FHIR R4 resource"):
            _compile(name, [{"column": _columns(a="id")}])


def test_several_values_where_one_is_declared_fail_without_telling_them() -> None:
    people = [{"resourceType": "Patient", "id": "p", "name": [{"family": "Secret"}, {"family": "Hidden"}]}]
    with pytest.raises(DataError) as error:
        _run(people, [{"column": _columns(a="name.family")}])
    assert "view tested: path name.family: a resource has several values where one is expected" in str(error.value)
    assert "Secret" not in str(error.value)


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ("2020-01-01T10:00:00+01:00", "2020-01-01T09:00:00Z", True),
        ("2020-01-01T10:00:00Z", "2020-01-01T09:00:00Z", False),
        ("2020-01", "2020-01", True),
        ("2020-01", "2020-02", False),
        ("2020-01", "2020-01-01", None),
        ("2020-01-01T10:00:00Z", "2020-01-01", None),
    ],
)
def test_dates_are_equal_as_fhirpath_says(left: str, right: str, equal: bool | None) -> None:
    person = {"resourceType": "Patient", "id": "p", "deceasedDateTime": left}
    rows = _run([person], [{"column": _columns(a="deceased.ofType(dateTime) = %d")}], constant=[{"name": "d", "valueDateTime": right}])
    assert rows == [(equal,)]


@pytest.mark.parametrize(("families", "equal"), [([], None), (["a"], True), (["b"], False), (["a", "a"], False)])
def test_a_collection_equals_one_value_only_alone(families: list[str], equal: bool | None) -> None:
    person: dict[str, Any] = {"resourceType": "Patient", "id": "p", "name": [{"family": family} for family in families]}
    assert _run([person], [{"column": _columns(a="name.family = 'a'")}]) == [(equal,)]


def test_only_what_views_use_is_read() -> None:
    views = compile_views(
        [
            view_definition({"name": "a", "resource": "Patient", "select": [{"column": _columns(x="gender")}]}),
            view_definition(
                {"name": "b", "resource": "Patient", "select": [{"column": _columns(x="name.family.first()", y="contact.exists()")}]}
            ),
        ]
    )
    assert json.loads(views.structures["Patient"]) == {
        "contact": ["JSON"],
        "gender": "VARCHAR",
        "id": "VARCHAR",
        "name": [{"family": "VARCHAR"}],
    }


def test_the_sql_is_for_reading() -> None:
    compiled = _compile("Patient", [{"column": _columns(key="getResourceKey()", born="birthDate")}], where=[{"path": "active = true"}])
    assert compiled.sql == 'SELECT r."id" AS "key",\n       r."birthDate" AS "born"\n  FROM "Patient" AS r\n  WHERE (r."active" = true)'


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/hostname')",
        "SELECT * FROM '/etc/hostname'",
        "COPY (SELECT 1) TO '/tmp/never-written'",
        "ATTACH '/tmp/never-written.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET temp_directory = '/tmp'",
        "SET enable_external_access = true",
    ],
)
def test_the_database_reaches_nothing_outside_itself(statement: str) -> None:
    database = Database(compile_views([view_definition({"name": "a", "resource": "Patient", "select": [{"column": _columns(x="id")}]})]))
    with pytest.raises(duckdb.Error):
        database.rows(statement, [])


def test_rows_beyond_the_memory_bound_get_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sandbox._SETTINGS, "memory_limit", "20MB")
    columns = _columns(text="name.text.first()", id="id")
    database = Database(compile_views([view_definition({"name": "a", "resource": "Patient", "select": [{"column": columns}]})]))
    texts = [json.dumps({"resourceType": "Patient", "id": f"{number}", "name": [{"text": f"{number}" * 500}]}) for number in range(1000)]
    with pytest.raises(DataError, match="need more memory than"):
        for _ in range(40):
            database.insert("Patient", texts)
