"""The hosted API's side: one door to the network, its retry policy, its errors, and the finding of adapters.

Nothing is imported here, because `transport` pulls in the openai SDK (about a second); import the module you need.
"""
