import { cssVariables } from '../colors.js'

/** The live page's style sheet. */
export function liveStyle(): string {
  return `
:root { ${cssVariables('light')} color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { ${cssVariables('dark')} } }
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--background); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', 'Noto Sans', sans-serif;
}
main { max-width: 1180px; margin: 0 auto; padding: 40px 32px 72px; }
h1 { font-size: 1.9rem; line-height: 1.2; font-weight: 600; margin: 0 0 8px; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; font-weight: 600; margin: 0 0 8px; }
h3 { font-size: 1rem; font-weight: 600; margin: 20px 0 4px; }
p { margin: 0 0 10px; }
section { margin-top: 44px; }
.note { color: var(--muted); overflow-wrap: anywhere; }
.skip { position: absolute; left: -9999px; }
.skip:focus { left: 16px; top: 8px; background: var(--surface); padding: 6px 12px; }
:focus-visible { outline: 3px solid var(--series-2); outline-offset: 2px; }
.bar { display: flex; flex-wrap: wrap; gap: 8px 24px; align-items: baseline; justify-content: space-between; }
#state { font-weight: 600; margin: 0; }
button, select { font: inherit; color: inherit; background: var(--surface); border: 1px solid var(--muted); border-radius: 6px; padding: 4px 12px; min-height: 32px; }
progress { display: block; width: 100%; height: 12px; margin: 8px 0; accent-color: var(--series-2); }
.now { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 12px 20px; margin: 20px 0 0; }
.now dt { color: var(--muted); font-size: 0.85rem; }
.now dd { margin: 0; font-variant-numeric: tabular-nums; font-size: 1.1rem; }
.choose { display: flex; gap: 12px; align-items: center; flex-wrap: wrap; }
.choose input { flex: 1; min-width: 160px; max-width: 420px; min-height: 28px; accent-color: var(--series-2); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; min-width: 100%; }
caption { text-align: left; font-weight: 600; padding: 14px 0 6px; }
th, td { padding: 6px 12px; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child { text-align: left; padding-left: 0; }
thead th { font-size: 0.85rem; }
tbody th { font-weight: 500; }
.chip { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 8px; }
${Array.from({ length: 8 }, (_, i) => `.series-${i + 1} { background: var(--series-${i + 1}); }`).join('\n')}
.current { font-weight: 600; }
#sample { display: block; width: min(100%, 420px); min-height: 64px; image-rendering: pixelated; border-radius: 6px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 28px; }
figure { margin: 0; min-width: 0; }
figcaption { font-weight: 600; font-size: 0.95rem; }
.chart { height: 260px; width: 100%; }
.grid { display: grid; gap: 12px; align-items: start; width: max-content; }
.grid img { display: block; width: 150px; image-rendering: pixelated; border-radius: 4px; }
.grid p { margin: 0; font-size: 0.85rem; max-width: 150px; white-space: normal; overflow-wrap: anywhere; }
#lines { padding-left: 0; list-style: none; margin: 0; overflow-wrap: anywhere; }
#lines li { padding: 6px 0 6px 12px; border-left: 3px solid var(--rule); margin-bottom: 6px; white-space: pre-wrap; }
#lines li.warning { border-color: var(--series-5); }
#lines li.error { border-color: var(--heat); }
#lines time { color: var(--muted); font-size: 0.85rem; margin-right: 8px; }
[hidden] { display: none; }
@media (max-width: 640px) { main { padding: 24px 16px 48px; } h1 { font-size: 1.5rem; } section { margin-top: 32px; } }
@media (prefers-reduced-motion: no-preference) { html { scroll-behavior: smooth; } }
`
}
