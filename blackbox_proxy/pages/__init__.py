"""Pages to look at in a browser: data in, the text of one self-contained HTML file out. Pure.

A page loads nothing and runs nothing: styles and drawings stand in it, and its own policy forbids the rest.
"""
