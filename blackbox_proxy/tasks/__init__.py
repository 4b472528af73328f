"""Tasks in the box: what is asked, what counts as right, and the adapter that was trained for it.

A folder beside this file is a task; a module here writes the folders' items anew, byte for byte. `demonstration` runs
the two tasks of the demo.
"""
