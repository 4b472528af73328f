"""Makes an expert: prompt and completion lines in, a GGUF LoRA adapter for llama.cpp out.

`data` turns lines into token ids, `train` fits low-rank matrices with PyTorch, `export` writes them;
they need the extra [tune], and are imported only where somebody tunes. `recipe` declares what may be chosen, and needs
nothing. Knows no API and no demo.
"""
