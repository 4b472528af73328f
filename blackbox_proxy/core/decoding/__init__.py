"""One answer, token by token: what is asked, what competes, what is chosen."""
