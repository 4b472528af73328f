"""The configuration that `blackbox-proxy init` writes: every field with its default, explained. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

_HEAD = """\
# The gateway's configuration: `blackbox-proxy serve --config FILE`.
# Lines that begin with `# name =` show a default. No secret belongs here: keys are named by variable or by file.
# SIGHUP has models and keys read anew.

[server]
# host = "127.0.0.1"          # any other address needs keys
# port = 8080                 # or BLACKBOX_PROXY_SERVER__PORT; so for every field of [server] and [ledger]
# workers = 1                 # processes that answer, each with pairs of its own
# keys = "keys.txt"           # who may ask: `blackbox-proxy keys add NAME` writes it, hashes only
# key_env = "GATEWAY_KEY"     # one more key, from a variable
# default_model = "NAME"      # answers for names that nobody has; otherwise they are a 404
# cors_origins = []           # web pages that may ask, such as "https://chat.example"
# ui = false                  # a page at / to ask by, and to see who decided each token
# drain = 30                  # seconds for answers under way when the server ends
# open_after = 10             # seconds that a stream waits for its first token; then it opens, and errors are events
# ping = 15                   # seconds between two comments that keep a stream's connection alive
# log = "answers.jsonl"       # keep prompts and answers in this file; left out: none is kept
# metrics = false             # /metrics for Prometheus: pip install 'blackbox-proxy[metrics]'
# metrics_key = "NAME"        # the one key that may read them; left out: every key
# max_body = 4194304          # bytes of one request
# max_prompt = 400000         # characters of one prompt
# max_tokens = 32768          # of one answer; a chat without a limit may have as many, if the upstream's context does
# max_answers = 16            # prompts times n of one request

[ledger]
# file = "ledger.sqlite"      # default: in the user's state directory
# url = "postgresql://USER@HOST/DATABASE"  # in place of that: shared with other machines
# password_file = "FILE"      # for the url; else ~/.pgpass or PGPASSWORD
# off = false                 # book nothing; then no budget can hold
# max_cost = ["5/day"]        # US dollars; 0.01 holds for one answer, 20/user=ann for a tag
# max_calls = ["1000/day"]
# tags = {}

[limits]                      # of each key that has none of its own (`keys add NAME --requests-per-minute 60`)
# requests_per_minute = 60    # in any sixty seconds; without keys: of everybody together
# tokens_per_minute = 40000   # of prompts and answers
# max_cost = "20"             # US dollars in all, by the ledger's rows of the key
# max_calls = 10000           # requests to upstreams, likewise
# file = "limits.sqlite"      # default: in the user's state directory; gateways with one file hold them together

[traces]                      # OpenTelemetry: pip install 'blackbox-proxy[otel]'
# on = false
# endpoint = "http://127.0.0.1:4318/v1/traces"
# content = false             # true: prompts and answers are sent too

[cache]                       # greedy replies are given again to the very same request
# on = false
# file = "cache.sqlite"       # default: in the user's state directory
# max_megabytes = 64
"""

_UPSTREAM = """
[upstreams.{name}]
{where}
# api_key_env = "VARIABLE"    # where its key is; a profile knows its own
# api_key_file = "FILE"       # in place of that
# adapter = "completions"     # without a profile: completions, chat_prefill or chat_continue
# timeout = 600               # seconds for one reply: a whole answer may be long
# attempts = 4                # of one request
# at_once = 8                 # answers made at a time; steered ones: `slots` of the pair file (4), if fewer
# queue = 32                  # requests that may wait; after that 429
"""

_MODEL = """
[models.{name}]               # what clients ask for
upstream = "{upstream}"
model = {model}
pair = {pair}                 # a pair file; `demo` for the demo's; left out: not steered
# recipe = "recipe.toml"      # what `fit` wrote: who answers, its model, pair, examples and knobs
{template} # how a chat is written down for raw text: chatml, a Jinja file; raw: prompts as text only
# tokenizer = "auto"          # the upstream's own, where known: gguf:FILE, tiktoken:NAME, auto
# options = {{ top_k = 20 }}    # of the adapter, as in profiles
# fallbacks = [{{ upstream = "{upstream}" }}] # who is asked in order where an upstream fails

[models.{name}.steering]      # defaults; requests may set others under `steering`
# alpha = 1.0
# max_tokens = 1024           # where a request has no limit; left out: that of the server
# temperature = 0.0
"""


@dataclass(frozen=True, slots=True)
class UpstreamPlace:
    """A model that can be steered. profile: where it is known by one. chat: the endpoint writes chats down itself."""

    model: str
    base_url: str = ""
    profile: str = ""
    chat: bool = False


def starter(places: Sequence[UpstreamPlace], *, pair: str) -> str:
    """A commented configuration of these models, each steered by the same pair."""
    text, used = _HEAD, dict[str, int]()
    for place in places:
        name = _fresh(_slug(place.model), used)
        where = [f"profile = {_text(place.profile)}"] if place.profile else []
        where += [f"base_url = {_text(place.base_url)}"] if place.base_url else []
        text += _UPSTREAM.format(name=name, where="\n".join(where))
        template = '# template = "raw"          ' if place.chat else 'template = "chatml"          '
        text += _MODEL.format(
            name=f"steered-{name}",
            upstream=name,
            model=_text(place.model),
            pair=_text(pair),
            template=template,
        )
    return text


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _slug(model: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", model).strip("-").lower() or "model"


def _fresh(name: str, used: dict[str, int]) -> str:
    used[name] = used.get(name, 0) + 1
    return name if used[name] == 1 else f"{name}-{used[name]}"
