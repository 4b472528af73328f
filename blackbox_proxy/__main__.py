"""`python -m blackbox_proxy`: the command line."""

from blackbox_proxy.cli import main

main()
