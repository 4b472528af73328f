"""Makes an expert: prompt and completion lines in, a GGUF LoRA adapter for llama.cpp out.

`data` turns lines into token ids, `train` fits low-rank matrices with PyTorch, `export` writes them;
they need the extra [tune], and nothing here is imported unless somebody tunes. Knows no API and no demo.
"""
