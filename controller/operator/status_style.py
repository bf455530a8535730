"""The style of the status page: readable at three in the morning on a phone, by day on a wall, and on paper.

Colours tell the rungs apart for people with colour-blindness, and every colour is doubled by a word. No script, no
font and no picture is fetched. Called by the page only.
"""

from __future__ import annotations

_LIGHT = """
  --page: #f5f7f9; --card: #ffffff; --ink: #17202a; --muted: #56626d; --rule: #dbe1e6; --accent: #0b67a6;
  --alarm: #a3123f; --alarm-soft: #fbe9ee; --fan: #0b67a6;
  --rung-0: #e4e9ed; --rung-1: #c9dfee; --rung-2: #8fbfdf; --rung-3: #f5e29b; --rung-4: #f0bb4a;
  --rung-5: #e08327; --rung-6: #a83c1c; --rung-7: #5e0f2e; --on-light: #17202a; --on-dark: #ffffff;
"""
_DARK = """
  --page: #0f1418; --card: #171d23; --ink: #e9eef2; --muted: #9daab5; --rule: #2c3740; --accent: #5db4f0;
  --alarm: #ff7597; --alarm-soft: #3a1722; --fan: #5db4f0;
  --rung-0: #2a333b; --rung-1: #2f4f66; --rung-2: #3c7aa6; --rung-3: #d9c26a; --rung-4: #e3a63a;
  --rung-5: #de7a22; --rung-6: #b4431f; --rung-7: #d65a8a; --on-light: #12171c; --on-dark: #ffffff;
"""
_BASE = """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 28px 24px 48px; max-width: 1120px; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; }
h1, h2, h3, p, ul, dl, dd { margin: 0; }
ul { padding: 0; list-style: none; }
h1 { font-size: 1.05rem; font-weight: 650; }
h2 { font-size: 1.6rem; line-height: 1.25; font-weight: 650; letter-spacing: -0.01em; text-wrap: balance; }
h3 { font-size: 0.95rem; font-weight: 650; margin: 32px 0 10px; }
a { color: var(--accent); }
small, .muted { color: var(--muted); }
.numbers, td, time { font-variant-numeric: tabular-nums; }
header { display: flex; flex-wrap: wrap; gap: 2px 18px; align-items: baseline; padding-bottom: 14px;
  border-bottom: 1px solid var(--rule); margin-bottom: 24px; }
header .muted { font-size: 0.9rem; }
article + article { margin-top: 48px; padding-top: 28px; border-top: 3px solid var(--rule); }
.name { color: var(--muted); font-size: 0.9rem; margin-bottom: 4px; }
.facts { display: flex; flex-wrap: wrap; gap: 4px 22px; margin-top: 10px; font-size: 0.92rem; color: var(--muted); }
.facts strong { color: var(--ink); font-weight: 600; }
.alarm { color: var(--alarm); font-weight: 600; }
.problems { margin: 18px 0 0; padding: 10px 16px; background: var(--alarm-soft); border-left: 4px solid var(--alarm);
  border-radius: 4px; font-size: 0.92rem; }
.problems li { padding: 3px 0; overflow-wrap: anywhere; }
.regions { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 14px; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 14px 16px; min-width: 0; }
.region-head { display: flex; justify-content: space-between; align-items: center; gap: 12px; margin-bottom: 6px; }
.region-head strong { font-size: 1.08rem; overflow-wrap: anywhere; }
.badge { border-radius: 4px; padding: 1px 9px; font-size: 0.85rem; font-weight: 650; white-space: nowrap;
  color: var(--on-light); }
.why { font-size: 0.92rem; margin-top: 6px; overflow-wrap: anywhere; }
.card > small { display: block; margin-top: 8px; }
.card > .alarm { margin-top: 8px; font-size: 0.92rem; }
table { border-collapse: collapse; width: 100%; background: var(--card); border: 1px solid var(--rule);
  border-radius: 8px; font-size: 0.93rem; }
th, td { text-align: left; padding: 8px 14px; border-bottom: 1px solid var(--rule); vertical-align: baseline; }
tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--muted); font-weight: 600; font-size: 0.83rem; }
th[scope=row] { font-weight: 600; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; white-space: nowrap; }
.fans { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 14px; }
figure { margin: 0; }
figcaption { font-size: 0.9rem; margin-bottom: 8px; display: flex; justify-content: space-between; gap: 10px; }
svg { display: block; width: 100%; height: auto; }
svg .band { fill: var(--fan); opacity: 0.2; }
svg .median { fill: none; stroke: var(--fan); stroke-width: 2; vector-effect: non-scaling-stroke; }
svg .axis { fill: none; stroke: var(--rule); stroke-width: 1; vector-effect: non-scaling-stroke; }
svg text { font-size: 11px; fill: var(--muted); }
.decisions li { padding: 12px 0; border-top: 1px solid var(--rule); overflow-wrap: anywhere; }
.decisions li:first-child { border-top: 0; padding-top: 0; }
.decisions p { font-size: 0.92rem; }
footer { margin-top: 44px; padding-top: 14px; border-top: 1px solid var(--rule); color: var(--muted);
  font-size: 0.87rem; display: flex; flex-wrap: wrap; gap: 4px 18px; }
"""
_NARROW = """
@media (max-width: 640px) {
  body { padding: 16px 14px 40px; }
  h2 { font-size: 1.3rem; }
  .regions, .fans { grid-template-columns: minmax(0, 1fr); }
  table, tbody, tr, td, th[scope=row] { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tr { padding: 10px 14px; border-bottom: 1px solid var(--rule); }
  tr:last-child { border-bottom: 0; }
  th, td { padding: 1px 0; border: 0; }
  td.number { text-align: left; white-space: normal; }
  td { display: flex; justify-content: space-between; gap: 16px; }
  td > span { text-align: right; min-width: 0; overflow-wrap: anywhere; }
  td::before { content: attr(data-label); color: var(--muted); flex: none; }
}
@media print { body { background: none; } header, footer { break-inside: avoid; } .card { break-inside: avoid; } }
"""
_RUNGS = "\n".join(f".rung-{number} {{ background: var(--rung-{number}); }}" for number in range(8))
_INVERTED = ".rung-6, .rung-7 { color: var(--on-dark); }"
_DARK_RUNGS = (
    "@media (prefers-color-scheme: dark) { .rung-0, .rung-1, .rung-2 { color: var(--ink); } "
    ".rung-7 { color: var(--on-light); } }"
)

STYLE = (
    f":root {{ color-scheme: light dark; {_LIGHT} }}\n"
    f"@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}\n"
    f"{_BASE}{_RUNGS}\n{_INVERTED}\n{_DARK_RUNGS}\n{_NARROW}"
)
"""The whole style sheet."""
