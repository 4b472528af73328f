"""The route /messages, as Anthropic has it: its requests as chats, its replies from the same answers."""
