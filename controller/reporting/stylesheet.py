"""The page's style: calm, for light and dark screens, narrow ones and paper. Called by the page only.

Colours come from a palette that people with colour-blindness can tell apart (blue against vermillion, amber against
wine), and every colour is doubled by a word, a dash pattern or a hatch. No character here needs escaping in XML.
"""

from __future__ import annotations

_LIGHT = """
  --page: #ffffff; --ink: #17202a; --muted: #5b6772; --grid: #e7ebee; --rule: #d5dbe0; --soft: #f4f6f8;
  --featured: #0b67a6; --reference: #c84f0a; --other-0: #7a5aa0; --other-1: #4d6b57;
  --slowdown: #a3123f; --guard: #a3123f14; --excess: #c84f0a33;
  --served: #5b9bc8; --limited: #eab03a; --dropped: #8a1538; --pending: #9fc4de; --fan: #0b67a6;
  --rung-0: #e9edf0; --rung-1: #c9dfee; --rung-2: #8fbfdf; --rung-3: #f5e29b; --rung-4: #f0bb4a;
  --rung-5: #e08327; --rung-6: #a83c1c; --rung-7: #5e0f2e;
  --on-light: #17202a; --on-dark: #ffffff;
"""
_DARK = """
  --page: #12171c; --ink: #e9eef2; --muted: #9daab5; --grid: #222b33; --rule: #34404a; --soft: #1a2128;
  --featured: #5db4f0; --reference: #ff8f4d; --other-0: #b99be0; --other-1: #8fc0a0;
  --slowdown: #ff7597; --guard: #ff75971f; --excess: #ff8f4d40;
  --served: #3f86b8; --limited: #e0a52e; --dropped: #e2577c; --pending: #2d5c80; --fan: #5db4f0;
  --rung-0: #2a333b; --rung-1: #2f4f66; --rung-2: #3c7aa6; --rung-3: #d9c26a; --rung-4: #e3a63a;
  --rung-5: #de7a22; --rung-6: #b4431f; --rung-7: #d65a8a;
  --on-light: #12171c; --on-dark: #ffffff;
"""
_BASE = """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 40px 32px 56px; max-width: 1160px; background: var(--page);
  color: var(--ink);
  font: 16px/1.55 -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, system-ui,
    sans-serif; }
h1, h2, h3, p, ul, ol { margin: 0; }
ul, ol { padding: 0; list-style: none; }
h1 { font-size: clamp(1.55rem, 1rem + 2vw, 2.35rem); line-height: 1.22; font-weight: 650; letter-spacing: -0.015em;
  max-width: 34em; text-wrap: balance; }
h2 { font-size: 1.15rem; font-weight: 650; letter-spacing: -0.005em; }
h3 { font-size: 1rem; font-weight: 650; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; font-size: 0.85em; }
data { white-space: nowrap; }
data, .tick, td { font-variant-numeric: tabular-nums; }
a { color: var(--featured); overflow-wrap: anywhere; }
.eyebrow { color: var(--muted); font-size: 0.9rem; margin-bottom: 10px; }
.lead { margin-top: 16px; font-size: 1.06rem; max-width: 52em; color: var(--muted); }
.lead data { color: var(--ink); font-weight: 600; }
.sub { color: var(--muted); font-size: 0.9rem; max-width: 66em; text-wrap: pretty; }
.prose { max-width: 62em; }
ul.prose li { padding-left: 1.1em; text-indent: -1.1em; margin-bottom: 6px; }
ul.prose li::before { content: "–"; display: inline-block; width: 1.1em; text-indent: 0; color: var(--muted); }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 0; margin: 34px 0 10px;
  border-top: 1px solid var(--rule); border-bottom: 1px solid var(--rule); }
.tile { padding: 16px 20px 18px; border-left: 1px solid var(--rule); }
.tile:first-child { border-left: 0; padding-left: 0; }
.tile-label { font-size: 0.82rem; color: var(--muted); margin-bottom: 4px; }
.tile-value { font-size: 1.75rem; line-height: 1.25; font-weight: 650; letter-spacing: -0.02em;
  color: var(--featured); }
.tile-value small { font-size: 0.85rem; font-weight: 400; letter-spacing: 0; margin-left: 0.3em; }
.compared { font-size: 0.95rem; color: var(--reference); }
.compared data { font-weight: 650; }
.compared small { font-size: 0.85rem; margin-left: 0.1em; }
section.panel { margin-top: 44px; break-inside: avoid; }
section.text { margin-top: 60px; }
section.text h2 { margin-bottom: 12px; padding-top: 18px; border-top: 1px solid var(--rule); }
.frame { margin: 14px 128px 0 58px; }
.absent { color: var(--muted); }
footer { margin-top: 60px; padding-top: 14px; border-top: 1px solid var(--rule); color: var(--muted);
  font-size: 0.82rem; }
"""
_DRAWING = """
svg { overflow: visible; display: block; }
svg.data { overflow: hidden; }
svg text { font-size: 12px; fill: var(--muted); }
.grid { stroke: var(--grid); stroke-width: 1; }
.tick.value { text-anchor: end; }
.tick.time { text-anchor: middle; }
.tick.time.first { text-anchor: start; }
.tick.time.last { text-anchor: end; }
.data path { vector-effect: non-scaling-stroke; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.line.actual { stroke: var(--ink); }
.line.featured { stroke: var(--featured); stroke-width: 2.6; }
.line.reference { stroke: var(--reference); stroke-width: 2; }
.line.other { stroke-width: 1.6; stroke-dasharray: 5 4; }
.line.other-0 { stroke: var(--other-0); }
.line.other-1 { stroke: var(--other-1); stroke-dasharray: 2 3; }
.line.offered { stroke: var(--ink); stroke-width: 1.1; opacity: 0.75; }
.fan { fill: var(--fan); opacity: 0.16; }
.line.fan-median { stroke: var(--fan); stroke-width: 1.4; }
.dot { stroke: var(--page); stroke-width: 1.5; }
.dot.fan-median { fill: var(--fan); }
.dot.featured { fill: var(--featured); }
.dot.reference { fill: var(--reference); }
.area.served { fill: var(--served); }
.area.limited { fill: var(--limited); }
.area.dropped { fill: var(--dropped); }
.area.unserved { fill: var(--rule); }
.area.nodes-serving { fill: var(--served); opacity: 0.75; }
.area.nodes-pending { fill: var(--pending); opacity: 0.6; }
.guard { fill: var(--guard); }
.excess { fill: var(--excess); }
line.slowdown { stroke: var(--slowdown); stroke-width: 1.5; stroke-dasharray: 7 4; }
line.mark { stroke: var(--muted); stroke-width: 1; stroke-dasharray: 2 3; }
line.crossing { stroke: var(--reference); }
line.cursor { stroke: var(--ink); stroke-width: 1; opacity: 0.5; visibility: hidden; pointer-events: none; }
svg .line-label, svg .mark-label, svg .peak, svg .end { paint-order: stroke; stroke: var(--page); stroke-width: 4px;
  stroke-linejoin: round; }
svg .slowdown-text { fill: var(--slowdown); font-weight: 600; }
svg .guard-text { fill: var(--muted); stroke: none; }
svg .mark-label { fill: var(--ink); }
.before { text-anchor: end; }
svg .featured-text { fill: var(--featured); font-weight: 650; }
svg .reference-text { fill: var(--reference); font-weight: 650; }
svg .other-0-text { fill: var(--other-0); }
svg .other-1-text { fill: var(--other-1); }
svg .pending-text { fill: var(--muted); font-weight: 600; }
svg .peak { font-size: 13px; }
svg .row-name { fill: var(--ink); font-weight: 600; }
.rung { shape-rendering: crispEdges; }
.strip { margin-top: 8px; }
.strip.tier-start { margin-top: 24px; }
.strip.tier-start:first-child { margin-top: 0; }
.strip-caption { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: 0.85rem; color: var(--muted);
  margin-bottom: 4px; }
.strip-title { color: var(--ink); font-weight: 600; }
.key::before { content: ""; display: inline-block; width: 0.72em; height: 0.72em; margin-right: 0.42em;
  border-radius: 2px; background: var(--rule); }
.key.served::before { background: var(--served); }
.key.limited::before { background: var(--limited); }
.key.dropped::before { background: var(--dropped); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 0.85rem; color: var(--muted); margin-top: 8px; }
.legend.lines { display: none; }
.legend.lines li::before { content: ""; display: inline-block; width: 18px; height: 0; margin: 0 6px 4px 0;
  border-top: 3px solid var(--rule); vertical-align: middle; }
.legend.lines .legend-featured::before { border-color: var(--featured); }
.legend.lines .legend-reference::before { border-color: var(--reference); }
.legend.lines .other::before, .legend.lines li.legend-other::before { border-top-style: dashed; }
.legend.lines .other-0::before { border-color: var(--other-0); }
.legend.lines .other-1::before { border-color: var(--other-1); }
.swatch { display: inline-block; min-width: 1.5em; text-align: center; border-radius: 3px; font-size: 0.92em;
  font-weight: 600; line-height: 1.45; }
#hover-box { position: fixed; z-index: 2; pointer-events: none; padding: 8px 11px; background: var(--page);
  color: var(--ink); border: 1px solid var(--rule); border-radius: 6px; font-size: 12px; line-height: 1.5;
  font-variant-numeric: tabular-nums; box-shadow: 0 4px 16px #00000026; }
#hover-box[hidden] { display: none; }
#hover-box div:first-child { font-weight: 650; }
"""
_LISTS = """
.decision { display: grid; grid-template-columns: 96px 168px 1fr; gap: 4px 16px; padding: 9px 0;
  border-top: 1px solid var(--grid); break-inside: avoid; align-items: baseline; }
.decision:first-child { border-top: 0; }
.decision time { color: var(--muted); font-size: 0.87rem; font-variant-numeric: tabular-nums; }
.decision .where { font-size: 0.87rem; overflow-wrap: anywhere; }
.decision .what { grid-row: 1 / span 2; grid-column: 3; min-width: 0; overflow-wrap: anywhere; }
.decision .what p { color: var(--muted); font-size: 0.9rem; line-height: 1.4; }
.decision strong { font-weight: 600; }
.again { color: var(--muted); font-size: 0.85rem; }
.decision-id { grid-row: 2; grid-column: 1 / span 2; color: var(--muted); font-size: 0.78em; overflow-wrap: anywhere; }
.chip { display: inline-block; border-radius: 3px; padding: 0 7px; margin-right: 8px; font-size: 0.8rem;
  font-weight: 600; white-space: nowrap; }
details.more { border-top: 1px solid var(--rule); padding-top: 12px; }
summary { cursor: pointer; color: var(--featured); font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; }
caption { text-align: left; color: var(--muted); font-size: 0.87rem; padding-bottom: 8px; }
table + table, .scroll + .scroll { margin-top: 28px; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--grid); vertical-align: baseline; }
th[scope=row] { text-align: left; font-weight: 400; }
th[scope=col], td { text-align: right; white-space: nowrap; }
thead th { font-weight: 650; }
tr.group th { text-align: left; padding-top: 18px; font-weight: 650; border-bottom-color: var(--rule); }
td small { display: inline-block; min-width: 5.4em; color: var(--muted); }
.facts { margin-top: 22px; }
.facts li { display: grid; grid-template-columns: 1fr 1fr; gap: 4px 28px; padding: 9px 0;
  border-top: 1px solid var(--grid); break-inside: avoid; }
.facts ul { margin-top: 8px; }
.facts .source { color: var(--muted); font-size: 0.9rem; overflow-wrap: anywhere; }
.facts.assumed .fact::before { content: "assumed "; color: var(--reference); font-weight: 600; }
pre { margin: 10px 0 0; padding: 14px 16px; background: var(--soft); border-radius: 6px; overflow-x: auto; }
"""
_NARROW = """
@media (max-width: 760px) {
  body { padding: 24px 18px 40px; }
  .frame { margin: 12px 6px 0 44px; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .tile { padding: 12px 10px 14px 14px; border-top: 1px solid var(--rule); margin-top: -1px; }
  .tile:nth-child(odd) { border-left: 0; padding-left: 0; }
  .tile-value { font-size: 1.4rem; }
  .tile small { display: block; margin: 0; }
  svg .end, .wide-only, .tick.time.thin { display: none; }
  .legend.lines { display: flex; }
  .decision { grid-template-columns: auto 1fr; }
  .decision .what, .decision-id { grid-row: auto; grid-column: 1 / -1; }
  .facts li { grid-template-columns: 1fr; }
  td small { display: block; min-width: 0; }
}
"""
_PAPER = """
@media print {
  body { padding: 0; max-width: none; font-size: 11pt; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  #hover-box, line.cursor { display: none; }
  section.panel { margin-top: 24px; }
  .scroll { overflow: visible; }
}
"""


def _rung_rules() -> str:
    """Return the colours of the eight rungs, for bars, their text and chips."""
    rules = []
    for rung in range(8):
        text = "--on-dark" if rung >= 6 else "--on-light"
        rules.append(f".rung-{rung} {{ fill: var(--rung-{rung}); }}")
        rules.append(f"svg .rung-text-{rung} {{ fill: var(--rung-text-{rung}, var({text})); font-weight: 600; }}")
        rules.append(
            f".rung-chip-{rung} {{ background: var(--rung-{rung}); color: var(--rung-text-{rung}, var({text})); }}"
        )
    return "\n".join(rules)


_DARK_RUNG_TEXT = "--rung-text-0: #e9eef2; --rung-text-1: #e9eef2; --rung-text-2: #ffffff; --rung-text-7: #12171c;"

STYLESHEET = "\n".join(
    [
        f":root {{ color-scheme: light dark; {_LIGHT} }}",
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_DARK} {_DARK_RUNG_TEXT} }} }}",
        _BASE,
        _DRAWING,
        _LISTS,
        _rung_rules(),
        _NARROW,
        _PAPER,
    ]
)
