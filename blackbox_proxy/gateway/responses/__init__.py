"""The route /responses: its requests as chats, its replies from the same answers."""
