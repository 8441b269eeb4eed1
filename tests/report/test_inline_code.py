"""Backticks become code, and nothing of a sentence becomes markup."""

from __future__ import annotations

import pytest

from setclip.report.inline_code import inline_code


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("use `auto`, or `cca`.", "use <code>auto</code>, or <code>cca</code>."),
        ("no names", "no names"),
        ("one ` alone", "one ` alone"),
        ("a < b & `<i>`", "a &lt; b &amp; <code>&lt;i&gt;</code>"),
        ("`a\nb`", "`a\nb`"),
    ],
)
def test_names_in_backticks_are_code(text: str, html: str) -> None:
    assert str(inline_code(text)) == html
