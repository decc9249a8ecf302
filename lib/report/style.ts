import { cssVariables } from './colors.js'

/** The page's style sheet. */
export function style(): string {
  return `
:root { ${cssVariables('light')} }
@media (prefers-color-scheme: dark) { :root { ${cssVariables('dark')} } }
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--background); color: var(--text);
  font: 16px/1.6 system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', 'Noto Sans', sans-serif;
  -webkit-font-smoothing: antialiased;
}
main { max-width: 1120px; margin: 0 auto; padding: 72px 32px 96px; }
h1, h2, .question { font-family: 'Iowan Old Style', 'Palatino Linotype', Palatino, Georgia, 'Noto Serif', 'DejaVu Serif', serif; }
h1 { font-size: 2.5rem; line-height: 1.15; font-weight: 500; letter-spacing: -0.015em; margin: 0 0 20px; }
h2 { font-size: 1.6rem; font-weight: 500; letter-spacing: -0.01em; margin: 0 0 8px; }
h3 { font-size: 0.95rem; font-weight: 600; margin: 0; }
p { margin: 0 0 12px; }
header p { max-width: 46rem; }
.question { font-size: 1.3rem; line-height: 1.45; color: var(--muted); margin-bottom: 28px; }
.answer { font-size: 1.1rem; }
.note { color: var(--muted); max-width: 46rem; margin-bottom: 24px; }
ul.note { padding-left: 1.1em; font-size: 0.9rem; }
.warning { border-left: 3px solid var(--series-1); padding-left: 14px; }
section { margin-top: 72px; }
section h2:not(:first-child) { margin-top: 64px; }
.scroll { overflow-x: auto; }
.chip { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 8px; }
.wide {
  /* As wide as its columns want, beyond the text if need be, and never beyond the window. */
  width: max(100%, min(100vw - 64px, 104px + var(--columns) * 200px));
  margin-left: 50%; transform: translateX(-50%);
}
.samples {
  display: grid; grid-template-columns: 104px repeat(var(--columns), minmax(150px, 1fr)); gap: 20px 20px;
  min-width: calc(104px + var(--columns) * 170px);
}
.samples .row-head { position: sticky; left: 0; background: var(--background); z-index: 1; }
.samples img { display: block; width: 100%; border-radius: 6px; image-rendering: pixelated; }
.column-head { align-self: end; }
.column-head p, .row-head p { color: var(--muted); font-size: 0.85rem; line-height: 1.4; margin: 2px 0 0; }
[hidden] { display: none !important; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.picture { display: flex; gap: 8px; align-items: stretch; }
.picture img { min-width: 0; }
.picture > div { display: flex; }
.rows { list-style: none; margin: 0; padding: 0; display: grid; grid-auto-rows: 1fr; max-width: 45%; flex: none; font-size: 0.7rem; line-height: 1; }
.rows li { align-self: center; color: var(--muted); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.zoom { display: block; width: 100%; min-width: 0; padding: 0; border: 0; background: none; cursor: zoom-in; border-radius: 6px; }
.tasks { display: flex; flex-wrap: wrap; gap: 6px 24px; align-items: center; margin-bottom: 20px; color: var(--muted); }
.tasks input[type='range'] { width: 180px; vertical-align: middle; accent-color: var(--series-1); }
.tasks input[type='checkbox'] { accent-color: var(--series-1); }
.csv, .buttons button {
  font: inherit; font-size: 0.8rem; color: var(--muted); background: none; border: 1px solid var(--rule); border-radius: 6px;
  padding: 3px 10px; margin: 8px 0 0; cursor: pointer;
}
.csv:hover, .buttons button:hover:enabled { color: var(--text); border-color: currentColor; }
.buttons button:disabled { opacity: 0.4; cursor: default; }
:focus-visible { outline: 2px solid var(--series-2); outline-offset: 2px; }
dialog {
  border: 1px solid var(--rule); border-radius: 12px; padding: 20px; background: var(--surface); color: var(--text); max-width: 96vw; max-height: 96vh;
}
dialog::backdrop { background: rgb(0 0 0 / 60%); }
dialog img { display: block; width: min(78vw, 72vh); height: auto; image-rendering: pixelated; border-radius: 6px; }
dialog .rows { font-size: 0.9rem; max-width: none; height: 100%; }
dialog figcaption { margin-top: 12px; }
.buttons { display: flex; gap: 8px; justify-content: center; }
.missing { color: var(--muted); text-align: center; padding-top: 40%; }
figure { margin: 0; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { color: var(--muted); font-size: 0.9rem; text-align: center; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 56px 40px; margin-top: 32px; }
.metric { min-width: 0; }
.metric h3 { margin-bottom: 12px; }
h3 span, thead th span { color: var(--muted); font-weight: 400; font-size: 0.85rem; }
thead th span { display: block; white-space: normal; line-height: 1.35; max-width: 13rem; margin-left: auto; }
.metric details { margin-top: 12px; }
.loss { max-width: 860px; }
.matrix-title { margin: 8px 0 16px; }
.heats { display: flex; flex-wrap: wrap; gap: 28px 36px; margin-bottom: 36px; }
.heat { width: max-content; }
.heat figcaption { text-align: left; color: var(--text); font-weight: 600; margin-bottom: 8px; }
.heat table { width: auto; border-collapse: separate; border-spacing: 3px; font-size: 0.85rem; }
.heat tr th, .heat tr td { border: 0; padding: 0 4px; min-width: 46px; height: 34px; text-align: center; vertical-align: middle; border-radius: 5px; }
.heat tr th { color: var(--muted); font-weight: 400; font-size: 0.8rem; min-width: 0; }
.heat .cell {
  background: color-mix(in oklab, var(--heat) calc(6% + 0.94 * var(--shade)), var(--surface));
  print-color-adjust: exact; -webkit-print-color-adjust: exact;
}
.heat tr .unknown { color: var(--muted); border: 1px dashed var(--rule); }
.bars { min-width: 120px; }
.bar { display: block; height: 10px; border-radius: 3px; min-width: 2px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: 10px; }
th, td { padding: 9px 14px; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
thead th { font-size: 0.85rem; font-weight: 600; vertical-align: bottom; white-space: normal; line-height: 1.4; }
tbody th { font-weight: 500; }
tfoot th, tfoot td { color: var(--muted); font-weight: 400; font-size: 0.85rem; border-bottom: 0; }
dl { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: 8px 28px; margin: 20px 0; }
dt { color: var(--muted); }
dd { margin: 0; }
details { margin-top: 24px; }
summary { cursor: pointer; color: var(--muted); margin-bottom: 16px; }
pre {
  font: 13px/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace;
  background: var(--surface); border: 1px solid var(--rule); border-radius: 8px; padding: 18px 20px; overflow-x: auto;
}
@media (max-width: 640px) {
  main { padding: 40px 18px 64px; }
  h1 { font-size: 2rem; }
  dl { grid-template-columns: 1fr; gap: 2px; }
  dd { margin-bottom: 10px; }
}
@media print {
  :root { ${cssVariables('light')} }
  body { background: none; font-size: 11pt; }
  main { max-width: none; padding: 0; }
  section { margin-top: 32px; }
  figure, tr, .metric, .samples > * { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; }
  .wide { width: 100%; margin: 0; transform: none; }
  .samples { min-width: 0; grid-template-columns: 72px repeat(var(--columns), minmax(0, 1fr)); gap: 8px; }
  .samples [hidden] { display: block !important; }
  .csv, .tasks, dialog { display: none; }
  table { font-size: 0.8rem; }
  th, td { padding: 5px 6px; white-space: normal; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  .bar, .chip { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
`
}
