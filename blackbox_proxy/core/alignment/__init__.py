"""Two tokenizers and one text: which strings may follow, and how probable the pair finds them."""
