"""Prompts of an exact length."""

from __future__ import annotations

import pytest

from argosy.client.prompt import prompt_text


@pytest.mark.parametrize("num_tokens", [1, 7, 1155, 126_195, 600_000])
def test_a_prompt_has_four_bytes_per_token_and_needs_no_escape(num_tokens: int) -> None:
    text = prompt_text("chat-000001", num_tokens)
    assert len(text.encode()) == 4 * num_tokens
    assert not set('"\\\n') & set(text)
    assert text == prompt_text("chat-000001", num_tokens)


def test_prompts_share_text_only_where_they_share_blocks() -> None:
    one, two = prompt_text("a", 1100, (5, 6)), prompt_text("b", 1100, (5, 7))
    assert one[:2048] == two[:2048]
    assert one[2048:2112] != two[2048:2112]
    assert prompt_text("a", 1100)[:64] != prompt_text("b", 1100)[:64]
    assert len(prompt_text("a", 100, (5, 6))) == 400
