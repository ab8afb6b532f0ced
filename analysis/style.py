"""How the page looks: on a screen in the light and in the dark, on a telephone, on paper."""

from analysis import svg

# Three figures stand side by side; a wide table becomes cards where a telephone or a tablet has no
# room for it; paper shows what is folded and cuts no column.
PAGE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fff; --quiet: #f5f5f5; --line: #e3e3e3;
  --rule: #bbb; --soft: #5c5c5c; --good: #0a6b3d; --fair: #8a5a00; --bad: #b00020; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e4e4e4; --paper: #16181b;
  --quiet: #22252a; --line: #363a40; --rule: #666c75; --soft: #a6abb3; --good: #63cf98;
  --fair: #e5b454; --bad: #ff8a94; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 1.25rem 1.25rem 4rem; color: var(--ink);
  background: var(--paper); overflow-wrap: anywhere;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.3rem 0 0.8rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 0.7rem; padding-bottom: 0.25rem;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 0.5rem; }
p, ul { margin: 0.6rem 0; }
ul { padding-left: 1.3rem; }
a { color: inherit; text-decoration-color: var(--rule); text-underline-offset: 0.2em; }
nav { margin: 1.6rem 0 0; padding: 0.8rem 1rem; background: var(--quiet); border-radius: 6px; }
nav ul { margin: 0; padding: 0; list-style: none; columns: 15rem; }
nav li { padding: 0.12rem 0; }
summary { cursor: pointer; margin: 1.4rem 0 0.6rem; }
summary > h2, summary > h3 { display: inline; border: 0; margin: 0; }
details { border-bottom: 1px solid var(--line); }
section { scroll-margin-top: 1rem; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem 0.9rem; margin: 0.8rem 0; overflow-x: auto; }
.figures svg { flex: none; display: block; max-width: none; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr));
  gap: 0.6rem; margin: 0.6rem 0 1.4rem; }
.beside > pre { margin: 0; min-width: 0; }
.beside > pre:first-child { grid-column: 1 / -1; }
.table { overflow-x: auto; margin: 0.8rem 0; }
table { border-collapse: collapse; font-size: 0.86rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.65rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: normal; }
th { border-bottom: 2px solid var(--rule); }
th.long { min-width: 6.5rem; overflow-wrap: anywhere; }
td.number { white-space: nowrap; }
td.long { min-width: 11rem; overflow-wrap: anywhere; }
code { font: 0.88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  background: var(--quiet); padding: 0.05em 0.3em; border-radius: 3px; }
td code { white-space: nowrap; }
td.long code { white-space: normal; }
pre { background: var(--quiet); border: 1px solid var(--line); border-radius: 4px;
  padding: 0.6rem 0.8rem; white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.4; }
pre code { background: none; padding: 0; font-size: 0.82rem; }
.good, .fair, .bad { font-weight: 600; white-space: nowrap; }
.good { color: var(--good); } .fair { color: var(--fair); } .bad { color: var(--bad); }
strong.good, strong.fair, strong.bad { border: 1px solid; border-radius: 0.8em;
  padding: 0 0.55em; font-size: 0.86em; }
@media (max-width: 40rem) { body { padding: 0.9rem 0.9rem 3rem; font-size: 15px; }
  td code { white-space: normal; overflow-wrap: anywhere; } }
@media screen and (max-width: 66rem) {
  .wide tbody { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr));
    gap: 0.6rem; }
  .wide table, .wide tr, .wide td { display: block; }
  .wide thead { display: none; }
  .wide tr { border: 1px solid var(--line); border-radius: 6px; padding: 0.4rem 0.7rem; }
  .wide td, .wide td.number, .wide td.long { border: 0; padding: 0.1rem 0; min-width: 0;
    white-space: normal; overflow-wrap: anywhere; }
  .wide td code { white-space: normal; }
  .wide td:empty { display: none; }
  .wide td[data-label]::before { content: attr(data-label) ": "; color: var(--soft);
    font-weight: 400; }
}
@page { size: A4; margin: 14mm 13mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  details::details-content { content-visibility: visible; display: block; height: auto; }
  h2, h3, summary { break-after: avoid; }
  svg, tr, .beside > pre { break-inside: avoid; }
  .figures, .table { overflow: visible; }
  table { font-size: 7.2pt; width: 100%; }
  th, th.long, td, td.number, td.long, td code { white-space: normal; min-width: 0; }
  th, td { padding: 0.15rem 0.3rem; }
  td code, td.long { overflow-wrap: anywhere; }
}
"""


def css() -> str:
    """The whole style sheet."""
    return PAGE + svg.css()
