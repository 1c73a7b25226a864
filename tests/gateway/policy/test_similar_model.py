"""The models that a refused call may have meant, as far as a bundle's texts say."""

from __future__ import annotations

from gateway.policy.similar_model import similar, with_model

RULES = {"authz.rego": 'package a\n\nallow if input.resource.model in {"gpt-4o", "gpt-4o-mini"}\n'}
DATA = {"models": ["claude-sonnet-4-5"], "prices": {"gemini-2.5-flash": 1}}


def test_texts_of_rules_and_data_are_compared_whatever_their_case() -> None:
    assert similar("gpt-4o-mni", RULES, DATA)[0] == "gpt-4o-mini"
    assert similar("GPT-4O", RULES, DATA)[0] == "gpt-4o"
    assert similar("claude-sonet-4-5", RULES, DATA) == ["claude-sonnet-4-5"]
    assert similar("gemini-2.5-falsh", RULES, DATA) == ["gemini-2.5-flash"]


def test_a_model_that_the_policy_knows_or_that_is_far_from_all_means_itself() -> None:
    assert similar("gpt-4o", RULES, DATA) == []
    assert similar("o3", RULES, DATA) == []


def test_the_other_model_takes_its_place_everywhere() -> None:
    document = {"action": "x", "resource": {"model": "a", "models": ["a", "b"], "params": {}}}
    assert with_model(document, "c")["resource"] == {"model": "c", "models": ["c", "b"], "params": {}}
    assert document["resource"]["model"] == "a"
