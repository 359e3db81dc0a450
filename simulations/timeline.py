"""Timeline: one run as a page of HTML that stands alone: no script, no network, no other file.

Above the picture (`timeline_drawing.py`) stands the verdict, below it each violation and the
numbers of the report. Light or dark follows the reader's system. Whatever comes from the plan or
from a device is escaped, because a plan may come from anybody.
"""

from collections.abc import Iterable, Sequence
from html import escape

from .batch import Summary
from .durations import duration
from .outcome import Outcome
from .report import Section, coverage_section, sections, verdict
from .timeline_drawing import SHAPES, draw
from .timeline_lanes import Picture, picture_of
from .trace import EVENTS_MAX

_STYLE = """
:root { color-scheme: light dark;
  --page: #fff; --ink: #1c2126; --muted: #646d76; --grid: #e3e6e9; --inside: #24303b;
  --up: #5b97cf; --starting: #b5d0e8; --asleep: #b3a4d4; --away: #d99a00; --elsewhere: #12897b;
  --law0: #d8e2ec; --law1: #e9eef3; --split: #b4442c; --fault: #c26a00; --past: #7a3fb0;
  --attack: #b0106e; --bad: #c8102e; --good: #1a7f37; --write: #3c4650; }
@media (prefers-color-scheme: dark) { :root {
  --page: #14181c; --ink: #e4e8ec; --muted: #99a3ad; --grid: #2a3138; --inside: #e4e8ec;
  --up: #3f77ab; --starting: #2a4358; --asleep: #64548a; --away: #e0aa20; --elsewhere: #35b5a4;
  --law0: #2e3a46; --law1: #222b34; --split: #e0735a; --fault: #f0993c; --past: #bd8ff0;
  --attack: #ff70bd; --bad: #ff5c70; --good: #57c46f; --write: #c3cbd3; } }
body { margin: 0 auto; max-width: 1280px; padding: 20px 24px 60px; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 22px; margin: 0; } h2 { font-size: 16px; margin: 28px 0 6px; }
.verdict { margin: 2px 0 4px; font-weight: 600; } .ok { color: var(--good); }
.failed { color: var(--bad); } .muted { color: var(--muted); }
p { margin: 4px 0; } footer { margin-top: 24px; }
code { font: 13px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
.picture { overflow-x: auto; } .picture svg { min-width: 900px; width: 100%; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 3px 22px 3px 0; border-bottom: 1px solid var(--grid);
  vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: 600; color: var(--muted); } td.n, th.n { text-align: right; }
.tables { display: flex; flex-wrap: wrap; gap: 0 56px; } .wide { overflow-x: auto; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; padding: 0; margin: 8px 0 0;
  list-style: none; font-size: 13px; color: var(--muted); }
.legend svg { width: 22px; height: 14px; vertical-align: -2px; margin-right: 5px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg .name { text-anchor: end; } svg .tick { text-anchor: middle; fill: var(--muted); }
svg .muted { fill: var(--muted); } svg .inside { font-size: 11px; fill: var(--inside); }
svg .grid { stroke: var(--grid); } svg .down { stroke: var(--muted); stroke-dasharray: 1 3; }
svg .up { fill: var(--up); } svg .starting { fill: var(--starting); }
svg .asleep { fill: var(--asleep); } svg .away { fill: var(--away); }
svg .elsewhere { fill: var(--elsewhere); }
svg .law0 { fill: var(--law0); stroke: var(--page); }
svg .law1 { fill: var(--law1); stroke: var(--page); } svg .split { fill: var(--split); }
svg .fault { fill: var(--fault); } svg .past { fill: var(--past); stroke: var(--page); }
svg .attack { fill: var(--attack); } svg .solid { fill: var(--ink); }
svg .line { fill: none; stroke: var(--ink); stroke-width: 1.8; }
svg .ring { fill: none; stroke: var(--muted); stroke-width: 1.8; }
svg .halo { fill: var(--page); opacity: .8; } svg .write { stroke: var(--write); }
svg .mended, svg .settled { stroke: var(--good); stroke-dasharray: 4 3; }
svg .moment { fill: var(--good); } svg .violation { fill: var(--bad); stroke: var(--page); }
svg .number { text-anchor: middle; fill: var(--page); font-size: 10px; font-weight: 700; }
"""

_LEGEND_SHAPES = {
    "running": '<rect class="up" y="3" width="22" height="8"/>',
    "starting": '<rect class="starting" y="3" width="22" height="8"/>',
    "asleep": '<rect class="asleep" y="3" width="22" height="8"/>',
    "switched off": '<path class="down" d="M0 7H22"/>',
    "out of reach": '<rect class="away" y="6" width="22" height="3"/>',
    "at another place": '<rect class="elsewhere" y="6" width="22" height="3"/>',
    "cut off in groups": '<rect class="split" y="6" width="22" height="3"/>',
    "a write": '<path class="write" d="M8 4v6M13 4v6"/>',
}
_MARKS_IN_WORDS = {
    "crash": "crash",
    "power cut": "power cut",
    "start failed": "did not start",
    "put back": "old image put back",
    "cloned from": "copied to here",
    "clock": "wall clock set wrong",
    "attacked": "attacked by a hostile peer",
    "fault": "another fault",
    "refused": "a write or read refused",
}


def timeline(outcome: Outcome, replay: str = "") -> str:
    """The page. `replay` is the command that runs this again."""
    plan = outcome.plan
    summary = Summary()
    summary.add(outcome)
    title = f"{plan.scenario}, seed {plan.seed}"
    state = "ok" if outcome.ok else "failed"
    kinds = ", ".join(plan.faults) or "none"
    picture = picture_of(outcome)
    body = [
        f"<h1>{_text(title)}</h1>",
        f'<p class="verdict {state}">{_text(verdict(summary))}</p>',
        f'<p class="muted">{len(plan.cast)} devices over {duration(plan.end_ms)} on '
        f"{_text(plan.law)}; {len(plan.steps):,} steps; faults: {_text(kinds)}</p>",
        f"<p><code>{_text(replay)}</code></p>" if replay else "",
        f'<div class="picture">{draw(picture)}</div>',
        _legend(),
        _cut_short(outcome, picture),
        _violations(outcome),
        '<div class="tables">',
        *(_table(section) for section in sections(summary)),
        _table(coverage_section(summary, met_only=True)) if summary.coverage else "",
        "</div>",
        f'<footer class="muted">digest <code>{_text(outcome.digest)}</code></footer>',
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>covey simulate: {_text(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body></html>\n"
    )


def _legend() -> str:
    marks = [
        (words, f'<g transform="translate(11 7)">{SHAPES[kind]}</g>')
        for kind, words in _MARKS_IN_WORDS.items()
    ]
    badge = '<rect class="violation" width="22" height="14" rx="7"/>'
    badge += '<text class="number" x="11" y="10.5">1</text>'
    shown: Iterable[tuple[str, str]] = (*_LEGEND_SHAPES.items(), *marks, ("a violation", badge))
    items = "".join(
        f'<li><svg viewBox="0 0 22 14" aria-hidden="true">{shape}</svg>{words}</li>'
        for words, shape in shown
    )
    return f'<ul class="legend">{items}</ul>'


def _cut_short(outcome: Outcome, picture: Picture) -> str:
    told = []
    if picture.is_cut_short:
        until = duration(picture.until_ms)
        told.append(f"The picture ends at {until}; what came later stands at its right edge.")
    if len(outcome.timeline) >= EVENTS_MAX:
        told.append(f"Only the first {EVENTS_MAX:,} events were kept; later ones are not shown.")
    return "".join(f'<p class="muted">{line}</p>' for line in told)


def _violations(outcome: Outcome) -> str:
    rows = [
        (str(number), v.claim, _when(v.at_ms), v.device or "everybody", v.message)
        for number, v in enumerate(outcome.violations, 1)
    ]
    heads = ("", "claim", "when", "device", "what")
    return _table(Section("violations", heads, list(rows))) if rows else ""


def _when(at_ms: int) -> str:
    return f"{duration(at_ms)} ({at_ms:,} ms)" if at_ms >= 1_000 else duration(at_ms)


def _table(section: Section) -> str:
    rows = [_row(section, "td", row) for row in section.rows]
    if any(section.heads):
        rows.insert(0, _row(section, "th", section.heads))
    title = f"<h2>{_text(section.title)}</h2>"
    return f'<section class="wide">{title}<table>{"".join(rows)}</table></section>'


def _row(section: Section, tag: str, cells: Sequence[str]) -> str:
    """One row; columns of numbers stand to the right, but for the first."""
    shown = (
        f"<{tag}{' class=n' if at and section.is_of_numbers(at) else ''}>{_text(cell)}</{tag}>"
        for at, cell in enumerate(cells)
    )
    return f"<tr>{''.join(shown)}</tr>"


def _text(text: str) -> str:
    return escape("".join(c if c.isprintable() else "�" for c in text))
