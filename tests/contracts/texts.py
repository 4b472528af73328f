"""What the servers of others are asked: in several scripts, code, emoji, white space at the end."""

TEXTS = (
    "The capital of France is",
    "def fibonacci(n):\n    ",
    "🦜 The parrot said: ",
    "I love it 😀 😃 😄 and",
    "Москва — столица",
    "日本の首都は",
    "العاصمة هي",
    "हिन्दी एक",
    'Ünïcödé ist {"name": "Ada", "born":',
    "SELECT name FROM users WHERE",
    "1, 1, 2, 3, 5, 8,",
    "\t\tfor (int i = 0; i < n; i++) {\n",
)

QUESTIONS = (
    "What is the capital of Albania?",
    "Write a Python function that adds two numbers.",
    "Which emoji 🦜 is this?",
    "Repeat: 😀😃😄",
    "Что такое Москва?",
    "日本の首都は?",
    "Qu'est-ce que Paris ?",
    "ما هي عاصمة مصر؟",
    "2+2=?",
    "List three facts about glass.",
)
