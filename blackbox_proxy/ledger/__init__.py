"""The durable books: one row for every attempt at a request, prices, and reports over them.

A sibling of local and remote that imports neither.
"""
