"""`repeat` against recursion in plain Python, on questionnaires of any shape and in any place of a view."""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fhir.database import Database
from gateway.fhir.view_definition import view_definition
from gateway.fhir.views import compile_views

Item = dict[str, Any]

answers = st.deferred(lambda: st.fixed_dictionaries({"valueInteger": st.integers(0, 9)}, optional={"item": st.lists(items, max_size=2)}))
items: st.SearchStrategy[Item] = st.deferred(
    lambda: st.fixed_dictionaries(
        {"linkId": st.sampled_from("abc")},
        optional={"item": st.lists(items, max_size=2), "answer": st.lists(answers, max_size=2)},
    )
)
forms = st.lists(items, max_size=3).map(
    lambda found: {"resourceType": "QuestionnaireResponse", "id": "q", "status": "completed", "item": found}
)


def _rows(resource: dict[str, Any], select: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    views = compile_views([view_definition({"name": "tested", "resource": resource["resourceType"], "select": select})])
    database = Database(views)
    database.insert(resource["resourceType"], [json.dumps(resource)])
    return database.rows("SELECT * FROM rows.tested", [])


def _walk(found: list[Item], *, answers: bool) -> Iterator[Item]:
    for item in found:
        # In the order of the document: keys of an object stand as they were written.
        yield item
        for key, value in item.items():
            if key == "item":
                yield from _walk(value, answers=answers)
            elif key == "answer" and answers:
                for answer in value:
                    yield from _walk(answer.get("item", []), answers=answers)


@settings(max_examples=40, deadline=None)
@given(forms)
def test_items_are_found_at_every_depth_in_the_order_of_the_document(form: dict[str, Any]) -> None:
    for paths, answers in ((["item"], False), (["item", "answer.item"], True)):
        select = [{"repeat": paths, "column": [{"name": "at", "path": "%rowIndex"}, {"name": "link", "path": "linkId"}]}]
        expected = [(position, item["linkId"]) for position, item in enumerate(_walk(form["item"], answers=answers))]
        assert sorted(_rows(form, select)) == expected


@settings(max_examples=30, deadline=None)
@given(forms)
def test_repeat_stands_inside_a_loop_and_beside_plain_paths(form: dict[str, Any]) -> None:
    select = [
        {
            "forEach": "item",
            "column": [{"name": "top", "path": "linkId"}, {"name": "some", "path": "item.exists()"}],
            "select": [{"repeat": ["item"], "column": [{"name": "link", "path": "linkId"}], "select": _ANSWERS}],
        }
    ]
    expected = [
        (top["linkId"], bool(top.get("item")), below["linkId"], answer)
        for top in form["item"]
        for below in _walk(top.get("item", []), answers=False)
        for answer in [found["valueInteger"] for found in below.get("answer", [])] or [None]
    ]
    assert sorted(_rows(form, select), key=str) == sorted(expected, key=str)


_ANSWERS = [{"forEachOrNull": "answer", "column": [{"name": "answer", "path": "value.ofType(integer)"}]}]


def test_a_repeat_inside_a_repeat() -> None:
    form = {
        "resourceType": "QuestionnaireResponse",
        "id": "q",
        "item": [{"linkId": "1", "item": [{"linkId": "2", "item": [{"linkId": "3"}]}]}],
    }
    inner = {"repeat": ["item"], "column": [{"name": "below", "path": "linkId"}]}
    select = [{"repeat": ["item"], "column": [{"name": "link", "path": "linkId"}], "select": [inner]}]
    assert sorted(_rows(form, select)) == [("1", "2"), ("1", "3"), ("2", "3")]


def test_another_start_than_the_levels_below() -> None:
    codes = {"resourceType": "ValueSet", "id": "v", "expansion": {"contains": [{"code": "a", "contains": [{"code": "b"}]}, {"code": "c"}]}}
    select = [{"repeat": ["expansion.contains", "contains"], "column": [{"name": "code", "path": "code"}]}]
    assert sorted(_rows(codes, select)) == [("a",), ("b",), ("c",)]


def test_a_path_that_finds_nothing_is_said() -> None:
    select = [{"repeat": ["item", "itme"], "column": [{"name": "link", "path": "linkId"}]}]
    definition = {"name": "tested", "resource": "QuestionnaireResponse", "select": select}
    (view,) = compile_views([view_definition(definition)]).views
    assert view.notes == (
        "view tested: repeat 'itme' names no element of QuestionnaireResponse or QuestionnaireResponseItem, so it finds nothing",
    )
