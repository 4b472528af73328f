"""What every server in OpenAI's shapes needs: fields of requests, text in parts, frames of replies, HTTP and sockets.

The stand-in and the gateway are built on it and know nothing of each other. The package knows no model.
"""
