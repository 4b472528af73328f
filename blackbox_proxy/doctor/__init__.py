"""Asks a live endpoint some thirty short questions, and says what it can do and how it deviates.

    requests  how requests to a route are formed, and which are sent, as data                  pure
    replies   what a reply says, whatever its shape                                            pure
    analysis  what replies show when they are compared                                         pure
    findings  what was found, the verdict, and the options of an adapter that follow           pure
    routes, logprobs, continuation, token_text, batching, structured, schemas, answers, tools   the probes
    examining                              drives them: counts calls, tells refusals from failures

A probe is a function of a `ProbeSession`: a way to ask, and the findings. Knows no provider, no pair, and no network
beyond a function that sends.
"""
