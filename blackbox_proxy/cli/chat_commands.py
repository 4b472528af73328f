"""The commands of a chat: what is typed behind a slash, declared once, and what each does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from blackbox_proxy.cli.chat_entries import ChatCommand, Entry
from blackbox_proxy.cli.chat_model import ChatBill
from blackbox_proxy.cli.chat_output import ChatReply
from blackbox_proxy.cli.chatting import Chat
from blackbox_proxy.cli.conversation import Conversation
from blackbox_proxy.cli.inputs import messages_of
from blackbox_proxy.cli.spent import bill, cost_json
from blackbox_proxy.core.visible import one_line
from blackbox_proxy.errors import BlackboxProxyError, InputError, PromptError
from blackbox_proxy.files import replace_text
from blackbox_proxy.types import Prompt


def enter(chat: Chat, entry: Entry) -> None:
    """Do what was typed: ask a question, or obey a command. Whatever goes wrong is shown. A blank question is none."""
    command = entry.name if isinstance(entry, ChatCommand) else ""
    try:
        if isinstance(entry, ChatCommand):
            _obey(chat, entry)
        elif entry.strip():
            chat.ask(entry)
    except BlackboxProxyError as error:
        chat.fail(error, command=command)


def _obey(chat: Chat, command: ChatCommand) -> None:
    form = COMMANDS.get(command.name)
    if form is None:
        raise InputError(
            f"there is no command /{command.name}",
            hint="/help lists them; a question that begins with a slash is written with two",
        )
    if command.text and not form.argument:
        raise InputError(f"/{command.name} takes nothing behind it, not {command.text!r:.60}")
    reply = form.do(chat, command.text)
    if reply is not None:
        chat.output.said(command.name, reply)


def _alpha(chat: Chat, text: str) -> ChatReply:
    if text:
        chat.model.check_alpha()
        try:
            alpha = float(text)
        except ValueError:
            raise InputError(f"alpha is a number, not {text!r:.60}", hint="as in /alpha 0.5") from None
        chat.steering = replace(chat.steering, alpha=alpha, schedule=None)
    schedule = chat.steering.schedule
    shown = f"{chat.steering.alpha:g}" if schedule is None else f"by the schedule {schedule}"
    value = {"alpha": chat.steering.alpha if schedule is None else None}
    return ChatReply([f"alpha: {shown}"], value if schedule is None else {**value, "schedule": str(schedule)})


def _trace(chat: Chat, _text: str) -> ChatReply:
    if chat.last is None:
        raise InputError("there is no answer yet", hint="ask something first")
    return ChatReply(result=chat.last)


def _cost(chat: Chat, _text: str) -> ChatReply:
    both = {"last": chat.last_bill, "session": chat.bill}
    lines = [f"{'last answer' if name == 'last' else name}: {bill(one)}" for name, one in both.items()]
    return ChatReply(lines, {name: _bill_json(one) for name, one in both.items()})


def _set_beside(chat: Chat, text: str) -> ChatReply:
    wish = text or "next"
    if wish not in BESIDE:
        raise InputError(f"/beside takes on or off, or nothing for the next question, not {text!r:.60}")
    if wish != "off":
        chat.model.check_beside()
    chat.beside = wish
    return ChatReply([f"the unsteered answer is shown too: {BESIDE[wish]}"], {"beside": wish})


def _set_system(chat: Chat, text: str) -> ChatReply:
    if text:
        changed = chat.conversation.with_system("" if text == "-" else text)
        Prompt(messages=changed.messages)  # which raises for a text that is no UTF-8
        chat.conversation = changed
    system = chat.conversation.system
    return ChatReply([f"system message: {one_line(system) if system else 'none'}"], {"system": system})


def _undo(chat: Chat, _text: str) -> ChatReply:
    chat.conversation, question = chat.conversation.undone()
    if question is None:
        raise InputError("there is no question to take back")
    return ChatReply([f"taken back: {one_line(question)}"], {"question": question, **_size(chat)})


def _forget(chat: Chat, text: str) -> ChatReply:
    if text and not (text.isascii() and text.isdecimal() and 0 < len(text) < 10):
        raise InputError(f"/forget takes a number of questions, not {text!r:.60}", hint="as in /forget 3")
    chat.conversation = chat.conversation.without_oldest(int(text or 1))
    return ChatReply([f"questions in the conversation: {chat.conversation.questions}"], _size(chat))


def _clear(chat: Chat, _text: str) -> ChatReply:
    chat.conversation = Conversation(chat.conversation.system)
    return ChatReply(["the conversation begins anew; the system message stays"], _size(chat))


def _retry(chat: Chat, _text: str) -> None:
    before, question = chat.conversation, chat.unanswered
    if question is None:
        chat.conversation, question = before.undone()
    if question is None:
        raise InputError("there is no question to ask again")
    try:
        chat.ask(question)
    finally:
        if chat.unanswered is not None:  # the former answer is worth more than none
            chat.conversation = before


def _save(chat: Chat, text: str) -> ChatReply:
    if not text:
        raise InputError("/save needs the name of a file", hint="as in /save chat.json")
    path = Path(text).expanduser()
    if path.exists():
        _check_messages(path)
    said = [{"role": one.role, "content": one.content} for one in chat.conversation.messages]
    replace_text(path, json.dumps(said, ensure_ascii=False, indent=1) + "\n")
    return ChatReply([f"saved in {path}; --messages {path} goes on with it"], {"file": str(path), **_size(chat)})


def _help(_chat: Chat, _text: str) -> ChatReply:
    width = max(len(form.written) for form in COMMANDS.values())
    lines = [f"{form.written:<{width}}  {form.help}" for form in COMMANDS.values()]
    return ChatReply([*lines, *TYPING], {"commands": {form.written: form.help for form in COMMANDS.values()}})


def _exit(chat: Chat, _text: str) -> None:
    chat.over = True


def _size(chat: Chat) -> Mapping[str, object]:
    return {"questions": chat.conversation.questions}


def _bill_json(one: ChatBill) -> dict[str, object]:
    usage = one.usage
    counts = {"requests": usage.requests, "lost": usage.lost, "refused": usage.refused}
    return {"answers": one.answers, **counts, "input": usage.input, "output": usage.output, **cost_json(one)}


def _check_messages(path: Path) -> None:
    """Raises InputError for a file that holds no conversation: it is not written over."""
    try:
        messages_of(path)
    except PromptError:
        raise InputError(f"{path} is there already and holds no conversation", hint="name another file") from None


BESIDE = {"next": "of the next question", "on": "of each question", "off": "of none"}
"""What `/beside` may be set to, and what each means."""

TYPING = (
    'A line that ends with \\ goes on in the next; """ begins a text of several lines, and ends it behind one.',
    "A question that begins with a slash is written with two. Ctrl-C stops an answer; Ctrl-D ends the chat.",
)


@dataclass(frozen=True, slots=True)
class ChatCommandForm:
    """One command. argument: what stands behind its name; "" for nothing."""

    name: str
    argument: str
    help: str
    do: Callable[[Chat, str], ChatReply | None]

    @property
    def written(self) -> str:
        """How it is typed."""
        return f"/{self.name} {self.argument}".rstrip()


COMMANDS: Mapping[str, ChatCommandForm] = {
    one.name: one
    for one in (
        ChatCommandForm("alpha", "[X]", "show alpha, or set it for the answers that follow", _alpha),
        ChatCommandForm("trace", "", "every token of the last answer: drafted, chosen, offset, origin", _trace),
        ChatCommandForm("cost", "", "dollars and calls of the last answer and of all of this chat", _cost),
        ChatCommandForm("beside", "[on|off]", "show the unsteered answer too, of the next question", _set_beside),
        ChatCommandForm("system", "[TEXT]", "show the system message, or set it; - for none", _set_system),
        ChatCommandForm("retry", "", "ask the last question again, in place of its answer", _retry),
        ChatCommandForm("undo", "", "take the last question and its answer out", _undo),
        ChatCommandForm("forget", "[N]", "take the N oldest questions and their answers out; 1 without N", _forget),
        ChatCommandForm("clear", "", "take all questions and answers out", _clear),
        ChatCommandForm("save", "FILE", "write the conversation, for --messages of chat and steer", _save),
        ChatCommandForm("help", "", "these lines", _help),
        ChatCommandForm("exit", "", "end, as Ctrl-D does", _exit),
    )
}
