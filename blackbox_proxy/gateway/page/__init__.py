"""The page at `/`, off by default: a question, its answer token by token as it comes, and what that costs.

HTML and the words in it are made here, once, from what the trace page says; scripts and styles are files beside. The
page asks the public routes, as any client does, and shows a key where one is asked for.
"""
