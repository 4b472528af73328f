"""The local pair: find weights, load them through llama.cpp, score text with both members.

Knows no API and no rule of steering.
"""
