"""The looks of the report's page: light and dark, on paper, and for those who use a keyboard."""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf7; --card: #ffffff; --ink: #1c2024; --soft: #646b73; --line: #e3e1da;
  --good: #17784a; --good-soft: #e2f3e9; --bad: #b3261e; --bad-soft: #fbe9e7; --note: #8a5a00; --note-soft: #fdf2d8;
  --heat: 33, 98, 168; --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --card: #1c2024; --ink: #e8e6e1; --soft: #9aa2ab;
  --line: #31373d; --good: #6fd09d; --good-soft: #17362a; --bad: #ff9c92; --bad-soft: #43201d; --note: #f0c46c;
  --note-soft: #3c3018; --heat: 98, 160, 234; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main, header > div, nav > div { max-width: 1080px; margin: 0 auto; padding: 0 24px; }
a { color: inherit; }
a:focus-visible, summary:focus-visible, pre:focus-visible, code:focus-visible { outline: 3px solid rgb(var(--heat));
  outline-offset: 2px; border-radius: 4px; }
.skip { position: absolute; left: -999px; } .skip:focus { left: 12px; top: 8px; background: var(--card);
  padding: 6px 12px; z-index: 3; }
header { padding: 36px 0 22px; border-top: 6px solid var(--tone); }
.good { --tone: var(--good); --tone-soft: var(--good-soft); } .bad { --tone: var(--bad); --tone-soft: var(--bad-soft); }
.note { --tone: var(--note); --tone-soft: var(--note-soft); }
header p { margin: 0; color: var(--soft); } header h1 { margin: 4px 0 8px; font-size: 34px; line-height: 1.2;
  letter-spacing: -0.02em; color: var(--tone); }
nav { position: sticky; top: 0; background: var(--paper); border-bottom: 1px solid var(--line); z-index: 2; }
nav a { display: inline-block; padding: 9px 18px 9px 0; color: var(--soft); text-decoration: none; }
nav a:hover { color: var(--ink); text-decoration: underline; }
section { margin: 34px 0; scroll-margin-top: 50px; } h2 { font-size: 20px; margin: 0 0 12px; letter-spacing: -0.01em; }
h3 { font-size: 15px; margin: 18px 0 6px; } .soft { color: var(--soft); } .mono, code, pre { font-family: var(--mono); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin-top: 26px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.tile b { display: block; font-size: 25px; font-weight: 600; letter-spacing: -0.02em;
  font-variant-numeric: tabular-nums; } .tile span { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 10px; background: var(--card); }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: 8px 14px; vertical-align: top; }
thead th { font-size: 12.5px; font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--line); }
tbody tr + tr > * { border-top: 1px solid var(--line); } tbody th { font-weight: 600; }
tbody th .soft { font-weight: 400; font-size: 13px; }
.small { font-size: 12px; margin-bottom: 0; }
.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.pill { display: inline-block; padding: 0 9px; border-radius: 99px; font-size: 13px; font-weight: 600;
  color: var(--tone); background: var(--tone-soft); }
details { background: var(--card); border: 1px solid var(--line); border-left: 4px solid var(--tone);
  border-radius: 8px; margin: 10px 0; } details > div { padding: 0 18px 14px; }
summary { padding: 11px 16px; cursor: pointer; } summary small { color: var(--soft); font-size: 13px; float: right; }
pre { background: var(--paper); border: 1px solid var(--line); border-radius: 6px; padding: 10px 14px; overflow-x: auto;
  font-size: 12.5px; line-height: 1.5; margin: 8px 0; } .command { user-select: all; white-space: pre-wrap;
  overflow-wrap: anywhere; } .wrong { color: var(--bad); font-weight: 600; } .cut { color: var(--soft); }
.told { white-space: pre-wrap; color: var(--soft); }
.dim { display: grid; grid-template-columns: 148px 1fr; gap: 12px; padding: 7px 14px; align-items: baseline; }
.dim + .dim { border-top: 1px solid var(--line); } .dim > b { font-weight: 600; font-size: 14px; }
.cells { display: flex; flex-wrap: wrap; gap: 4px; list-style: none; margin: 0; padding: 0; }
.cell { border-radius: 5px; padding: 2px 8px; font-size: 12.5px; background: rgba(var(--heat), var(--warm)); }
.cell b { font-weight: 600; font-variant-numeric: tabular-nums; padding-left: 5px; }
.cell.cold { background: repeating-linear-gradient(135deg, var(--bad-soft) 0 5px,
  transparent 5px 10px); border: 1px dashed var(--bad); color: var(--bad); padding: 1px 7px; }
.bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: 5px 14px; align-items: center;
  background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.bar { height: 12px; border-radius: 3px; background: rgba(var(--heat), 0.75); min-width: 1px; }
.track { background: rgba(var(--heat), 0.10); border-radius: 3px; }
footer { color: var(--soft); font-size: 13px; padding: 10px 0 40px; }
@media (max-width: 640px) { .dim { grid-template-columns: 1fr; gap: 4px; } header h1 { font-size: 26px; }
  summary small { float: none; display: block; } }
@media print { nav, .skip { display: none; } body { background: #fff; font-size: 11px; }
  details { break-inside: avoid; }
  .tile, .scroll, .bars { break-inside: avoid; } pre { white-space: pre-wrap; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
