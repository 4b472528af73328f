"""Price lists: the user's own before genai-prices, whose bills a second source works out again."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from pathlib import Path

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import TieredPrices

from blackbox_proxy.core.money.amounts import cost
from blackbox_proxy.errors import InputError
from blackbox_proxy.ledger.prices import PriceList, _price
from blackbox_proxy.types import Usage

OPENAI = "https://api.openai.com/v1"
DAY = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)
LISTED = PriceList()
PAGE = Path(__file__).parents[2] / "docs" / "cost.md"
OWN = """
[[price]]
model = "gpt-4o-mini"
input = 1
output = "2.5"

[[price]]
model = "mine-*"
since = 2026-02-01
input = 0.10
cached = 0.025
cache_write = 0.125
output = 0.40

[[price]]
model = "mine-*"
since = 2026-01-01
input = 0.2
output = 0.8

[[price]]
model = "here"
base_url = "http://127.0.0.1:8000/v1/"
input = 0
output = 0
"""


@pytest.fixture
def own(tmp_path: Path) -> PriceList:
    path = tmp_path / "prices.toml"
    path.write_text(OWN)
    return PriceList(path)


@pytest.mark.parametrize(
    ("url", "model", "usage", "dollars"),
    [
        (OPENAI, "gpt-4o-mini", Usage(input=1_000_000, output=0), "0.15"),
        (OPENAI, "gpt-4o-mini", Usage(input=2000, cached=1024, output=50), "0.0002532"),  # 976*.15 + 1024*.075 + 50*.6
        (OPENAI, "gpt-5.4", Usage(input=1000, cached=400, output=100), "0.0031"),  # 600*2.5 + 400*.25 + 100*15
        (OPENAI, "gpt-5.4", Usage(input=300_000, output=10), "1.500225"),  # a tier: 300000*5 + 10*22.5
        (OPENAI, "gpt-5.6-luna", Usage(input=2000, cached=500, cache_write=1000, output=10), "0.000372"),
        ("https://api.mistral.ai/v1", "mistral-small-latest", Usage(input=1000, output=100), "0.00021"),
    ],
)
def test_bills_worked_out_by_hand_from_the_published_rates(url: str, model: str, usage: Usage, dollars: str) -> None:
    assert cost(usage, LISTED.find(url, model, at=DAY)) == Decimal(dollars)


USED = Usage(input=4321, cached=1024, cache_write=512, output=77)


def test_every_bill_is_that_of_a_second_source() -> None:
    """genai-prices works out the same from its own rows, for every model priced here, below and above tiers."""
    checked = tiered = 0
    for provider in get_snapshot().providers:
        for model in provider.models:
            prices = model.get_prices(DAY)
            ours = _price(prices, source="", since="")
            tiered += ours is not None and any(isinstance(one, TieredPrices) for one in vars(prices).values())
            for times in (1, 100) if ours is not None else ():
                usage = Usage(*(times * count for count in (USED.input, USED.cached, USED.cache_write, USED.output)))
                theirs = genai_prices.Usage(
                    input_tokens=usage.input,
                    cache_read_tokens=usage.cached if ours and ours.cached else 0,
                    cache_write_tokens=usage.cache_write if ours and ours.cache_write else 0,
                    output_tokens=usage.output,
                )
                assert cost(usage, ours) == prices.calc_price(theirs)["total_price"], (provider.id, model.id)
                checked += 1
    print(f"{checked} bills agree")
    assert checked > 3000
    assert tiered > 50


def test_a_row_says_where_it_is_from_and_since_when_it_holds() -> None:
    found = LISTED.find(OPENAI, "gpt-5.6-luna", at=DAY)
    assert found is not None
    assert found.source == f"genai-prices {genai_prices.__version__}: openai/gpt-5.6-luna"
    assert found.since == "2026-07-30"
    before = LISTED.find(OPENAI, "gpt-5.6-luna", at=dt.datetime(2026, 7, 29, tzinfo=dt.UTC))
    assert before is not None
    assert before.input.base > found.input.base
    assert before.since == ""


@pytest.mark.parametrize(
    ("url", "model"),
    [
        (OPENAI, "no-such-model"),
        ("http://127.0.0.1:8000/v1", "gpt-4o-mini"),  # a server of one's own is not billed like OpenAI
        ("https://nobody.example/v1", "gpt-4o-mini"),
        ("", "gpt-4o-mini"),
    ],
)
def test_what_nobody_knows_has_no_price(url: str, model: str) -> None:
    assert LISTED.find(url, model, at=DAY) is None


def test_the_users_file_wins(own: PriceList) -> None:
    found = own.find(OPENAI, "gpt-4o-mini", at=DAY)
    assert cost(Usage(input=1_000_000, output=1_000_000), found) == Decimal("3.5")
    assert found is not None
    assert found.source.endswith("prices.toml: price 1")
    assert own.find(OPENAI, "gpt-5.4", at=DAY) == LISTED.find(OPENAI, "gpt-5.4", at=DAY)


@pytest.mark.parametrize(
    ("day", "dollars", "since"),
    [("2026-01-31", "1", "2026-01-01"), ("2026-02-01", "0.425", "2026-02-01"), ("2026-11-25", "0.425", "2026-02-01")],
)
def test_dated_rows_hold_from_their_day_on(own: PriceList, day: str, dollars: str, since: str) -> None:
    """A million tokens in, all from the cache, and a million out; the older row has no price for a cache."""
    found = own.find("http://anywhere", "mine-7", at=dt.datetime.fromisoformat(f"{day}T23:59:00+00:00"))
    assert found is not None
    assert found.since == since
    assert cost(Usage(input=1_000_000, cached=1_000_000, output=1_000_000), found) == Decimal(dollars)


def test_before_its_first_day_a_row_does_not_hold(own: PriceList) -> None:
    assert own.find("http://anywhere", "mine-7", at=dt.datetime(2025, 12, 31, tzinfo=dt.UTC)) is None


def test_a_row_may_hold_at_one_address_only(own: PriceList) -> None:
    assert cost(Usage(input=9, output=9), own.find("http://127.0.0.1:8000/v1", "here", at=DAY)) == 0
    assert own.find("http://127.0.0.1:8001/v1", "here", at=DAY) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[price]]\nmodel = "m"\ninput = 1\n', r"prices\.toml: price\.1\.output: Field required"),
        ('[[price]]\nmodel = "m"\ninput = -1\noutput = 1\n', r"price\.1\.input: Input should be greater than or equal"),
        ('[[price]]\nmodel = "m"\ninput = nan\noutput = 1\n', r"price\.1\.input: "),
        ('[[price]]\nmodel = "m"\ninput = 1\noutput = 1\ncolour = 1\n', r"price\.1\.colour: Extra inputs"),
        ("[[price]\n", r"cannot read the prices in .*prices\.toml"),
        ("[price]\nmodel = 1\n", r"price: Input should be a valid list"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=says) as raised:
        PriceList(path)
    assert "[[price]]" in raised.value.hint


def test_the_readmes_example_is_a_price_file(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(\[\[price\]\]\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "prices.toml"
    path.write_text(block)
    found = PriceList(path).find("https://host/v1", "my-model-7", at=DAY)
    assert cost(Usage(input=1_000_000, cached=1_000_000, output=1_000_000), found) == Decimal("0.675")


def test_amounts_keep_their_digits(tmp_path: Path) -> None:
    """0.1 in TOML is a tenth, not the float next to it."""
    path = tmp_path / "prices.toml"
    path.write_text('[[price]]\nmodel = "m"\ninput = 0.1\noutput = 0.3\n')
    found = PriceList(path).find("", "m", at=DAY)
    assert found is not None
    assert (found.input.base, found.output.base) == (Decimal("0.1"), Decimal("0.3"))
