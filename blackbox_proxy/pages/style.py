"""The styles of the pages: light and dark by the reader's own setting, and black on white on paper."""

from __future__ import annotations

_LIGHT = """
  --paper: #ffffff; --raised: #f5f7f9; --ink: #1a2027; --soft: #56616d; --line: #d5dce3;
  --blue: #2563c9; --focus: #b3480a; --warn: #fdf1d8; --warn-line: #d9a72b;
  --changed: #fde7b8; --outside: #c9ecd2; --local: #f0d9f7; --constrained: #dce4ee;
"""
_DARK = """
  --paper: #12161b; --raised: #1b2128; --ink: #e5e9ee; --soft: #9aa6b2; --line: #323b45;
  --blue: #6ea2f7; --focus: #ffb070; --warn: #352a10; --warn-line: #a57c1c;
  --changed: #5a430c; --outside: #17492a; --local: #4c2a58; --constrained: #2d3c4f;
"""

COMMON = f"""
:root {{ color-scheme: light dark; {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
* {{ box-sizing: border-box; }}
body {{
  margin: 0 auto; padding: 32px 24px 64px; max-width: 1200px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: break-word;
}}
h1 {{ margin: 0; font-size: 1.75rem; line-height: 1.2; letter-spacing: -0.01em; }}
h2 {{ margin: 48px 0 12px; font-size: 1.2rem; line-height: 1.3; }}
p {{ margin: 8px 0; max-width: 75ch; }}
a {{ color: inherit; text-decoration-color: var(--soft); text-underline-offset: 3px; }}
:focus-visible {{ outline: 3px solid var(--focus); outline-offset: 2px; border-radius: 2px; }}
.soft, .none, footer {{ color: var(--soft); }}
.skip {{ position: absolute; left: -9999px; }}
.skip:focus {{ position: static; }}
.notice {{
  margin: 16px 0; padding: 10px 14px; border-left: 4px solid var(--warn-line); background: var(--warn); max-width: none;
}}
.cards {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 12px; margin: 24px 0; }}
.cards div {{ padding: 14px 16px; background: var(--raised); border: 1px solid var(--line); border-radius: 8px; }}
.cards dt {{ font-size: 0.875rem; color: var(--soft); }}
.cards dd {{ margin: 0; }}
.cards .figure {{ font-size: 1.6rem; line-height: 1.35; font-weight: 600; font-variant-numeric: tabular-nums; }}
.cards .means {{ font-size: 0.8125rem; line-height: 1.4; color: var(--soft); }}
.wide {{ overflow-x: auto; margin: 16px 0; border: 1px solid var(--line); border-radius: 8px; }}
table {{ border-collapse: collapse; width: 100%; font-size: 0.8125rem; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 7px 10px; text-align: right; vertical-align: top; white-space: nowrap; }}
thead th {{ vertical-align: bottom; white-space: normal; background: var(--raised); font-weight: 600; }}
thead th a {{ text-decoration-style: dotted; }}
th:first-child, td.words, th.words {{ text-align: left; }}
th:first-child {{ position: sticky; left: 0; background: var(--paper); }}
thead th:first-child {{ background: var(--raised); }}
tbody th {{ font-weight: 400; white-space: normal; }}
th .name {{ display: inline-block; min-width: 6.5em; max-width: 22em; overflow-wrap: break-word; }}
tbody tr, tfoot tr {{ border-top: 1px solid var(--line); }}
tfoot th, tfoot td {{ font-weight: 600; }}
dl.means {{ columns: 26em; column-gap: 48px; }}
dl.means div {{ padding: 5px 0; break-inside: avoid; }}
dl.means dt {{ font-weight: 600; }}
dl.means dd {{ margin: 0; color: var(--soft); }}
:target {{ background: var(--warn); }}
footer {{ margin-top: 48px; padding-top: 12px; border-top: 1px solid var(--line); font-size: 0.8125rem; }}
@media (max-width: 600px) {{ body {{ padding: 20px 16px 48px; }} h1 {{ font-size: 1.4rem; }} }}
@media print {{
  :root {{ color-scheme: light; {_LIGHT} }}
  @page {{ margin: 14mm; }}
  body {{ padding: 0; max-width: none; font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
  h2 {{ margin-top: 32px; break-after: avoid; }}
  tfoot {{ display: table-row-group; }} /* once, at the end */
  .cards .figure {{ font-size: 1.25rem; }}
  .cards div, tr, .together {{ break-inside: avoid; }}
  .cards {{ grid-template-columns: repeat(4, 1fr); }}
  .wide {{ overflow: visible; border: 0; }}
  table {{ font-size: 7.5pt; }}
  th, td {{ padding: 3px 4px; }}
  .skip {{ display: none; }}
}}
"""

COSTS = """
.legend { font-size: 0.875rem; color: var(--soft); }
.key { display: inline-block; width: 14px; height: 12px; margin: 0 6px 0 0; vertical-align: -1px; }
.key.naive { margin-left: 18px; }
.key.cost { background: var(--blue); }
.key.naive { border: 2px dashed var(--soft); }
svg { display: block; width: 100%; overflow: visible; }
svg .cost { fill: var(--blue); }
svg .naive {
  fill: none; stroke: var(--soft); stroke-width: 2; stroke-dasharray: 4 3; vector-effect: non-scaling-stroke;
}
svg .grid { stroke: var(--line); stroke-width: 1; vector-effect: non-scaling-stroke; }
svg .reach { fill: transparent; }
svg g:hover .reach { fill: var(--raised); }
.columns { display: grid; grid-template-columns: auto 1fr; gap: 0 10px; margin: 20px 12px 8px 0; }
.columns svg { height: 220px; }
.scale {
  display: flex; flex-direction: column; justify-content: space-between; height: 220px; text-align: right;
  font-size: 0.75rem; line-height: 0; color: var(--soft); font-variant-numeric: tabular-nums;
}
.ticks { grid-column: 2; position: relative; height: 24px; font-size: 0.75rem; color: var(--soft); }
.ticks span { position: absolute; top: 6px; transform: translateX(-50%); white-space: nowrap; }
.bars { margin: 16px 0 24px; padding: 0; list-style: none; }
.bars li { display: grid; grid-template-columns: 1fr auto; gap: 2px 16px; margin: 0 0 14px; font-size: 0.9375rem; }
.bars .name { overflow-wrap: anywhere; }
.bars .amounts { color: var(--soft); font-variant-numeric: tabular-nums; text-align: right; }
.bars .amounts b { color: var(--ink); }
.bars svg { grid-column: 1 / -1; height: 16px; }
"""

EVALUATION = """
h3 { margin: 28px 0 8px; font-size: 1rem; }
.intervals { margin: 8px 0 16px; padding: 0; list-style: none; font-size: 0.9375rem; }
.intervals li {
  display: grid; grid-template-columns: 20rem 1fr 10rem; gap: 0 16px; align-items: center; padding: 2px 0;
}
.intervals svg { height: 20px; }
.intervals .amounts { color: var(--soft); font-variant-numeric: tabular-nums; white-space: nowrap; }
.intervals .main { font-weight: 600; }
.intervals .axis { font-size: 0.75rem; color: var(--soft); }
.intervals .axis div { grid-column: 2; display: flex; justify-content: space-between; }
svg .spread, svg .curve { stroke: var(--blue); stroke-width: 2; fill: none; vector-effect: non-scaling-stroke; }
svg .dot { stroke: var(--blue); stroke-width: 10; stroke-linecap: round; vector-effect: non-scaling-stroke; }
.main svg .dot, .main svg .spread, svg .main .dot, svg .special { stroke: var(--focus); }
svg .special { stroke-width: 1; stroke-dasharray: 4 3; vector-effect: non-scaling-stroke; }
svg .band { fill: var(--blue); opacity: 0.18; }
svg .whole { fill: var(--raised); }
.curves { margin-right: 16px; max-width: 640px; }
.advice { font-weight: 600; }
details { margin: 8px 0; }
summary { cursor: pointer; padding: 4px 0; }
.mistakes th, .mistakes td { text-align: left; vertical-align: top; white-space: normal; font-weight: 400; }
.mistakes .said { display: block; min-width: 12rem; max-width: 26rem; white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 700px) {
  .intervals li { grid-template-columns: 1fr auto; }
  .intervals svg { grid-row: 2; grid-column: 1 / -1; }
  .intervals .axis div { grid-column: 1 / -1; }
}
"""

TOKENS = """
code, .tokens { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
code { display: inline-block; max-width: 18em; font-size: 0.95em; white-space: pre-wrap; overflow-wrap: break-word; }
i { font-style: normal; color: var(--soft); }
.marks { margin: 12px 0 20px; padding: 0; list-style: none; font-size: 0.8125rem; color: var(--soft); }
.marks li { margin: 5px 0; }
.mark { padding: 1px 0; border-radius: 3px; text-decoration-thickness: 2px; text-underline-offset: 4px; }
.marks .mark, p .mark, td .mark { padding: 1px 6px; color: var(--ink); }
.marks .draft, p .draft, td .draft { border: 1px solid var(--line); }
.changed { background: var(--changed); text-decoration-line: underline; text-decoration-style: solid; }
.outside { background: var(--outside); text-decoration-line: underline; text-decoration-style: double; }
.local { background: var(--local); text-decoration-line: underline; text-decoration-style: wavy; }
.constrained { background: var(--constrained); text-decoration-line: underline; text-decoration-style: dotted; }
.answer { padding: 16px 18px; border: 1px solid var(--line); border-radius: 8px; min-height: 96px; }
.tokens { margin: 0; padding: 0; list-style: none; line-height: 2; overflow-wrap: anywhere; }
.tokens .mark { margin-right: 1px; }
.tokens sup { color: var(--soft); }
.hint { margin: 14px 0 0; font-size: 0.8125rem; color: var(--soft); }
.card p { margin: 6px 0; }
.card thead th { background: none; }
.card th, .card td { padding: 3px 6px; background: none; }
.card th:first-child { position: static; padding-left: 0; background: none; white-space: normal; }
.card .chosen th, .card .chosen td { font-weight: 700; }
.card .chosen .soft { font-weight: 400; }
"""
"""What is said of one answer, token by token: on the trace page, and on the gateway's."""

TRACE = (
    TOKENS
    + """
.turns dt { font-size: 0.8125rem; color: var(--soft); }
.turns dd { margin: 0 0 10px; white-space: pre-wrap; max-width: 90ch; overflow-wrap: anywhere; }
.tokens li { display: inline; white-space: pre-wrap; }
.tokens li:hover > .mark, .tokens li:focus > .mark { outline: 2px solid var(--focus); }
.tokens li:focus { outline: none; }
.card {
  display: none; position: fixed; z-index: 1; overflow: auto; padding: 12px 16px;
  white-space: normal; overflow-wrap: break-word;
  background: var(--raised); border: 1px solid var(--line); border-radius: 8px; box-shadow: 0 6px 24px #0003;
  font: 0.8125rem/1.45 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
.tokens li:focus > .card { display: block; z-index: 2; }
.tokens li:hover > .card { display: block; z-index: 3; }
@media (min-width: 1000px) {
  header, .turns, .marks, .answer { margin-right: 460px; }
  .card { top: 24px; right: max(24px, 50vw - 576px); width: 436px; max-height: calc(100vh - 48px); }
}
@media (max-width: 999.9px) {
  .card { left: 0; right: 0; bottom: 0; max-height: 50vh; border-radius: 12px 12px 0 0; border-width: 1px 0 0; }
  body { padding-bottom: 50vh; }
}
@media print {
  .card, .hint { display: none !important; }
  header, .turns, .marks, .answer { margin-right: 0; }
  body { padding: 0; }
}
"""
)

FIT = """
.frontier { margin: 8px 0 16px; padding-left: 1.6em; font-size: 0.9375rem; font-variant-numeric: tabular-nums; }
.mistakes .blame { white-space: nowrap; font-weight: 600; }
.mistakes .right { display: block; font-size: 0.75rem; font-weight: 600; color: var(--blue); }
"""

CURVE = f"""
:root {{ color-scheme: light dark; {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
text {{ font: 12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--soft); }}
.head {{ font-size: 17px; font-weight: 600; fill: var(--ink); }}
.name {{ font-size: 13px; fill: var(--ink); }}
.left {{ text-anchor: end; }}
.middle {{ text-anchor: middle; }}
.paper {{ fill: var(--paper); }}
.grid, .tick {{ stroke: var(--line); stroke-width: 1; }}
polyline {{ fill: none; stroke-linejoin: round; }}
.each {{ stroke: var(--blue); stroke-width: 1; opacity: 0.3; }}
.train {{ stroke: var(--blue); stroke-width: 2.5; }}
.held {{ stroke: var(--focus); stroke-width: 2.5; stroke-dasharray: 6 4; }}
.dot {{ fill: var(--focus); }}
.best {{ fill: var(--paper); stroke: var(--focus); stroke-width: 3; }}
"""
