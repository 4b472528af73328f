"""Asks a live endpoint some thirty short questions, and says what it can do and how it deviates.

    voices   what is asked: a route, how it is spoken to, and its requests as data          pure
    hearing  what a reply says, whatever its shape                                           pure
    signs    what replies tell when they are laid side by side                               pure
    chart    what was found, the verdict, and the options of an adapter that follow          pure
    routes, numbers, going_on, spelling    the probes, each a function of "ask" and a chart
    examining                              drives them: counts calls, tells refusals from failures

Knows no provider, no pair, and no network beyond a function that sends.
"""
