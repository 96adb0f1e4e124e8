"""What `jobctl run` shows at the end fits the terminal and shows the right model."""

import json

from hypothesis import given
from hypothesis import strategies as st

from supervisor.home import Home
from supervisor.screen import finale

PAGE = """# demo_step000100

**12.0 % pass**: 3 of 25 questions on facts the model was taught, in words it
never saw.

- against the untrained model: +12.0 points (-4.5 to +9.5): **cannot
  tell**; so many questions show differences from 7.1 points up
- a short one

```text
family           asked  this model             untrained              most frequent
cloze               10    0.0 % [0.0, 43.5]      0.0 % [0.0, 43.5]      0.0 % [0.0, 1.0]
```

## The end
"""


def test_a_page_is_printed_as_it_is_where_there_is_room():
    assert finale.fitted(PAGE, 100) == PAGE


def test_on_a_narrow_terminal_prose_is_wrapped_and_tables_are_cut():
    shown = finale.fitted(PAGE, 50).splitlines()
    assert "**12.0 % pass**: 3 of 25 questions on facts the" in shown
    assert "- against the untrained model: +12.0 points (-4.5" in shown
    assert "  to +9.5): **cannot tell**; so many questions" in shown
    assert "cloze               10    0.0 % [0.0, 43.5]      …" in shown
    assert max(map(len, shown)) <= 50


@given(st.integers(30, 99))
def test_no_word_of_the_prose_is_lost(columns):
    shown = finale.fitted(PAGE, columns)
    prose, page = (text.split("```")[0].split() + text.split("```")[-1].split() for text in (shown, PAGE))
    assert prose == page
    assert len(shown.splitlines()[0]) <= columns


def test_the_model_that_is_shown_is_the_last_judged_one_of_these_jobs(tmp_path):
    home = Home(tmp_path)
    for name, run, step, judged in (
        ("a", 5, 100, True),
        ("b", 5, 200, True),
        ("c", 5, 300, False),
        ("d", 4, 900, True),
    ):
        for place, there in (("models", True), ("reports", judged)):
            folder = tmp_path / place / name
            folder.mkdir(parents=True)
            if there:
                (folder / "manifest.json").write_text(json.dumps({"kind": "snapshot", "run": run, "step": step}))
    (tmp_path / "models" / "e").mkdir()
    (tmp_path / "models" / "e" / "manifest.json").write_text("torn")
    assert finale.newest_judged(home, {5}) == "b"
    assert finale.newest_judged(home, {4, 5}) == "b"  # the later job, whatever the steps
    assert finale.newest_judged(home, {6}) is None
