"""What chats are asked in measurements: short tasks of several kinds, in turn, so that any first few are varied."""

from __future__ import annotations

_KINDS = {
    "question": (
        "What is the capital of France?",
        "Why is the sky blue?",
        "How many days are there in a leap year, and why?",
        "Who wrote Romeo and Juliet, and what is it about?",
        "What is the difference between a lake and a sea?",
        "Can penguins fly? Explain in one sentence.",
        "What does a thermometer measure?",
        "Is 91 a prime number?",
        "What happens to water when it freezes?",
    ),
    "list": (
        "List three primary colours.",
        "Name five animals that live in the sea, as a numbered list.",
        "Give me four tips for sleeping better, as bullet points.",
        "List the first ten even numbers, separated by commas.",
        "Write a shopping list for pancakes.",
        "Name the days of the week in order.",
        "List three advantages and one disadvantage of bicycles.",
        "Give me a table in Markdown of three planets and their colours.",
    ),
    "prose": (
        "Write two sentences about winter.",
        "Describe the smell of fresh bread.",
        "Tell me a short story about a lost key.",
        "Write the beginning of a letter to an old friend.",
        "Explain to a child what a shadow is.",
        "Write a formal apology for a late delivery.",
        "Summarise in one paragraph how a bill becomes a distribution.",
        "Write a short poem about the moon.",
        "Describe a market in the early morning.",
    ),
    "code": (
        "Write a Python function that returns the sum of a list.",
        "Write a shell command that counts the lines of all .txt files.",
        "Show me a small HTML page with a heading and a link.",
        "Write an SQL query that finds the five largest orders.",
        "What does `x = [i * i for i in range(5)]` do in Python?",
        "Write a JSON object that describes a book.",
        "Write a regular expression for dates such as 2024-05-31.",
        "Write a JavaScript function that reverses a string.",
    ),
    "script": (
        "Was ist die Hauptstadt von Österreich?",
        "¿Cuáles son los colores del arco iris?",
        "Écris deux phrases sur la mer.",
        "中国的首都是哪里？",
        "日本で一番高い山は何ですか。",
        "Какая река самая длинная в России?",
        "ما هي عاصمة مصر؟",
        "Ποια είναι η πρωτεύουσα της Ελλάδας;",
    ),
}


def prompts(count: int | None = None) -> list[tuple[str, str]]:
    """(kind, text) of the first `count`, or all: one of each kind, then another one of each."""
    longest = max(len(texts) for texts in _KINDS.values())
    rows = [(kind, texts[at]) for at in range(longest) for kind, texts in _KINDS.items() if at < len(texts)]
    return rows if count is None else rows[:count]
